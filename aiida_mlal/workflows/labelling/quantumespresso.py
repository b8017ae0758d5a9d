"""Labels from Quantum ESPRESSO: a self-consistent calculation of each structure."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
from aiida.engine import ExitCode, ProcessBuilder, calcfunction, while_
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import (
    AbstractCode,
    Data,
    Dict,
    Float,
    Int,
    KpointsData,
    StructureData,
    TrajectoryData,
    load_code,
)
from aiida_quantumespresso.calculations.pw import PwCalculation
from aiida_quantumespresso.common.types import SpinType
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from ase.data import atomic_numbers
from ase.units import GPa

from aiida_mlal.calculations.codes import code_validator
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.structures import to_configurations, to_structure
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.labelling.checks import FAILED, UNCONVERGED, check_geometry, check_label
from aiida_mlal.ml.labelling.label import fingerprint
from aiida_mlal.workflows.labelling.base import (
    LabellingWorkChain,
    failure,
    failure_reason,
    limits_of,
)
from aiida_mlal.workflows.ports import check_names, fill, names, validate_names

NOT_CONVERGED = ("exit_401", "exit_410", "exit_710")
"""Ends of ``PwBaseWorkChain`` that mean that the electrons did not converge."""

MIN_BOX = 3.0
"""Shortest lattice vector in Å that can be meant to hold something that is not periodic."""

UNITS = {"energy_units": "eV", "forces_units": "ev / angstrom", "stress_units": "GPascal"}
"""What the parser of pw.x says of its units."""


class QuantumEspressoLabelWorkChain(LabellingWorkChain):
    """Label structures with pw.x, one ``PwBaseWorkChain`` each.

    Only what a ``PwBaseWorkChain`` of exit status 0 gave becomes a label, and only if its atoms
    are those of the structure.
    """

    CODE: ClassVar[str] = "pw.code"

    @classmethod
    def gives_stress(cls, inputs: Mapping[str, Any]) -> bool | None:
        """Look whether pw.x is asked for the stress."""
        parameters = inputs.get("pw", {}).get("parameters")
        return None if parameters is None else _control(parameters).get("tstress") is True

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and the outline."""
        super().define(spec)
        spec.inputs["batch_size"].default = lambda: Int(20)
        spec.inputs["dataset"].validator = validate_cells
        spec.expose_inputs(PwBaseWorkChain, exclude=("pw.structure", "pw.parent_folder"))
        spec.inputs["pw"]["parameters"].validator = validate_parameters
        spec.inputs["pw"]["code"].validator = code_validator("quantumespresso.pw")
        spec.inputs.validator = validate
        step: Any = cls
        spec.outline(
            step.make_structures,
            while_(step.structures_are_left)(step.submit_batch),
            step.collect,
        )

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

        Parameters
        ----------
        structure
            Decides elements and periodic directions; if it is a data set, its structures are
            those to be labelled.
        overrides
            Of the inputs of this WorkChain, and of the keys of the protocol such as
            ``pseudo_family``.
        kwargs
            Passed on, such as ``electronic_type`` or ``spin_type``.

        Raises
        ------
        ValueError
            For unknown overrides, and for magnetic moments of several kinds of an element.
        """
        values = dict(overrides or {})
        check_names(values, names(cls.spec().inputs) | META, "overrides")
        own = {key: values.pop(key) for key in OWN if key in values}
        if isinstance(structure, StructureData) and _is_magnetic(values, kwargs):
            _check_kinds(structure)
        dataset = structure if isinstance(structure, DatasetData) else None
        example = _example(to_configurations(structure) if dataset is None else dataset)
        inner = PwBaseWorkChain.get_builder_from_protocol(
            load_code(code) if isinstance(code, str) else code,
            example,
            protocol=protocol,
            overrides=values,
            options=options,
            **kwargs,
        )
        inputs = inner._inputs(prune=True)
        del inputs["pw"]["structure"]
        builder = cls.get_builder()
        fill(builder, {**inputs, **own})
        if dataset is not None:
            builder["dataset"] = dataset
        return builder

    def make_structures(self) -> None:
        """Make a node of each structure, in one call."""
        self.ctx.submitted = 0
        self.ctx.structures = to_structures(  # type: ignore[call-arg]
            self.inputs.dataset, **self.limits(), metadata={"call_link_label": "structures"}
        )

    def structures_are_left(self) -> bool:
        """Return whether some structures have not been submitted."""
        return bool(self.ctx.submitted < len(self.ctx.structures))

    def submit_batch(self) -> None:
        """Submit as many structures as are allowed at a time."""
        names, first = sorted(self.ctx.structures), self.ctx.submitted
        batch = names[first : first + self.inputs.batch_size.value]
        if len(batch) < len(names):
            self.report(f"submitting structures {first}-{first + len(batch) - 1} of {len(names)}")
        for name in batch:
            inputs = self.exposed_inputs(PwBaseWorkChain)
            inputs.pw.structure = self.ctx.structures[name]
            inputs.metadata.call_link_label = name
            inputs.metadata.label = f"label of {name}"
            self.to_context(**{name: self.submit(PwBaseWorkChain, **inputs)})
        self.ctx.submitted += len(batch)

    def collect(self) -> ExitCode | None:
        """Turn what the calculations found into labels."""
        labels: dict[str, Any] = {}
        failed: dict[str, Any] = {}
        for name, structure in self.ctx.structures.items():
            child = self.ctx[name]
            if child.is_finished_ok:
                labels[name] = {
                    "parameters": child.outputs.output_parameters,
                    "trajectory": child.outputs.output_trajectory,
                }
            else:
                failed[name] = {failure(child): {UUID(child.uuid).hex: structure}}
        inputs = self.inputs
        optional = {
            key: inputs[key]
            for key in ("kpoints", "kpoints_distance", "kpoints_force_parity")
            if key in inputs
        }
        if "settings" in inputs.pw:
            optional["settings"] = inputs.pw.settings
        collected: Any = collect_labels(
            dataset=inputs.dataset,
            code=inputs.pw.code,
            parameters=inputs.pw.parameters,
            pseudos=dict(inputs.pw.pseudos),
            labels=labels,
            failed=failed,
            metadata={"call_link_label": "collect"},
            **optional,
            **self.limits(),
        )
        return self.give(collected["dataset"], collected["description"])


META = {
    "meta_parameters": {"conv_thr_per_atom": None, "etot_conv_thr_per_atom": None},
    "pseudo_family": None,
}
"""What the protocols of ``PwBaseWorkChain`` have beside its inputs."""

OWN = ("batch_size", "limits", "max_failed_share")


@calcfunction
def to_structures(dataset: DatasetData, limits: Dict | None = None) -> dict[str, StructureData]:
    """Return a node of each structure, except of those that are not worth a calculation."""
    return {
        frame(i): to_structure(one)
        for i, one in enumerate(dataset.configurations)
        if check_geometry(one, limits_of(limits))[0] == OK
    }


@calcfunction
def collect_labels(
    dataset: DatasetData,
    code: AbstractCode,
    parameters: Dict,
    limits: Dict | None = None,
    **parts: Any,
) -> dict[str, Data]:
    """Return the structures with labels, and a description of what made them.

    Parameters
    ----------
    parts
        ``labels`` has for each structure ``parameters`` and ``trajectory`` as pw.x gave them.
        ``failed`` has for each other structure how its process ended, in that the UUID of the
        process without its hyphens, in that the structure: link labels hold what is no node.
        ``pseudos``, ``kpoints`` and ``settings`` are inputs of the calculations.
    """
    description = describe(code, parameters, parts)
    frames, sources = list(dataset.configurations), [""] * len(dataset)
    for i, one in enumerate(frames):
        if frame(i) in parts.get("labels", {}):
            found = parts["labels"][frame(i)]
            results = found["parameters"].get_dict()
            made_by = {**description, "version": results.get("creator_version")}
            status, reason, labels = judge(one, results, found["trajectory"], limits)
            frames[i] = outcome(one, labels, status, reason, fingerprint(made_by))
            sources[i] = found["parameters"].creator.uuid
            description["version"] = description["version"] or made_by["version"]
        elif frame(i) in parts.get("failed", {}):
            ((word, origin),) = parts["failed"][frame(i)].items()
            status = UNCONVERGED if word in NOT_CONVERGED else FAILED
            reason = failure_reason(word, PwBaseWorkChain, PwCalculation)
            frames[i] = outcome(one, None, status, reason)
            sources[i] = str(UUID(next(iter(origin))))
        else:
            frames[i] = outcome(one, None, *check_geometry(one, limits_of(limits)))
    return {
        "dataset": DatasetData(Configurations.concatenate(frames), sources),
        "description": Dict({"description": description, "fingerprint": fingerprint(description)}),
    }


def judge(
    one: Configurations,
    parameters: Mapping[str, Any],
    trajectory: TrajectoryData,
    limits: Dict | None = None,
) -> tuple[str, str, Configurations | None]:
    """Return status, reason and what pw.x found for a structure, ``None`` where it is not fit."""
    try:
        found = read(one, parameters, trajectory)
    except ValueError as error:
        return FAILED, str(error), None
    status, reason = check_label(one, found, limits_of(limits))
    if status == FAILED:
        return status, reason, None
    return status, reason, one.with_labels(found.energies, found.forces, found.stresses)


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
    symbols = [str(symbol) for symbol in trajectory.symbols]
    forces = trajectory.get_array("forces")[-1]
    if forces.shape != (len(symbols), 3):
        raise ValueError(f"expected forces on {len(symbols)} atoms, got shape {forces.shape}")
    stress = np.full((3, 3), np.nan)
    if "stress" in names and one.pbc.all():
        stress = -GPa * trajectory.get_array("stress")[-1]
        if not np.isfinite(stress).all():
            raise ValueError("the stress is not finite")
    return Configurations.from_geometry(
        [atomic_numbers[symbol] for symbol in symbols],
        trajectory.get_array("positions")[-1],
        [len(symbols)],
        trajectory.get_array("cells")[-1],
        one.pbc,
        energies=[float(parameters["energy"])],
        forces=forces,
        stresses=stress[None],
    )


def outcome(
    one: Configurations, labels: Configurations | None, status: str, reason: str, mark: str = ""
) -> Configurations:
    """Return a structure with its labels and what became of them.

    Why a structure was selected stays its reason where the label is good.
    """
    if labels is None:
        labels, mark = one.with_labels([np.nan], np.full((len(one.numbers), 3), np.nan)), ""
    if status == OK and "reason" in one.info:
        reason = str(one.info["reason"][0])
    return labels.with_info(status=[status], reason=[reason], fingerprint=[mark])


def describe(code: AbstractCode, parameters: Dict, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the labels, in words and numbers."""
    pseudos = {
        kind: {"element": pseudo.element, "filename": pseudo.filename, "md5": pseudo.md5}
        for kind, pseudo in sorted(parts.get("pseudos", {}).items())
    }
    return {
        "process": "quantumespresso.pw",
        "code": code.full_label,
        "executable": str(code.get_executable()),
        "version": None,
        "parameters": parameters.get_dict(),
        "pseudos": pseudos,
        "kpoints": _describe_kpoints(parts),
        "settings": parts["settings"].get_dict() if "settings" in parts else {},
    }


