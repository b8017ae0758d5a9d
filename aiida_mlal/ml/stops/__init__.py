"""When a campaign ends: each stop looks at the state after an iteration and gives a verdict."""

from aiida_mlal.ml.stops.accuracy import Accuracy
from aiida_mlal.ml.stops.agreement import Agreement
from aiida_mlal.ml.stops.all_of import All
from aiida_mlal.ml.stops.barrier import Barrier
from aiida_mlal.ml.stops.base import MANY, Allowance, Aspect, Outcome, Stop, Verdict
from aiida_mlal.ml.stops.budgets import Iterations, Labels, Size
from aiida_mlal.ml.stops.curve import row
from aiida_mlal.ml.stops.decisions import (
    allowance,
    are_met_by,
    are_worth_labels,
    decide,
    labels_left,
    met_runs,
    parse,
    structures_left,
)
from aiida_mlal.ml.stops.informativeness import Informativeness
from aiida_mlal.ml.stops.oracle_force import OracleForce
from aiida_mlal.ml.stops.state import Final, State, interrupted, prediction_errors
from aiida_mlal.ml.stops.uninterrupted import Uninterrupted

__all__ = [
    "MANY",
    "Accuracy",
    "Agreement",
    "All",
    "Allowance",
    "Aspect",
    "Barrier",
    "Final",
    "Informativeness",
    "Iterations",
    "Labels",
    "OracleForce",
    "Outcome",
    "Size",
    "State",
    "Stop",
    "Uninterrupted",
    "Verdict",
    "allowance",
    "are_met_by",
    "are_worth_labels",
    "decide",
    "interrupted",
    "labels_left",
    "met_runs",
    "parse",
    "prediction_errors",
    "row",
    "structures_left",
]
