"""Labels from VASP: a self-consistent calculation of each structure."""

from collections.abc import Mapping
from io import StringIO
from typing import Any, ClassVar

import numpy as np
from aiida.common.exceptions import InputValidationError, NotExistent
from aiida.engine import ProcessBuilder, calcfunction
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import (
    AbstractCode,
    Data,
    Dict,
    Float,
    KpointsData,
    ProcessNode,
    StructureData,
)
from aiida_vasp.calcs.vasp import VaspCalculation
from aiida_vasp.common import parameters_validator
from aiida_vasp.data.potcar import PotcarData
from aiida_vasp.parsers.content_parsers.potcar import PotcarParser
from aiida_vasp.utils.workchains import site_magnetization_to_magmom
from aiida_vasp.workchains.v2.vasp import VaspWorkChain
from ase.data import chemical_symbols

from aiida_mlal.calculations.codes import code_validator
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float
from aiida_mlal.data.structures import to_structure
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.electrons import has_moments
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.vasp import (
    VASPRUN,
    Input,
    check_incar,
    gives_stress,
    method,
    prepare,
    read,
    tags,
)
from aiida_mlal.protocols import as_overrides
from aiida_mlal.workflows.codes import code_of
from aiida_mlal.workflows.labelling.base import COMMON
from aiida_mlal.workflows.labelling.inputs import (
    box_problem,
    describe_kpoints,
    geometries,
    kpoints_problem,
    plain,
)
from aiida_mlal.workflows.labelling.per_structure import PerStructureLabelWorkChain
from aiida_mlal.workflows.ports import check_names, names, validate_names
from aiida_mlal.workflows.validators import above_zero

NOT_CONVERGED = 503
"""Exit status of ``VaspWorkChain`` where the electrons did not converge."""

KPOINTS = ("kpoints", "kpoints_spacing")
"""The ways of giving k-points: as they are, or their spacing in 2π/Å."""

MAPPINGS = ("magmom_mapping", "ldau_mapping")
"""Inputs with values by element, which decide labels."""

BY_ELEMENT: dict[str, tuple[str, Any]] = {
    "potential_mapping": ("names of POTCARs by element, such as {'Cu': 'Cu_pv'}", str),
    "magmom_mapping": ("numbers by element or 'default', such as {'Fe': 5}", (int, float)),
}
"""What stands in inputs with one value for each element: in words, and by type."""

HUBBARD = ("mapping", "jmapping", "utype", "felec")
"""What may stand in the input ``ldau_mapping``; the first two are by element."""

PARAMETERS = {"incar": None}
"""What is read of the input ``parameters``: its tags."""

META = {
    "parameters": PARAMETERS,
    "meta_parameters": {"ediff_per_atom": None},
    "incar_overrides": None,
    "pmg_kwargs": None,
}
"""Overrides that are no inputs of ``VaspWorkChain``, or have names inside that are known."""

OWN = (*COMMON, "ediff_per_atom")

OF_ELEMENTS = (*BY_ELEMENT, "ldau_mapping")


