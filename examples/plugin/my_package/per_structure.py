"""A labelling code that computes one structure at a time."""

from aiida.engine import WorkChain, calcfunction
from aiida.orm import Dict, StructureData
from ase.calculators.lj import LennardJones

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.workflows.labelling.per_structure import PerStructureLabelWorkChain


class PointEnergy(WorkChain):
    """Energy and forces of one structure."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("structure", valid_type=StructureData)
        spec.input("parameters", valid_type=Dict)
        spec.output("results", valid_type=Dict)
        spec.outline(cls.compute)

    def compute(self):
        self.out("results", point_energy(self.inputs.structure, self.inputs.parameters))


@calcfunction
def point_energy(structure, parameters):
    atoms = structure.get_ase()
    atoms.calc = LennardJones(**parameters.get_dict())
    return Dict({"energy": atoms.get_potential_energy(), "forces": atoms.get_forces().tolist()})


class MyCodeLabelWorkChain(PerStructureLabelWorkChain):
    """Label structures with a code that computes one at a time."""

    PROCESS = PointEnergy
    OUTPUTS = ("results",)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(PointEnergy, exclude=("structure",))

    @classmethod
    def gives_stress(cls, inputs):
        return False

    @classmethod
    def deciding(cls, inputs):
        return {"parameters": inputs["parameters"]}

    @classmethod
    def method(cls, nodes):
        return Method({"code": "Lennard-Jones", **nodes["parameters"].get_dict()})

    @classmethod
    def read(cls, structure, nodes, outputs):
        found = outputs["results"].get_dict()
        computed = outputs["results"].creator.inputs.structure.get_ase()
        return Configurations.from_ase(computed).with_labels([found["energy"]], found["forces"])

    @classmethod
    def calcfunctions(cls):
        return make_structures, collect_labels


@calcfunction
def make_structures(**nodes):
    return MyCodeLabelWorkChain.prepare_all(**nodes)


@calcfunction
def collect_labels(**nodes):
    return MyCodeLabelWorkChain.collect_all(**nodes)
