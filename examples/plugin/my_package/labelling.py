"""A labelling code that computes all structures at once."""

import ase
from aiida.engine import calcfunction
from aiida.orm import Bool, Dict, to_aiida_type
from ase.calculators.emt import EMT

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.outcome import description, labelled, unlabelled
from aiida_mlal.workflows.labelling.base import LabellingWorkChain, limits_of


class MyLabelWorkChain(LabellingWorkChain):
    """Label structures with the effective medium theory of ASE, without a job."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input(
            "asap_cutoff",
            valid_type=Bool,
            serializer=to_aiida_type,
            default=lambda: Bool(False),
            help="Whether the potential is cut off as in Asap.",
        )
        spec.outline(cls.label)

    def label(self):
        found = label(
            dataset=self.inputs.dataset,
            asap_cutoff=self.inputs.asap_cutoff,
            metadata={"call_link_label": "label"},
            **self.limits(),
        )
        return self.give(found["dataset"], found["description"])


@calcfunction
def label(dataset, asap_cutoff, limits=None):
    made_by = {"code": "EMT of ASE", "version": ase.__version__, "cutoff": asap_cutoff.value}
    frames = []
    for structure in dataset.configurations:
        atoms = structure.to_ase()[0]
        atoms.calc = EMT(asap_cutoff=asap_cutoff.value)
        try:
            energy = atoms.get_potential_energy()
            forces = atoms.get_forces(apply_constraint=False)  # also on atoms that do not move
            stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        except Exception as error:
            frames.append(unlabelled(structure, f"{type(error).__name__}: {error}"))
            continue
        frames.append(labelled(structure, energy, forces, stress, made_by, limits_of(limits)))
    return {
        "dataset": DatasetData(Configurations.concatenate(frames)),
        "description": Dict(description(made_by)),
    }
