"""Codes whose jobs label, as the command line knows them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiida_mlal.cli.profile import PW, VASP
from aiida_mlal.protocols import merge

Cutoffs = tuple[float, float] | None


@dataclass(frozen=True)
class LabelCode:
    """A code that labels.

    Attributes
    ----------
    name
        As builders want it: the end of the entry point of its labelling WorkChain.
    also
        Other names of it.
    usual_code
        Label of the code node that ``aiida-mlal setup`` makes.
    job
        Namespace of the job in the inputs of the WorkChain.
    inputs
        Makes inputs of the WorkChain from a family of potentials and cutoffs in Ry, each perhaps
        None.
    """

    name: str
    also: tuple[str, ...]
    usual_code: str
    job: str
    inputs: Callable[[str | None, Cutoffs], dict[str, Any]]

    def overrides(
        self, given: Mapping[str, Any], family: str | None, cutoffs: Cutoffs, mpi: int | None
    ) -> dict[str, Any]:
        """Return overrides of the WorkChain with those that options of the command ask for.

        Jobs run without MPI unless ``mpi``, a number of processes, or ``given`` say otherwise.
        """
        merged = merge(self._of_job({"withmpi": False}), given)
        merged = merge(merged, self.inputs(family, cutoffs))
        if mpi is None:
            return merged
        resources = {"num_machines": 1, "num_mpiprocs_per_machine": mpi}
        return merge(merged, self._of_job({"withmpi": True, "resources": resources}))

    def _of_job(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {self.job: {"metadata": {"options": dict(options)}}}


def label_code(labels: str) -> LabelCode | None:
    """Return the code of this name, in small letters or capitals, or None if there is none."""
    return next((one for one in CODES if labels.lower() in (one.name, *one.also)), None)


def _of_espresso(family: str | None, cutoffs: Cutoffs) -> dict[str, Any]:
    inputs: dict[str, Any] = {} if family is None else {"pseudo_family": family}
    if cutoffs is not None:
        system = {"ecutwfc": cutoffs[0], "ecutrho": cutoffs[1]}
        inputs["pw"] = {"parameters": {"SYSTEM": system}}
    return inputs


def _of_vasp(family: str | None, cutoffs: Cutoffs) -> dict[str, Any]:
    if cutoffs is not None:
        raise ValueError(
            "--cutoffs are those of qe; ENCUT of VASP is an override: "
            '{"label": {"parameters": {"incar": {"encut": 400}}}}'
        )
    return {} if family is None else {"potential_family": family}


CODES = (
    LabelCode("quantumespresso", ("qe",), PW, "pw", _of_espresso),
    LabelCode("vasp", (), VASP, "calc", _of_vasp),
)