def frame(i: int) -> str:
    """Return the link label of a structure."""
    return f"frame_{i:05d}"


def validate_cells(dataset: DatasetData, _: Any) -> str | None:
    """Refuse structures that pw.x could not know the box of."""
    for i, one in enumerate(dataset.configurations):
        lengths = np.linalg.norm(one.cells[0], axis=1)
        flat = not abs(np.linalg.det(one.cells[0])) > 1e-3
        if flat or (lengths[~one.pbc[0]] < MIN_BOX).any():
            return (
                f"structure {i} has the cell {one.cells[0].tolist()}: pw.x needs three lattice "
                f"vectors, of {MIN_BOX:g} Å or more where the structure is not periodic"
            )
    return None


def validate_parameters(node: Dict, _: Any) -> str | None:
    """Refuse parameters that would not give energies and forces of the structure as it is."""
    control = _control(node)
    calculation = control.get("calculation", "scf")
    if calculation != "scf":
        return f"CONTROL.calculation must be 'scf' to label structures, got {calculation!r}"
    if control.get("tprnfor") is not True:
        return "CONTROL.tprnfor must be true: a label has forces"
    return None


def _control(parameters: Dict) -> dict[str, Any]:
    """Return the namelist CONTROL, its keys in lower case."""
    upper = {key.upper(): value for key, value in parameters.get_dict().items()}
    return {key.lower(): value for key, value in upper.get("CONTROL", {}).items()}


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Want one way of choosing k-points, parameters of all elements, and no unknown input."""
    given = [key for key in ("kpoints", "kpoints_distance") if key in inputs]
    if len(given) != 1:
        return f"expected one of 'kpoints' and 'kpoints_distance', got {given or 'neither'}"
    problem = validate_names(inputs, ports)
    if problem is None and "dataset" in inputs and "pw" in inputs:
        return _lacking(inputs["pw"], inputs["dataset"].base.attributes.get("elements"))
    return problem


def _lacking(pw: Mapping[str, Any], elements: Sequence[str]) -> str | None:
    """Return which elements have no pseudopotential, or which parameters are of none of them."""
    if missing := sorted(set(elements) - set(pw.get("pseudos", {}))):
        return f"pw.pseudos: there is none for {missing}, which the structures have"
    parameters = pw["parameters"].get_dict() if "parameters" in pw else {}
    for key, values in _system(parameters).items():
        strange = sorted(set(values) - set(elements)) if isinstance(values, Mapping) else []
        if strange:
            return (
                f"pw.parameters.SYSTEM.{key}: {strange} are not among the elements of the "
                f"structures, {sorted(elements)}, which are their only kinds"
            )
    return None


def _system(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found = [values for key, values in parameters.items() if key.upper() == "SYSTEM"]
    return {key.lower(): value for values in found for key, value in values.items()}


def _is_magnetic(overrides: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether the overrides and options of a builder ask for magnetic moments."""
    system = _system(overrides.get("pw", {}).get("parameters", {}))
    spin = wanted.get("spin_type") or SpinType.NONE
    return (
        spin != SpinType.NONE
        or bool(wanted.get("initial_magnetic_moments"))
        or system.get("nspin", 1) != 1
        or bool(system.get("noncolin"))
    )


