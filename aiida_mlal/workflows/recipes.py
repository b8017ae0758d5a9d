"""Inputs of campaigns by a recipe and a protocol."""

from collections.abc import Mapping
from typing import Any

from aiida.orm import Str

from aiida_mlal import protocols
from aiida_mlal.workflows.simulation.base import plan_of

ENGINE = "mlal.simulate.base"
"""Simulations by the command ``mlal``."""

MOVING_CELL = "moving_cell"
"""What of a recipe is for simulations that move the cell."""


def recipe_inputs(
    recipe: str, protocol: str | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the inputs that a recipe says, for the cell that its simulations move if they do.

    Raises
    ------
    ValueError
        If there is no such protocol, or simulations are asked for that cannot be.
    """
    inputs = protocols.inputs(recipe, protocol, overrides)
    if "simulation" not in inputs:
        return inputs
    plan = plan_of(engine_of(inputs), inputs["simulation"])
    return protocols.inputs(recipe, protocol, overrides, MOVING_CELL if plan.moving_cell else None)


def engine_of(inputs: Mapping[str, Any]) -> str:
    """Return the entry point of the WorkChain that simulates."""
    engine = inputs.get("simulating", ENGINE)
    return engine.value if isinstance(engine, Str) else engine
