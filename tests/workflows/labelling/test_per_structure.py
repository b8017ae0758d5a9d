"""Labels from a code of one structure at a time, whichever code that is."""

from aiida.orm import Dict
from ase import Atoms
from ase.build import bulk

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.workflows.labelling.per_structure import PerStructureLabelWorkChain


class Counted(PerStructureLabelWorkChain):
    """Notes which structures it prepares, and refuses molecules."""

    prepared: list[str] = []  # noqa: RUF012

    @classmethod
    def method(cls, nodes):
        return Method({"code": "none"})

    @classmethod
    def prepare(cls, structure, nodes):
        cls.prepared.append(structure.formulas[0])
        if not structure.pbc.any():
            raise ValueError("no crystal")
        return super().prepare(structure, nodes)


def test_each_structure_is_prepared_once(aiida_profile):
    near = Atoms("H2", [[0, 0, 0], [0, 0, 0.1]], cell=[5, 5, 5], pbc=True)
    dataset = DatasetData.from_ase([bulk("Cu"), Atoms("He"), near, bulk("Ni")])
    Counted.prepared.clear()
    made = Counted.prepare_all(dataset, limits=Dict({"min_distance": 0.5}))
    assert list(made) == ["frame_00000", "frame_00003"]
    assert Counted.prepared == ["Cu", "He", "Ni"]
    collected = Counted.collect_all(dataset, limits=Dict({"min_distance": 0.5}))
    labelled = collected["dataset"].configurations
    assert labelled.status.tolist() == ["unlabelled", "failed", "unphysical", "unlabelled"]
    assert labelled.info["reason"][1] == "no crystal"