class VaspLabelWorkChain(PerStructureLabelWorkChain):
    """Label structures with VASP, one ``VaspWorkChain`` each.

    The label is read from the ``vasprun.xml`` that a ``VaspWorkChain`` of exit status 0 retrieved,
    and only if its atoms are those of the structure. POTCARs stay where they are: provenance has
    their hashes only.
    """

    CODE: ClassVar[str] = "code"
    PROCESS: ClassVar[Any] = VaspWorkChain
    OUTPUTS: ClassVar[tuple[str, ...]] = ("misc", "retrieved")
    NOT_CONVERGED: ClassVar[tuple[int, ...]] = (NOT_CONVERGED,)
    EXPLAINED_BY: ClassVar[tuple[Any, ...]] = (VaspCalculation,)

    @classmethod
    def calcfunctions(cls) -> tuple[Any, Any]:
        """Return the calcfunctions of this module."""
        return to_structures, collect_labels

    @classmethod
    def gives_stress(cls, inputs: Mapping[str, Any]) -> bool | None:
        """Look whether VASP is asked for the stress."""
        parameters = inputs.get("parameters")
        return None if parameters is None else gives_stress(_incar(parameters))

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and the outline."""
        super().define(spec)
        spec.inputs["dataset"].validator = validate_cells
        spec.expose_inputs(
            VaspWorkChain,
            exclude=("structure", "dynamics", "restart_folder", "potential", "options"),
        )
        spec.inputs["code"].validator = code_validator("vasp.vasp")
        spec.inputs["parameters"].validator = validate_parameters
        spec.inputs["kpoints_spacing"].validator = above_zero
        spec.inputs["potential_family"].validator = None  # POTCARs are looked for by `validate`
        spec.inputs["settings"].default = lambda: Dict({})  # the plugin stumbles without
        spec.input(
            "ediff_per_atom",
            valid_type=Float,
            serializer=to_float,
            required=False,
            validator=above_zero,
            help="`EDIFF` in eV of each structure for each of its atoms, where `parameters.incar` "
            "has none.",
        )
        spec.inputs.validator = validate

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode | str,
        structure: StructureData | DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs that ``VaspWorkChain`` has by protocol.

        What depends on a structure, its number of atoms, charge and moments, is decided for each
        when it is labelled: no structure has a say in the input of others.

        Parameters
        ----------
        structure
            Decides elements; if it is a data set, its structures are those to be labelled.
        protocol
            One of ``VaspWorkChain``; its default, where there is none of this name.
        overrides
            Of the inputs of this WorkChain, and of the keys of the protocol, such as
            ``potential_family``, ``kpoints_spacing`` or ``parameters.incar``.

        Raises
        ------
        ValueError
            For unknown overrides and options.
        """
        if others:
            raise ValueError(f"{cls.__name__} has no use for {sorted(others)}")
        values = as_overrides(overrides)
        check_names(values, names(cls.spec().inputs) | META, "overrides")
        own = {key: values.pop(key) for key in OWN if key in values}
        asked = _asked(values)
        given = geometries(structure)
        known = VaspWorkChain.get_available_protocols()
        try:
            inner = VaspWorkChain.get_builder_from_protocol(
                code_of(code),
                _example(given),
                protocol=protocol if protocol in known else None,
                overrides=values,
                options=dict(options or {}),
            )
        except InputValidationError as error:
            about_family = "potential family" in str(error)
            raise ValueError(f"{error}{_families() if about_family else ''}") from error
        except KeyError as error:  # of elements that the protocol does not know
            raise ValueError(f"potential_mapping: there is none for {error}") from error
        inputs = {key: one for key, one in inner._inputs(prune=True).items() if one is not None}
        del inputs["structure"]
        incar = _incar(inputs["parameters"])
        if "ediff" not in asked:
            own.setdefault("ediff_per_atom", incar.pop("ediff") / len(given.elements))
        if "ispin" not in asked and (has_moments(given) or "magmom_mapping" in values):
            incar["ispin"] = 2
        if incar.get("ispin", 1) != 2 and "magmom_mapping" not in values:
            inputs.pop("magmom_mapping", None)  # of the protocol
        inputs["parameters"] = Dict({"incar": incar})
        return cls.filled_builder({**inputs, **own}, structure)

    @classmethod
    def deciding(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Give code, parameters, POTCARs by hash, k-points and what goes by structure."""
        mapping = plain(inputs["potential_mapping"])
        nodes = {
            "code": inputs["code"],
            "parameters": inputs["parameters"],
            "potentials": _potentials(inputs["potential_family"].value, mapping),
        }
        keys = (*KPOINTS, *MAPPINGS, "ediff_per_atom")
        return nodes | {key: inputs[key] for key in keys if key in inputs}

    @classmethod
    def method(cls, nodes: Mapping[str, Any]) -> Method:
        """Leave out of the description what does not decide labels."""
        return method(cls.describe(nodes))

    @classmethod
    def describe(cls, nodes: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the functional and parameters of the labels."""
        potentials = {
            element: {"name": potential.full_name, "sha512": potential.sha512}
            for element, potential in sorted(nodes["potentials"].items())
        }
        spacing = plain(nodes.get("kpoints_spacing"))
        return {
            "process": "vasp.vasp",
            "code": nodes["code"].full_label,
            "executable": str(nodes["code"].get_executable()),
            "incar": _incar(nodes["parameters"]),
            "ediff_per_atom": plain(nodes.get("ediff_per_atom")),
            "potentials": potentials,
            "kpoints": (
                describe_kpoints(nodes["kpoints"]) if "kpoints" in nodes else {"spacing": spacing}
            ),
            **{key: plain(nodes.get(key)) for key in MAPPINGS},
        }

    @classmethod
    def prepare(cls, structure: Configurations, nodes: Mapping[str, Any]) -> dict[str, Data]:
        """Make the structure with its elements together, and its parameters."""
        given = _input(structure, nodes)
        together = Configurations.from_geometry(
            structure.numbers[given.order],
            structure.positions[given.order],
            [len(given.order)],
            structure.cells,
            structure.pbc,
        )
        return {
            "structure": to_structure(together),
            "parameters": Dict({"incar": given.incar}),
        }

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], structure: Configurations) -> dict[str, Any]:
        """Return the INCAR of a structure, and its k-points."""
        kpoints = inputs.get("kpoints")
        if kpoints is None:
            kpoints = KpointsData()
            kpoints.set_cell_from_structure(to_structure(structure))
            kpoints.set_kpoints_mesh_from_density(2 * np.pi * inputs["kpoints_spacing"].value)
        return {**super().foresee(inputs, structure), "kpoints": describe_kpoints(kpoints)}

    def process_inputs(self, structure: Configurations, prepared: Mapping[str, Data]) -> Any:
        """Give inputs in which moments of the structure itself go before those by element."""
        inputs = super().process_inputs(structure, prepared)
        if "magmom" in _incar(inputs["parameters"]):
            inputs.pop("magmom_mapping", None)
        return inputs

    @classmethod
    def read(
        cls, structure: Configurations, nodes: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Configurations:
        """Read the label from the ``vasprun.xml``, and moments where VASP projected them."""
        order = _input(structure, nodes).order
        vasprun = outputs["retrieved"].base.repository.get_object_content(VASPRUN)
        moments = _moments(outputs["misc"], len(order))
        stress = gives_stress(_incar(nodes["parameters"]))
        return read(structure, order, vasprun, moments, stress)

    @classmethod
    def failure(cls, process: ProcessNode) -> str:
        """Name an electronic cycle that did not converge also where no attempts were left."""
        last = max(process.called, key=lambda node: node.ctime, default=process)
        if last.exit_status == VaspCalculation.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED.status:
            return f"exit_{NOT_CONVERGED}"
        return super().failure(process)

    @classmethod
    def version(cls, outputs: Mapping[str, Any]) -> str | None:
        """Return the version of VASP."""
        version: str | None = outputs["misc"].get_dict().get("version")
        return version


@calcfunction
def to_structures(**nodes: Any) -> dict[str, Any]:
    """Return a node of each structure that is worth a calculation, and one of its parameters."""
    return VaspLabelWorkChain.prepare_all(**nodes)


@calcfunction
def collect_labels(**nodes: Any) -> dict[str, Data]:
    """Return the structures with labels, and a description of what made them."""
    return VaspLabelWorkChain.collect_all(**nodes)


def validate_cells(dataset: DatasetData, _: Any) -> str | None:
    """Refuse structures that VASP could not know the box of."""
    return box_problem(dataset, "VASP")


def validate_parameters(node: Dict, _: Any) -> str | None:
    """Refuse tags that VASP does not have, and those that would not give a label."""
    try:
        check_names(node.get_dict(), PARAMETERS, "parameters")
        parameters_validator(node)
        check_incar(_incar(node))
    except (InputValidationError, ValueError) as error:
        return f"incar: {error}"
    return None


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Want one way of choosing k-points, POTCARs of all elements, and no unknown input."""
    problem = (
        kpoints_problem(inputs, KPOINTS)
        or validate_names(inputs, ports)
        or _mapping_problem({name: plain(inputs.get(name)) for name in OF_ELEMENTS})
    )
    if problem is not None or "dataset" not in inputs:
        return problem
    dataset, mapping = inputs["dataset"], plain(inputs["potential_mapping"])
    if missing := sorted(set(dataset.base.attributes.get("elements")) - set(mapping)):
        return f"potential_mapping: there is none for {missing}, which the structures have"
    incar = _incar(inputs["parameters"])
    if "magmom_mapping" in inputs and incar.get("ispin", 1) != 2:
        return (
            f"magmom_mapping: moments want spins, and parameters.incar has ispin "
            f"{incar.get('ispin', 1)}: give 2, or leave the moments out"
        )
    if has_moments(dataset.configurations) and "ispin" not in incar:
        return (
            "the structures have initial magnetic moments, and parameters.incar has no ispin: give "
            "2, or 1 to leave the moments out"
        )
    try:
        nodes = VaspLabelWorkChain.deciding(inputs)
    except ValueError as error:
        return str(error)
    for i, one in enumerate(dataset.configurations):
        try:
            _input(one, nodes)
        except ValueError as error:
            return f"structure {i}: {error}"
    return None


def _mapping_problem(values: Mapping[str, Any]) -> str | None:
    """Why values by element would be none, or of no element; None if they are."""
    hubbard = values.get("ldau_mapping") or {}
    if not isinstance(hubbard, Mapping) or not set(hubbard) <= set(HUBBARD):
        return f"ldau_mapping: expected some of {list(HUBBARD)}, got {hubbard!r}"
    by_element = {f"ldau_mapping.{key}": hubbard.get(key) for key in HUBBARD[:2]}
    usual = ("values by element, such as {'Mn': ['d', 4.0]}", (list, tuple))
    for name, given in {**{key: values.get(key) for key in BY_ELEMENT}, **by_element}.items():
        what, kind = BY_ELEMENT.get(name, usual)
        if not isinstance(given or {}, Mapping):
            return f"{name}: expected {what}, got {given!r}"
        others = {"default"} if name == "magmom_mapping" else set()
        if unknown := sorted(set(given or {}) - set(chemical_symbols[1:]) - others):
            return f"{name}: expected symbols of elements, such as 'Cu', got {unknown}"
        for element, value in (given or {}).items():
            if isinstance(value, bool) or not isinstance(value, kind):
                return f"{name}.{element}: expected {what}, got {value!r}"
    return None


def _asked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags that overrides ask for; ``ValueError`` for mappings that are none."""
    problem = _mapping_problem({name: _raw(values.get(name)) for name in OF_ELEMENTS})
    if problem is not None:
        raise ValueError(problem)
    asked = values.get("parameters", {}).get("incar", {})
    if not isinstance(asked, Mapping):
        raise ValueError(f"parameters.incar: expected tags with values, got {asked!r}")
    return tags(asked)


def _raw(value: Any) -> Any:
    return plain(value) if isinstance(value, Data) else value


def _incar(parameters: Dict) -> dict[str, Any]:
    return tags(parameters.get_dict().get("incar", {}))


def _input(one: Configurations, nodes: Mapping[str, Any]) -> Input:
    return prepare(
        one,
        _incar(nodes["parameters"]),
        lambda element: _valence(nodes["potentials"][element]),
        plain(nodes.get("ediff_per_atom")),
    )


def _potentials(family: str, mapping: Mapping[str, str]) -> dict[str, PotcarData]:
    """Find the POTCARs of a family by element."""
    try:
        potcars: dict[str, PotcarData] = PotcarData.get_potcars_dict(list(mapping), family, mapping)
    except NotExistent as error:
        raise ValueError(
            f"potential_family {family!r}: {error}{_choices(family, mapping)}"
        ) from error
    return potcars


def _choices(family: str, mapping: Mapping[str, str]) -> str:
    """List the POTCARs of these elements in a family, or else the families."""
    groups = PotcarData.get_potcar_groups()
    group = next((one for one in groups if one.label == family), None)
    if group is None:
        return _families()
    names = sorted(one.full_name for one in group.nodes if one.element in mapping)
    return f"; potential_mapping chooses {dict(mapping)}, and of these elements it has {names}"


def _families() -> str:
    """List the families of POTCARs."""
    labels = sorted(group.label for group in PotcarData.get_potcar_groups())
    return (
        f"; the families of POTCARs here are {labels}, and `aiida-vasp potcar uploadfamily` makes "
        "others"
    )


def _valence(potential: PotcarData) -> float:
    """Return the number of valence electrons of a POTCAR, which has to be in this profile."""
    text = StringIO(potential.get_content().decode())
    return float(PotcarParser(handler=text).metadata.ZVAL)


def _moments(misc: Dict, n_atoms: int) -> np.ndarray | None:
    """Return the projected magnetic moments in the order of the POSCAR, where there are any."""
    magnetization = misc.get_dict().get("site_magnetization")
    try:
        moments = np.array(site_magnetization_to_magmom(magnetization), float)
    except (TypeError, KeyError, ValueError):
        return None
    return moments if moments.shape == (n_atoms,) else None


def _example(given: Configurations) -> StructureData:
    """Return a cell with one atom of each element, by which alone potentials are chosen."""
    node = StructureData(cell=np.eye(3) * 10.0)
    for i, element in enumerate(given.elements):
        node.append_atom(symbols=element, position=[i, 0.0, 0.0])
    return node
