"""Labels from Quantum ESPRESSO: a self-consistent calculation of each structure."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from aiida.engine import ProcessBuilder, calcfunction
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import (
    AbstractCode,
    Bool,
    Data,
    Dict,
    Float,
    FolderData,
    QueryBuilder,
    StructureData,
    TrajectoryData,
    to_aiida_type,
)
from aiida_pseudo.groups.family import PseudoPotentialFamily
from aiida_quantumespresso.calculations.functions.create_kpoints_from_distance import (
    create_kpoints_from_distance,
)
from aiida_quantumespresso.calculations.pw import PwCalculation
from aiida_quantumespresso.common.types import ElectronicType, SpinType
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from ase.data import atomic_numbers
from ase.units import GPa

from aiida_mlal.calculations.codes import code_validator
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float
from aiida_mlal.data.structures import to_structure
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import MOMENTS
from aiida_mlal.ml.labelling.electrons import has_moments
from aiida_mlal.ml.labelling.espresso import (
    CONV_THR,
    Input,
    check_convergence,
    element_of,
    error_message,
    is_magnetic,
    method,
    namelist,
    prepare,
    relaxing,
    unconverged_eigenvalues,
)
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.options import suggest
from aiida_mlal.ml.simulation.cell import MovingCell
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
from aiida_mlal.workflows.ports import check_names, fill, names, validate_names
from aiida_mlal.workflows.validators import above_zero

MAGNETIC = "atomic_magnetic_moments"
"""Name of the moments, in Bohr magnetons, where the spins are collinear."""

UNITS = {"energy_units": "eV", "forces_units": "ev / angstrom", "stress_units": "GPascal"}
"""What the parser of pw.x says of its units."""


class QuantumEspressoLabelWorkChain(PerStructureLabelWorkChain):
    """Label structures with pw.x, one ``PwBaseWorkChain`` each.

    Only what a ``PwBaseWorkChain`` of exit status 0 gave becomes a label, and only if its atoms
    are those of the structure.
    """

    CODE: ClassVar[str] = "pw.code"
    PROCESS: ClassVar[Any] = PwBaseWorkChain
    OUTPUTS: ClassVar[tuple[str, ...]] = ("output_parameters", "output_trajectory", "retrieved")
    NOT_CONVERGED: ClassVar[tuple[int, ...]] = (401, 410, 710)
    EXPLAINED_BY: ClassVar[tuple[Any, ...]] = (PwCalculation,)

    @classmethod
    def calcfunctions(cls) -> tuple[Any, Any]:
        """Return the calcfunctions of this module."""
        return to_structures, collect_labels

    @classmethod
    def gives_stress(cls, inputs: Mapping[str, Any]) -> bool | None:
        """Look whether pw.x is asked for the stress."""
        parameters = inputs.get("pw", {}).get("parameters")
        if parameters is None:
            return None
        return namelist(parameters.get_dict(), "CONTROL").get("tstress") is True

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and the outline."""
        super().define(spec)
        spec.inputs["dataset"].validator = validate_cells
        spec.expose_inputs(PwBaseWorkChain, exclude=("pw.structure", "pw.parent_folder"))
        spec.inputs["pw"]["parameters"].validator = validate_parameters
        if "settings" in spec.inputs["pw"]:
            spec.inputs["pw"]["settings"].validator = validate_settings
        spec.input(
            "conv_thr_per_atom",
            valid_type=Float,
            serializer=to_float,
            required=False,
            validator=above_zero,
            help="`ELECTRONS.conv_thr` in Ry of each structure for each of its atoms, where "
            "`pw.parameters` has none.",
        )
        spec.input(
            "periodicity",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            validator=validate_periodicity,
            help="Parameters of structures that are periodic in so many directions, where "
            '`pw.parameters` has none: `{"2D": {"SYSTEM": {"assume_isolated": "2D"}}}`.',
        )
        spec.inputs["pw"]["code"].validator = code_validator("quantumespresso.pw")
        spec.inputs.validator = validate

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode | str,
        structure: StructureData | DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs that ``PwBaseWorkChain`` has by protocol.

        What depends on a structure, its number of atoms and where it is periodic, is decided for
        each when it is labelled: no structure has a say in the parameters of others.

        Parameters
        ----------
        structure
            Decides elements; if it is a data set, its structures are those to be labelled.
        overrides
            Of the inputs of this WorkChain, and of the keys of the protocol such as
            ``pseudo_family``.
        kwargs
            Passed on, such as ``electronic_type`` ("insulator"), ``spin_type`` ("collinear") or
            ``initial_magnetic_moments``.
            Kinds of an element are its name and a tag of the atoms, such as ``Fe1``. Moments of
            the structures themselves go first, and ask for collinear spins by themselves.

        Raises
        ------
        ValueError
            For unknown overrides, for kinds of other names, and for Hubbard parameters, which
            structures do not keep.
        """
        values = as_overrides(overrides)
        check_names(values, names(cls.spec().inputs) | META, "overrides")
        own = {key: values.pop(key) for key in OWN if key in values}
        if hasattr(structure, "hubbard"):
            raise ValueError(
                "structure: its Hubbard parameters would be lost, since only geometries are "
                "labelled; give a StructureData"
            )
        given = geometries(structure)
        if has_moments(given) and "spin_type" not in kwargs:
            kwargs["spin_type"] = SpinType.COLLINEAR
        for key, kind in (("spin_type", SpinType), ("electronic_type", ElectronicType)):
            if isinstance(kwargs.get(key), str):
                kwargs[key] = _of_name(kind, key, kwargs[key])
        usual = PwBaseWorkChain.get_protocol_inputs(protocol, values)
        _check_family(usual)
        try:
            inner = PwBaseWorkChain.get_builder_from_protocol(
                code_of(code),
                _example(given.elements, _kinds_named(values, kwargs)),
                protocol=protocol,
                overrides=values,
                options=options,
                **kwargs,
            )
        except ValueError as error:
            raise ValueError(f"{error}{CUTOFFS if 'cutoffs' in str(error) else ''}") from error
        inputs = inner._inputs(prune=True)
        del inputs["pw"]["structure"]
        inputs["pw"]["parameters"], rules = _without_example(inputs["pw"]["parameters"], values)
        rules["conv_thr_per_atom"] = Float(usual["meta_parameters"]["conv_thr_per_atom"])
        if "conv_thr" in namelist(inputs["pw"]["parameters"].get_dict(), "ELECTRONS"):
            del rules["conv_thr_per_atom"]
        return cls.filled_builder({**inputs, **rules, **own}, structure)

    @classmethod
    def deciding(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return code, parameters, pseudopotentials, k-points and what goes by structure."""
        pw = inputs["pw"]
        nodes = {"code": pw["code"], "parameters": pw["parameters"], "pseudos": dict(pw["pseudos"])}
        if "settings" in pw:
            nodes["settings"] = pw["settings"]
        keys = ("kpoints", "kpoints_distance", "kpoints_force_parity")
        return nodes | {key: inputs[key] for key in (*keys, *RULES) if key in inputs}

    @classmethod
    def method(cls, nodes: Mapping[str, Any]) -> Method:
        """Leave out of the description what does not decide labels."""
        return method(cls.describe(nodes))

    @classmethod
    def describe(cls, nodes: Mapping[str, Any]) -> dict[str, Any]:
        """Describe what made the labels, in words and numbers."""
        pseudos = {
            kind: {"element": pseudo.element, "filename": pseudo.filename, "md5": pseudo.md5}
            for kind, pseudo in sorted(nodes["pseudos"].items())
        }
        return {
            "process": "quantumespresso.pw",
            "code": nodes["code"].full_label,
            "executable": str(nodes["code"].get_executable()),
            "parameters": nodes["parameters"].get_dict(),
            "conv_thr_per_atom": plain(nodes.get("conv_thr_per_atom")),
            "periodicity": plain(nodes.get("periodicity")),
            "pseudos": pseudos,
            "kpoints": _describe_kpoints(nodes),
            "settings": nodes["settings"].get_dict() if "settings" in nodes else {},
        }

    @classmethod
    def prepare(cls, structure: Configurations, nodes: Mapping[str, Any]) -> dict[str, Data]:
        """Return the structure with its kinds, and its parameters."""
        given = _input(structure, nodes)
        return {
            "structure": to_structure(structure, given.kinds),
            "parameters": Dict(given.parameters),
        }

    def process_inputs(self, structure: Configurations, prepared: Mapping[str, Data]) -> Any:
        """Return inputs with a pseudopotential for each kind."""
        inputs = self.exposed_inputs(PwBaseWorkChain)
        inputs.pw.update(prepared)
        kinds = _input(structure, self.deciding(self.inputs)).origins
        inputs.pw.pseudos = {kind: self.inputs.pw.pseudos[of] for kind, of in kinds.items()}
        return inputs

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], structure: Configurations) -> dict[str, Any]:
        """Return the parameters of a structure, and its k-points."""
        kpoints = inputs.get("kpoints")
        if kpoints is None:
            parity = inputs.get("kpoints_force_parity", Bool(False))
            kpoints = create_kpoints_from_distance(
                to_structure(structure),
                inputs["kpoints_distance"],
                parity,
                metadata={"store_provenance": False},
            )
        return {**super().foresee(inputs, structure), "kpoints": describe_kpoints(kpoints)}

    @classmethod
    def relaxation(
        cls,
        inputs: Mapping[str, Any],
        structure: Configurations,
        cell: MovingCell,
        fmax: float,
        smax_GPa: float,
    ) -> ProcessBuilder:
        """Return a ``PwBaseWorkChain`` that relaxes with what labels are made with."""
        nodes = cls.deciding(inputs)
        given = _input(structure, nodes)
        builder = PwBaseWorkChain.get_builder()
        known = PwBaseWorkChain.spec().inputs
        fill(builder, {key: value for key, value in inputs.items() if key in known})
        builder.pw.structure = to_structure(structure, given.kinds)
        builder.pw.parameters = Dict(relaxing(given.parameters, cell, fmax, smax_GPa))
        builder.pw.pseudos = {kind: nodes["pseudos"][of] for kind, of in given.origins.items()}
        settings = nodes["settings"].get_dict() if "settings" in nodes else {}
        if structure.fixed.any():
            settings["FIXED_COORDS"] = structure.fixed.tolist()
        builder.pw.settings = Dict(settings)
        return builder

    @classmethod
    def read(
        cls, structure: Configurations, nodes: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Configurations:
        """Read the last structure and label that pw.x computed."""
        results = outputs["output_parameters"].get_dict()
        electrons = namelist(_input(structure, nodes).parameters, "ELECTRONS")
        check_convergence(results, electrons.get("conv_thr", CONV_THR))
        return read(structure, results, outputs["output_trajectory"])

    @classmethod
    def version(cls, outputs: Mapping[str, Any]) -> str | None:
        """Return the version of pw.x."""
        version: str | None = outputs["output_parameters"].get_dict().get("creator_version")
        return version

    @classmethod
    def warning(cls, outputs: Mapping[str, Any]) -> str:
        """Tell of eigenvalues that did not converge."""
        return unconverged_eigenvalues(_output(outputs["retrieved"]))

    @classmethod
    def complaint(cls, retrieved: FolderData) -> str:
        """Return the error that pw.x printed."""
        return error_message(_output(retrieved))


META = {
    "meta_parameters": {"conv_thr_per_atom": None, "etot_conv_thr_per_atom": None},
    "pseudo_family": None,
}
"""What the protocols of ``PwBaseWorkChain`` have beside its inputs."""

CUTOFFS = (
    " Give them in Ry: {'pw': {'parameters': {'SYSTEM': {'ecutwfc': 30, 'ecutrho': 240}}}} among "
    "the overrides, or `--cutoffs 30 240` of `aiida-mlal launch`."
)
"""How cutoffs are given where a family of pseudopotentials recommends none."""

RULES = ("conv_thr_per_atom", "periodicity")
"""Inputs that decide what is not the same for all structures."""

OWN = (*COMMON, *RULES)

FLAT = {"2D": {"SYSTEM": {"assume_isolated": "2D"}}}
"""What ``PwBaseWorkChain`` does by protocol for a slab."""


@calcfunction
def to_structures(**nodes: Any) -> dict[str, Any]:
    """Return a node of each structure that is worth a calculation, and one of its parameters."""
    return QuantumEspressoLabelWorkChain.prepare_all(**nodes)


@calcfunction
def collect_labels(**nodes: Any) -> dict[str, Data]:
    """Return the structures with labels, and a description of what made them."""
    return QuantumEspressoLabelWorkChain.collect_all(**nodes)


def read(
    one: Configurations, parameters: Mapping[str, Any], trajectory: TrajectoryData
) -> Configurations:
    """Return the last structure that pw.x computed, with its label.

    The parser gives the stress in GPa, positive in compression. That of a structure with vacuum
    is left out.

    Raises
    ------
    ValueError
        If something is missing or in other units than expected.
    """
    for key, unit in UNITS.items():
        if parameters.get(key, unit) != unit:
            raise ValueError(f"expected {key} {unit!r} from pw.x, got {parameters[key]!r}")
    names = trajectory.get_arraynames()
    for key, there in (("energy", parameters), ("forces", names), ("positions", names)):
        if key not in there:
            raise ValueError(f"the output of pw.x has no {key}")
    symbols = [element_of(str(kind)) for kind in trajectory.symbols]
    forces = trajectory.get_array("forces")[-1]
    if forces.shape != (len(symbols), 3):
        raise ValueError(f"expected forces on {len(symbols)} atoms, got shape {forces.shape}")
    stress = np.full((3, 3), np.nan)
    if "stress" in names and one.pbc.all():
        stress = -GPa * trajectory.get_array("stress")[-1]
        if not np.isfinite(stress).all():
            raise ValueError("the stress is not finite")
    moments = {}
    if MAGNETIC in names and trajectory.get_array(MAGNETIC)[-1].shape == (len(symbols),):
        moments[MOMENTS] = trajectory.get_array(MAGNETIC)[-1]
    return Configurations.from_geometry(
        [atomic_numbers[symbol] for symbol in symbols],
        trajectory.get_array("positions")[-1],
        [len(symbols)],
        trajectory.get_array("cells")[-1],
        one.pbc,
        energies=[float(parameters["energy"])],
        forces=forces,
        stresses=stress[None],
    ).with_columns(moments)


def _input(one: Configurations, nodes: Mapping[str, Any]) -> Input:
    return prepare(
        one,
        nodes["parameters"].get_dict(),
        {kind: pseudo.z_valence for kind, pseudo in nodes["pseudos"].items()},
        plain(nodes.get("conv_thr_per_atom")),
        plain(nodes.get("periodicity")),
    )


def validate_cells(dataset: DatasetData, _: Any) -> str | None:
    """Refuse structures that pw.x could not know the box of."""
    return box_problem(dataset, "pw.x")


def validate_parameters(node: Dict, _: Any) -> str | None:
    """Refuse parameters that would not give energies and forces of the structure as it is."""
    control = namelist(node.get_dict(), "CONTROL")
    calculation = control.get("calculation", "scf")
    if calculation != "scf":
        return f"CONTROL.calculation must be 'scf' to label structures, got {calculation!r}"
    if control.get("tprnfor") is not True:
        return "CONTROL.tprnfor must be true: a label has forces"
    return None


def validate_settings(node: Dict | None, _: Any) -> str | None:
    """Refuse forces from outside, which energies know nothing of."""
    if node is not None and "ATOMIC_FORCES" in {key.upper() for key in node.get_dict()}:
        return "ATOMIC_FORCES are no part of a potential energy surface: leave them out"
    return None


def validate_periodicity(node: Dict | None, _: Any) -> str | None:
    """Want namelists by number of periodic directions."""
    for key, values in ({} if node is None else node.get_dict()).items():
        if key not in DIRECTIONS:
            return f"expected some of {DIRECTIONS}, got {key!r}"
        if not (isinstance(values, dict) and all(isinstance(v, dict) for v in values.values())):
            return f"{key}: expected namelists of parameters, got {values!r}"
    return None


DIRECTIONS = ("0D", "1D", "2D", "3D")
"""In how many directions a structure may be periodic."""


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Want one way of choosing k-points, parameters of all elements, and no unknown input."""
    problem = kpoints_problem(inputs, ("kpoints", "kpoints_distance"))
    problem = problem or validate_names(inputs, ports)
    if problem is None and "dataset" in inputs and "pw" in inputs:
        return _problem(inputs)
    return problem


def _problem(inputs: Mapping[str, Any]) -> str | None:
    """Check structures, pseudopotentials and parameters together: return the first error."""
    pw, dataset = inputs["pw"], inputs["dataset"]
    if "parameters" not in pw:
        return None
    elements = dataset.base.attributes.get("elements")
    known = set(pw.get("pseudos", {}))
    if missing := sorted(set(elements) - {element_of(kind) for kind in known}):
        return f"pw.pseudos: there is none for {missing}, which the structures have"
    parameters = pw["parameters"].get_dict()
    kinds = {*elements, *known}
    for key, values in namelist(parameters, "SYSTEM").items():
        strange = sorted(set(values) - kinds) if isinstance(values, Mapping) else []
        if strange:
            return (
                f"pw.parameters.SYSTEM.{key}: {strange} are not among the elements of the "
                f"structures and the kinds of pw.pseudos, {sorted(kinds)}"
            )
    configurations = dataset.configurations
    if has_moments(configurations) and not is_magnetic(parameters):
        system = namelist(parameters, "SYSTEM")
        if "nspin" not in system:
            return (
                "the structures have initial magnetic moments, and pw.parameters.SYSTEM has no "
                "nspin: give 2, or 1 to leave the moments out"
            )
    for i, one in enumerate(configurations):
        try:
            _input(one, {**pw, **inputs})
        except ValueError as error:
            return f"structure {i}: {error}"
    return None


def _check_family(inputs: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if the family of pseudopotentials is not here, naming those that are."""
    name = inputs.get("pseudo_family")
    if name is None or "pseudos" in inputs.get("pw", {}):
        return
    query = QueryBuilder().append(PseudoPotentialFamily, project="label")
    known = sorted(query.all(flat=True))
    if name not in known:
        raise ValueError(
            f"pseudo_family: {name!r} is not here{suggest(name, known) if known else ''}; "
            "`aiida-mlal setup --pseudos FOLDER` or `aiida-pseudo install` makes one"
        )


def _of_name(kind: Any, key: str, name: str) -> Any:
    """Return the member of an enumeration that a text names."""
    known = [one.value for one in kind]
    if name not in known:
        raise ValueError(f"{key}: unknown {name!r}{suggest(name, known)}")
    return kind(name)


def _kinds_named(overrides: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[str]:
    """Return the kinds that overrides and options of a builder speak of."""
    pw = overrides.get("pw", {})
    kinds = {*pw.get("pseudos", {}), *(wanted.get("initial_magnetic_moments") or {})}
    for values in namelist(pw.get("parameters", {}), "SYSTEM").values():
        kinds |= set(values) if isinstance(values, Mapping) else set()
    return kinds


def _without_example(
    parameters: Dict, overrides: Mapping[str, Any]
) -> tuple[Dict, dict[str, Data]]:
    """Return parameters without what the example decided, and what decides it for each one."""
    asked = overrides.get("pw", {}).get("parameters", {})
    values = parameters.get_dict()
    for name, key in (
        ("CONTROL", "etot_conv_thr"),
        ("CONTROL", "forc_conv_thr"),
        ("ELECTRONS", "conv_thr"),
    ):
        if key not in namelist(asked, name):
            values.get(name, {}).pop(key, None)
    return Dict(values), {"periodicity": Dict(FLAT)}


def _describe_kpoints(nodes: Mapping[str, Any]) -> dict[str, Any]:
    if "kpoints" in nodes:
        return describe_kpoints(nodes["kpoints"])
    distance: Float = nodes["kpoints_distance"]
    parity = nodes.get("kpoints_force_parity")
    return {"distance": distance.value, "force_parity": bool(parity and parity.value)}


def _output(retrieved: FolderData) -> str:
    """Return the output of pw.x, an empty text where it did not begin."""
    name: str = retrieved.creator.get_option("output_filename")
    files = retrieved.base.repository
    return files.get_object_content(name, "r") if name in files.list_object_names() else ""


def _example(elements: Sequence[str], named: set[str]) -> StructureData:
    """Return a cell with an atom of each element, or of each kind of it that is spoken of.

    Pseudopotentials, cutoffs and magnetisation are chosen by it, and nothing else.
    """
    kinds: list[str] = []
    for element in elements:
        mine = sorted(kind for kind in named if element_of(kind) == element)
        kinds += mine or [element]
    if strange := sorted(named - set(kinds)):
        raise ValueError(f"{strange} are no kinds of the elements {list(elements)}")
    for kind in kinds:
        number = kind.removeprefix(element_of(kind))
        if number and not number.isdecimal():
            raise ValueError(
                f"expected kinds that are an element and the tag of its atoms, as 'Fe1', got "
                f"{kind!r}"
            )
    node = StructureData(cell=np.eye(3) * 10.0)
    for i, kind in enumerate(kinds):
        node.append_atom(symbols=element_of(kind), name=kind, position=[i, 0.0, 0.0])
    return node
