"""Whole numbers where fractions may stand."""

import pytest
from aiida.orm import Float
from aiida.plugins import CalculationFactory, WorkflowFactory

PORTS = [
    ("workflow", "mlal.offline", "max_failed_share"),
    ("workflow", "mlal.pool", "growth"),
    ("workflow", "mlal.label.ase", "max_failed_share"),
    ("workflow", "mlal.label.quantumespresso", "conv_thr_per_atom"),
    ("workflow", "mlal.label.vasp", "ediff_per_atom"),
    ("calculation", "mlal.label.ase", "timeout"),
]


@pytest.mark.parametrize(("kind", "entry_point", "name"), PORTS)
def test_a_whole_number_is_a_number(aiida_profile, kind, entry_point, name):
    factory = WorkflowFactory if kind == "workflow" else CalculationFactory
    port = factory(entry_point).spec().inputs[name]
    node = port.serialize(1)
    assert isinstance(node, Float)
    assert node.value == 1.0
    assert port.validate(node) is None