def _check_kinds(structure: StructureData) -> None:
    """Refuse several kinds of an element, since simulations only know elements."""
    kinds: dict[str, list[str]] = {}
    for kind in structure.kinds:
        kinds.setdefault(kind.symbol, []).append(kind.name)
    for element, found in kinds.items():
        if len(found) > 1:
            raise ValueError(
                f"structure: {element} is of the kinds {sorted(found)}, which could have magnetic "
                "moments of their own. They are not kept, since simulations only know elements: "
                "make it one kind for each element, or leave out spin_type and magnetic moments"
            )


def _describe_kpoints(parts: Mapping[str, Any]) -> dict[str, Any]:
    if "kpoints" in parts:
        kpoints: KpointsData = parts["kpoints"]
        try:
            mesh, offset = kpoints.get_kpoints_mesh()
        except AttributeError:
            points, weights = kpoints.get_kpoints(also_weights=True)
            return {"points": points.tolist(), "weights": np.asarray(weights).tolist()}
        return {"mesh": list(mesh), "offset": list(offset)}
    distance: Float = parts["kpoints_distance"]
    parity = parts.get("kpoints_force_parity")
    return {"distance": distance.value, "force_parity": bool(parity and parity.value)}


def _example(structures: DatasetData | Configurations) -> StructureData:
    """Return one cell with all elements, one kind each, to choose pseudopotentials by.

    Kinds of a given structure, such as those that ASE makes of tags, are not kept: what is labelled
    comes out of simulations that know elements only.
    """
    configurations = (
        structures if isinstance(structures, Configurations) else (structures.configurations)
    )
    for one in configurations:
        if one.elements == configurations.elements:
            return to_structure(one)
    raise ValueError(
        f"no structure of the data set has all of its elements, {list(configurations.elements)}; "
        "give a StructureData that has"
    )
