"""Labels by pw.x, run for real on cells of a second or two."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from aiida_quantumespresso.common.types import ElectronicType, SpinType
from ase import Atoms
from ase.build import bulk, fcc100
from ase.io import read
from ase.units import GPa

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.espresso import relaxing
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.report.compare import direct_builder, direct_relaxation
from aiida_mlal.workflows.calcfunctions import extend
from aiida_mlal.workflows.labelling.lookup import check_method
from aiida_mlal.workflows.ports import check_inputs

PSEUDOS = Path("/usr/share/espresso/pseudo")
PW = shutil.which("pw.x")

needs_pw = pytest.mark.skipif(
    PW is None or not (PSEUDOS / "Si.pz-vbc.UPF").exists(),
    reason="needs pw.x and the pseudopotentials of the Debian package quantum-espresso-data",
)

CHEAP = {
    "pseudo_family": "debian",
    "pw": {
        "parameters": {"SYSTEM": {"ecutwfc": 8.0, "ecutrho": 32.0}},
        "metadata": {"options": {"withmpi": False}},
    },
    "kpoints_distance": 1.2,
}
"""Overrides by which a label of a crystal takes a second or two."""


@pytest.fixture
def workflow():
    return WorkflowFactory("mlal.label.quantumespresso")


@pytest.fixture
def silicon():
    """Two cells of silicon under different pressure, atoms out of their places."""
    frames = []
    for i, length in enumerate((5.3, 5.5)):
        atoms = bulk("Si", a=length)
        atoms.positions[1] += 0.05 * (i + 1), 0.02, 0.0
        frames.append(atoms)
    return frames


@pytest.fixture
def pw_code(aiida_code_installed):
    return aiida_code_installed(
        label="pw",
        default_calc_job_plugin="quantumespresso.pw",
        filepath_executable=PW or "/bin/true",
        prepend_text="export OMP_NUM_THREADS=1",
    )


@pytest.fixture
def pseudos(aiida_profile_clean):
    """A family of pseudopotentials, called debian."""
    from aiida_pseudo.data.pseudo.upf import UpfData
    from aiida_pseudo.groups.family.pseudo import PseudoPotentialFamily

    family = PseudoPotentialFamily(label="debian").store()
    node = UpfData(PSEUDOS / "Si.pz-vbc.UPF").store()
    family.add_nodes([node])
    return {"Si": node}


@pytest.fixture
def builder(workflow, pseudos, pw_code, silicon):
    overrides = {**CHEAP, "max_iterations": 2}
    return workflow.get_builder_from_protocol(
        pw_code, DatasetData.from_ase(silicon), protocol="fast", overrides=overrides
    )


@needs_pw
def test_labels_are_those_of_outputs_and_lead_to_structures_and_pseudopotentials(
    builder, silicon, pseudos, tmp_path
):
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    check_labels_are_those_that_ase_reads(results["dataset"], tmp_path / "aiida.out")
    check_labels_lead_to_what_they_are_made_of(results, builder, pseudos)


def check_labels_are_those_that_ase_reads(dataset, output):
    """From the same outputs, of which each is written to a file."""
    found = dataset.configurations
    assert found.status.tolist() == ["ok", "ok"]
    jobs = [orm.load_node(uuid) for uuid in dataset.sources]
    for one, job in zip(found, jobs, strict=True):
        output.write_text(job.outputs.retrieved.base.repository.get_object_content("aiida.out"))
        other = read(output, format="espresso-out")
        assert one.energies[0] == pytest.approx(other.get_potential_energy(), rel=1e-7)
        np.testing.assert_allclose(one.forces, other.get_forces(), atol=1e-5)
        np.testing.assert_allclose(one.stresses[0], other.get_stress(voigt=False), atol=1e-6)
    pressure = -np.trace(found.stresses, axis1=1, axis2=2) / 3 / GPa
    assert pressure[0] > pressure[1]  # the smaller cell pushes outwards


def check_labels_lead_to_what_they_are_made_of(results, builder, pseudos):
    dataset = results["dataset"]
    assert dataset.creator.process_label == "collect_labels"
    inputs = dataset.creator.base.links.get_incoming().all_nodes()
    for i, uuid in enumerate(dataset.sources):
        job = orm.load_node(uuid)
        assert job.process_label == "PwCalculation"
        assert job.inputs.pseudos.Si == pseudos["Si"]
        structure = job.inputs.structure
        assert structure.creator.process_label == "to_structures"
        assert structure.creator.inputs.dataset == builder.dataset
        np.testing.assert_array_equal(
            structure.get_ase().positions, dataset.configurations[i].positions
        )
        assert job.outputs.output_trajectory in inputs
        foreseen = builder.process_class.foresee(builder._inputs(), dataset.configurations[i])
        assert foreseen["kpoints"]["mesh"] == job.inputs.kpoints.get_kpoints_mesh()[0]
        ran = job.inputs.parameters.get_dict()
        assert foreseen["parameters"]["ELECTRONS"]["conv_thr"] == ran["ELECTRONS"]["conv_thr"]
    description = results["description"]["description"]
    assert description["pseudos"]["Si"]["md5"] == pseudos["Si"].md5
    assert description["version"]
    assert set(dataset.base.attributes.get("fingerprints")) == {
        results["description"]["fingerprint"]
    }


@needs_pw
def test_what_does_not_converge_is_recorded_and_the_rest_goes_on(builder, silicon):
    parameters = builder.pw.parameters.get_dict()
    parameters["ELECTRONS"]["electron_maxstep"] = 1
    parameters["ELECTRONS"]["conv_thr"] = 1e-14
    builder.pw.parameters = orm.Dict(parameters)
    builder.dataset = DatasetData.from_ase(silicon[:1])
    builder.max_failed_share = 0.5
    results, node = run_get_node(builder)
    assert node.exit_status == 410
    found = results["dataset"]
    assert found.configurations.status.tolist() == ["unconverged"]
    assert "401" in found.configurations.info["reason"][0]
    assert not np.isfinite(found.configurations.energies).any()
    failed = orm.load_node(found.sources[0])
    assert failed.process_label == "PwBaseWorkChain"
    assert failed.exit_status == 401
    incoming = found.creator.base.links.get_incoming().all_link_labels()
    assert f"failed__frame_00000__exit_401__{failed.uuid.replace('-', '')}" in incoming


@needs_pw
def test_a_family_that_is_not_here_is_told_with_those_that_are(workflow, pseudos, pw_code, silicon):
    dataset = DatasetData.from_ase(silicon)
    for name, more in (("debain", "did you mean 'debian'"), ("pbe", r"[Cc]hoose .*'debian'")):
        with pytest.raises(ValueError, match=f"pseudo_family: {name!r} is not here.*{more}"):
            workflow.get_builder_from_protocol(pw_code, dataset, overrides={"pseudo_family": name})


@needs_pw
def test_how_cutoffs_are_given_is_told_where_a_family_recommends_none(
    workflow, pseudos, pw_code, silicon
):
    overrides = {"pseudo_family": "debian"}
    with pytest.raises(ValueError, match=r"cannot recommend cutoffs.*`--cutoffs 30 240`"):
        workflow.get_builder_from_protocol(
            pw_code, DatasetData.from_ase(silicon), overrides=overrides
        )


@needs_pw
def test_a_label_that_failed_says_what_pw_says(builder, silicon):
    """With fewer bands than electrons need."""
    parameters = builder.pw.parameters.get_dict()
    parameters["SYSTEM"]["nbnd"] = 1
    builder.pw.parameters = orm.Dict(parameters)
    builder.dataset = DatasetData.from_ase(silicon[:1])
    (reason,) = run_get_node(builder)[0]["dataset"].configurations.info["reason"]
    assert "ERROR_UNHANDLED_FAILURE" in reason
    assert "pw.x: setup (1): too few bands" in reason


@needs_pw
def test_atoms_too_close_are_not_computed(builder, silicon):
    silicon[0].positions[1] = silicon[0].positions[0] + 0.1
    builder.dataset = DatasetData.from_ase(silicon)
    results, node = run_get_node(builder)
    assert node.is_finished_ok
    assert results["dataset"].configurations.status.tolist() == ["unphysical", "ok"]
    assert sum(c.process_label == "PwBaseWorkChain" for c in node.called) == 1


class Output:
    """What the parser of pw.x gives, in memory."""

    def __init__(self, atoms, **changes):
        n = len(atoms)
        self.symbols = atoms.get_chemical_symbols()
        self.arrays = {
            "positions": atoms.positions[None],
            "cells": atoms.cell.array[None],
            "forces": np.zeros((1, n, 3)),
            "stress": np.full((1, 3, 3), 2.0),
            **changes,
        }
        self.arrays = {key: value for key, value in self.arrays.items() if value is not None}

    def get_arraynames(self):
        return list(self.arrays)

    def get_array(self, name):
        return self.arrays[name]


def judged(atoms, output, **parameters):
    """Return status, reason and label, ``None`` where there is none."""
    from aiida_mlal.ml.labelling import outcome
    from aiida_mlal.workflows.labelling.quantumespresso import read

    one = Configurations.from_ase(atoms)
    try:
        found = read(one, {"energy": -1.0, "energy_units": "eV", **parameters}, output)
    except ValueError as error:
        label = outcome.unlabelled(one, str(error))
    else:
        label = outcome.judged(one, found, "abc")
    assert np.isfinite(label.energies).all() == bool(label.info["fingerprint"][0])
    there = label if np.isfinite(label.energies).all() else None
    return label.status[0], label.info["reason"][0], there


def test_pressure_is_negative_stress(silicon):
    status, reason, found = judged(silicon[0], Output(silicon[0]))
    assert (status, reason) == ("ok", "")
    np.testing.assert_allclose(found.stresses[0], -2.0 * GPa)


def test_a_slab_has_no_stress(silicon):
    silicon[0].pbc = [True, True, False]
    _, _, found = judged(silicon[0], Output(silicon[0]))
    assert np.isnan(found.stresses).all()


@pytest.mark.parametrize(
    ("changes", "parameters", "reason"),
    [
        ({"forces": None}, {}, "no forces"),
        ({"forces": np.full((1, 2, 3), np.nan)}, {}, "not finite"),
        ({"forces": np.zeros((1, 3, 3))}, {}, "forces on 2 atoms"),
        ({"positions": np.zeros((1, 2, 3))}, {}, "from where it was asked for"),
        ({"stress": np.full((1, 3, 3), np.nan)}, {}, "stress is not finite"),
        ({}, {"energy": float("nan")}, "energy"),
        ({}, {"energy_units": "Ry"}, "expected energy_units 'eV'"),
    ],
)
def test_an_output_that_does_not_fit_is_no_label(silicon, changes, parameters, reason):
    status, found_reason, found = judged(silicon[0], Output(silicon[0], **changes), **parameters)
    assert (status, found) == ("failed", None)
    assert reason in found_reason


def test_other_atoms_than_asked_for_are_no_label(silicon):
    other = silicon[0].copy()
    other.symbols[0] = "Ge"
    assert judged(silicon[0], Output(other))[0] == "failed"
    assert "2 atoms, got 1" in judged(silicon[0], Output(other[:1]))[1]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("pw", "parameterz"), {}, "did you mean 'parameters'"),
        (("pw", "metadata", "options", "resuorces"), {}, "did you mean 'resources'"),
        (("kpoint_distance",), 0.3, "did you mean"),
        (("meta_parameters", "conv_thr_per_atoms"), 1.0, "did you mean 'conv_thr_per_atom'"),
    ],
)
def test_misspelt_overrides_are_refused(workflow, pw_code, silicon, path, value, message):
    overrides = value
    for key in reversed(path):
        overrides = {key: overrides}
    with pytest.raises(ValueError, match=message):
        workflow.get_builder_from_protocol(
            pw_code, DatasetData.from_ase(silicon), overrides=overrides
        )


def test_kinds_that_ase_makes_of_tags_count_where_they_are_spoken_of(
    workflow, pseudos, pw_code, silicon
):
    tagged = silicon[0].copy()
    tagged.set_tags([1, 2])
    structure = orm.StructureData(ase=tagged)
    assert {kind.name for kind in structure.kinds} == {"Si1", "Si2"}
    overrides = {
        "pseudo_family": "debian",
        "pw": {"parameters": {"SYSTEM": {"ecutwfc": 8.0, "ecutrho": 32.0}}},
    }

    def build(**options):
        return workflow.get_builder_from_protocol(
            pw_code, structure, **{"overrides": overrides, **options}
        )

    assert set(build().pw.pseudos) == {"Si"}
    assert set(build(spin_type=SpinType.COLLINEAR).pw.pseudos) == {"Si"}
    moments = {"Si1": 1.0, "Si2": -1.0}
    builder = build(spin_type=SpinType.COLLINEAR, initial_magnetic_moments=moments)
    assert set(builder.pw.pseudos) == {"Si1", "Si2"}
    starting = {"Si1": 0.25, "Si2": -0.25}
    assert builder.pw.parameters["SYSTEM"]["starting_magnetization"] == starting
    with pytest.raises(ValueError, match=r"\['Fe1'\] are no kinds of the elements \['Si'\]"):
        build(spin_type=SpinType.COLLINEAR, initial_magnetic_moments={"Fe1": 1.0})
    by_name = build(spin_type="collinear", electronic_type="insulator").pw.parameters["SYSTEM"]
    assert (by_name["nspin"], by_name["occupations"]) == (2, "fixed")
    with pytest.raises(ValueError, match="spin_type: unknown 'colinear', did you mean"):
        build(spin_type="colinear")
    with pytest.raises(ValueError, match="an element and the tag of its atoms"):
        build(spin_type=SpinType.COLLINEAR, initial_magnetic_moments={"Si_up": 1.0})


@needs_pw
def test_parameters_and_pseudopotentials_are_those_of_the_elements(builder, silicon):
    ports = builder.process_class.spec().inputs
    parameters = builder.pw.parameters.get_dict()
    parameters["SYSTEM"]["starting_magnetization"] = {"Si1": 0.5}
    builder.pw.parameters = orm.Dict(parameters)
    with pytest.raises(
        ValueError, match=r"SYSTEM\.starting_magnetization: \['Si1'\] are not among"
    ):
        check_inputs(builder._inputs(prune=True), ports)
    parameters["SYSTEM"]["starting_magnetization"] = {"Si": 0.5}
    builder.pw.parameters = orm.Dict(parameters)
    check_inputs(builder._inputs(prune=True), ports)
    silicon[0].symbols[0] = "Ge"
    builder.dataset = DatasetData.from_ase(silicon)
    with pytest.raises(ValueError, match=r"pw\.pseudos: there is none for \['Ge'\]"):
        check_inputs(builder._inputs(prune=True), ports)


@needs_pw
def test_moments_without_spins_are_refused(builder, silicon):
    silicon[1].set_initial_magnetic_moments([1.0, -1.0])
    builder.dataset = DatasetData.from_ase(silicon)
    ports = builder.process_class.spec().inputs
    with pytest.raises(ValueError, match=r"initial magnetic moments.*SYSTEM has no nspin: give 2"):
        check_inputs(builder._inputs(prune=True), ports)
    parameters = builder.pw.parameters.get_dict()
    parameters["SYSTEM"]["nspin"] = 1
    builder.pw.parameters = orm.Dict(parameters)
    check_inputs(builder._inputs(prune=True), ports)


@needs_pw
def test_a_slab_periodic_in_another_plane_is_refused(builder, silicon):
    silicon[1].pbc = [True, False, True]
    silicon[1].cell = np.diag([4.0, 9.0, 4.0])
    ports = builder.process_class.spec().inputs
    builder.dataset = DatasetData.from_ase(silicon)
    with pytest.raises(ValueError, match=r"structure 1: SYSTEM\.assume_isolated '2D' wants"):
        check_inputs(builder._inputs(prune=True), ports)


@needs_pw
def test_forces_from_outside_are_refused(builder):
    with pytest.raises(ValueError, match="no part of a potential energy surface"):
        builder.pw.settings = orm.Dict({"atomic_forces": [[0.0, 0.0, 1.0]] * 2})


@needs_pw
def test_an_scf_that_need_not_converge_does_not_make_labels(builder, silicon):
    parameters = builder.pw.parameters.get_dict()
    parameters["ELECTRONS"] |= {"scf_must_converge": False, "electron_maxstep": 2}
    builder.pw.parameters = orm.Dict(parameters)
    builder.dataset = DatasetData.from_ase(silicon[:1])
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = results["dataset"].configurations
    assert found.status.tolist() == ["unconverged"]
    assert "an error of" in found.info["reason"][0]
    assert not np.isfinite(found.energies).any()


@needs_pw
def test_labels_depend_neither_on_order_nor_on_company(workflow, pseudos, pw_code, silicon):
    slab = fcc100("Al", (1, 1, 2), vacuum=6.0)
    slab.symbols = "SiSi"
    slab.positions[1] += 0.1
    slab.cell[2] += [0.0, 0.0, 1.0]
    big = silicon[0] * (2, 1, 1)
    frames = [slab, big, silicon[0]]
    overrides = {
        "pseudo_family": "debian",
        "pw": {
            "parameters": {"SYSTEM": {"ecutwfc": 6.0, "ecutrho": 24.0}},
            "metadata": {"options": {"withmpi": False}},
        },
        "kpoints_distance": 1.2,
    }
    found, methods, inputs = [], [], []
    for order in ([0, 1, 2], [2, 1, 0]):
        dataset = DatasetData.from_ase([frames[i] for i in order])
        builder = workflow.get_builder_from_protocol(
            pw_code, dataset, protocol="fast", overrides=overrides
        )
        results, node = run_get_node(builder)
        assert node.is_finished_ok, node.exit_message
        labels = results["dataset"].configurations
        assert labels.status.tolist() == ["ok"] * 3, labels.info["reason"]
        back = np.argsort(order)
        found.append(labels[back])
        jobs = [orm.load_node(results["dataset"].sources[i]) for i in back]
        inputs.append([job.inputs.parameters.get_dict() for job in jobs])
        methods.append(results["description"]["fingerprint"])
    assert found[0].energies.tolist() == found[1].energies.tolist()
    assert inputs[0] == inputs[1]
    assert methods[0] == methods[1]
    assert set(found[0].info["fingerprint"]) == {methods[0]}
    systems = [job["SYSTEM"].get("assume_isolated") for job in inputs[0]]
    assert systems == ["2D", None, None]
    thresholds = [job["ELECTRONS"]["conv_thr"] for job in inputs[0]]
    assert thresholds == pytest.approx([8e-10, 16e-10, 8e-10])


@needs_pw
def test_moments_of_atoms_reach_pw(workflow, aiida_profile_clean, pw_code):
    from aiida_pseudo.data.pseudo.upf import UpfData
    from aiida_pseudo.groups.family.pseudo import PseudoPotentialFamily

    family = PseudoPotentialFamily(label="hydrogen").store()
    family.add_nodes([UpfData(PSEUDOS / "H.pbe-kjpaw.UPF").store()])
    apart = Atoms("H2", [[2.5, 2.5, 2.25], [2.5, 2.5, 5.25]], cell=[5, 5, 7.5], pbc=True)
    antiparallel = apart.copy()
    antiparallel.set_initial_magnetic_moments([1.0, -1.0])
    overrides = {
        "pseudo_family": "hydrogen",
        "pw": {
            "parameters": {"SYSTEM": {"ecutwfc": 25.0, "ecutrho": 150.0, "degauss": 0.01}},
            "metadata": {"options": {"withmpi": False}},
        },
        "kpoints_distance": 10.0,
    }
    builder = workflow.get_builder_from_protocol(
        pw_code, DatasetData.from_ase([antiparallel]), protocol="fast", overrides=overrides
    )
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = results["dataset"]
    assert found.configurations.energies[0] == pytest.approx(-27.264, abs=2e-3)
    job = orm.load_node(found.sources[0])
    assert sorted(kind.name for kind in job.inputs.structure.kinds) == ["H1", "H2"]
    assert found.configurations.arrays["initial_magmoms"].tolist() == [1.0, -1.0]
    moments = found.configurations.arrays["moments"]
    np.testing.assert_allclose(moments, [0.846, -0.846], atol=2e-3)


@needs_pw
def test_a_calculation_that_moves_atoms_is_refused(builder):
    parameters = builder.pw.parameters.get_dict()
    parameters["CONTROL"]["calculation"] = "relax"
    with pytest.raises(ValueError, match="must be 'scf'"):
        builder.pw.parameters = orm.Dict(parameters)


@needs_pw
def test_a_box_is_wanted(builder):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])
    for cell in (np.zeros((3, 3)), np.eye(3), np.diag([6.0, 6.0, 5.0])):
        atoms.cell = cell
        with pytest.raises(ValueError, match="three lattice vectors"):
            builder.dataset = DatasetData.from_ase(atoms)
    atoms.cell = np.diag([6.0, 6.0, 8.0])
    builder.dataset = DatasetData.from_ase(atoms)


@pytest.fixture
def labels_of(workflow, aiida_profile_clean, pw_code):
    """Labels of structures with one family of pseudopotentials, by pw.x in a second."""
    from aiida_pseudo.data.pseudo.upf import UpfData
    from aiida_pseudo.groups.family.pseudo import PseudoPotentialFamily

    def label(atoms, hydrogen="H.pbe-kjpaw.UPF", **parameters):
        family, new = PseudoPotentialFamily.collection.get_or_create(f"with {hydrogen}")
        if new:
            files = [hydrogen, "O.pbe-kjpaw.UPF"]
            family.add_nodes([UpfData(PSEUDOS / name).store() for name in files])
        overrides = {
            "pseudo_family": family.label,
            "pw": {
                "parameters": {"SYSTEM": {"ecutwfc": 12.0, "ecutrho": 60.0}, **parameters},
                "metadata": {"options": {"withmpi": False}},
            },
            "kpoints_distance": 10.0,
        }
        return workflow.get_builder_from_protocol(
            pw_code, DatasetData.from_ase(atoms), protocol="fast", overrides=overrides
        )

    return label


H2 = Atoms("H2", [[1.5, 1.5, 1.1], [1.5, 1.5, 1.9]], cell=[3, 3, 3], pbc=True)
WATER = Atoms("OH2", [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]], cell=[3.5, 3.2, 3], pbc=True)


@needs_pw
def test_labels_of_a_new_element_fit_to_those_of_the_same_method(labels_of):
    first, _ = run_get_node(labels_of([H2]))
    both = labels_of([H2, WATER])
    known = first["dataset"]
    inputs = {key: value for key, value in both._inputs(prune=True).items() if key != "dataset"}
    check_method("mlal.label.quantumespresso", inputs, known)
    second, node = run_get_node(both)
    assert node.is_finished_ok, node.exit_message
    found = second["dataset"].configurations
    assert found.status.tolist() == ["ok", "ok"], found.info["reason"]
    assert found.info["fingerprint"][0] == known.configurations.info["fingerprint"][0]
    assert found.info["fingerprint"][1] == second["description"]["fingerprint"]
    together = extend(second["dataset"], orm.Bool(False), known)
    assert len(together.configurations.learnable) == 3

    other = labels_of([H2], hydrogen="H.pz-vbc.UPF")
    inputs = {key: value for key, value in other._inputs(prune=True).items() if key != "dataset"}
    with pytest.raises(ValueError, match="2 of its 2 labels are not made as others will be"):
        check_method("mlal.label.quantumespresso", inputs, second["dataset"])
    third, _ = run_get_node(other)
    _, node = run_get_node(
        extend, labelled=third["dataset"], allow_mixed_labels=orm.Bool(False), dataset=together
    )
    assert node.exit_status == 430


@needs_pw
def test_eigenvalues_that_did_not_converge_are_told_with_the_label(builder, silicon):
    parameters = builder.pw.parameters.get_dict()
    parameters["SYSTEM"]["nbnd"] = 10
    parameters["ELECTRONS"] |= {
        "diagonalization": "cg",
        "diago_cg_maxiter": 3,
        "diago_thr_init": 1e-10,
        "diago_full_acc": True,
        "conv_thr": 1e-6,
    }
    builder.pw.parameters = orm.Dict(parameters)
    chosen = Configurations.from_ase(silicon[:1]).with_info(reason=["last frame of run 0"])
    builder.dataset = DatasetData(chosen)
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = results["dataset"].configurations
    assert found.status.tolist() == ["ok"]
    assert found.info["reason"][0].startswith("last frame of run 0; pw.x: up to ")
    assert "eigenvalues of a k-point not converged" in found.info["reason"][0]


@needs_pw
def test_a_campaign_labelled_by_pw_beside_a_relaxation_by_pw_itself(
    pseudos, pw_code, mlal_code, silicon
):
    silicon[0].rattle(0.05, seed=2)
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        {"mlal": mlal_code, "label": pw_code},
        orm.StructureData(ase=silicon[0]),
        "fast",
        {"label": CHEAP},
        "quantumespresso",
        fixed=[0],
        electronic_type=ElectronicType.INSULATOR,
    )
    campaign = run_get_node(builder)[1]
    check_campaign_labelled_by_pw(campaign)
    check_direct_relaxation(campaign)


def check_campaign_labelled_by_pw(campaign):
    assert campaign.is_finished_ok, campaign.exit_message
    dataset = campaign.outputs.dataset
    assert len(dataset) >= 2
    assert set(dataset.configurations.status) == {"ok"}
    assert len(dataset.base.attributes.get("fingerprints")) == 1
    job = orm.load_node(dataset.sources[1])
    assert job.process_label == "PwCalculation"
    assert job.inputs.parameters["SYSTEM"]["occupations"] == "fixed"
    assert job.get_option("withmpi") is False
    assert dataset.configurations.info["reason"][1] == "last frame of run 0"


def check_direct_relaxation(campaign):
    """It begins like the campaign, and ends in its minimum."""
    builder = direct_builder(campaign)
    node = run_get_node(builder)[1]
    assert node.is_finished_ok, node.exit_message
    direct = direct_relaxation(campaign, str(node.pk))
    labels = campaign.outputs.dataset.configurations
    assert direct.name == "direct PwBaseWorkChain"
    assert direct.energies[0] == pytest.approx(labels.energies[0], abs=1e-5)
    assert direct.fmax[0] == pytest.approx(labels.max_forces[0], abs=1e-4)
    assert direct.fmax[-1] < 0.05 <= min(direct.fmax[:-1])
    assert direct.minimum.same
    assert direct.minimum.energy == pytest.approx(0.0, abs=1e-3)
    positions = node.outputs.output_trajectory.get_positions()
    np.testing.assert_allclose(positions[:, 0], positions[:1, 0].repeat(len(positions), 0))
    assert builder.pw.parameters["CONTROL"]["calculation"] == "relax"
    assert builder.pw.parameters["SYSTEM"]["ecutwfc"] == 8.0
    with pytest.raises(ValueError, match="expected a process that has ended"):
        direct_relaxation(campaign, str(campaign.outputs.dataset.pk))
    with pytest.raises(ValueError, match=f"launch direct {campaign.pk}"):
        direct_relaxation(campaign, "BFGS")


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (FIXED, {"CONTROL": {"calculation": "relax"}}),
        (
            MovingCell("axes", 2.0),
            {"CELL": {"cell_dofree": "xyz", "press": 20.0, "press_conv_thr": 1.0}},
        ),
    ],
)
def test_parameters_of_a_relaxation_are_in_the_units_of_pw(cell, wanted):
    given = {"CONTROL": {"calculation": "scf", "tstress": True}, "SYSTEM": {"ecutwfc": 30.0}}
    came = relaxing(given, cell, fmax=0.05, smax_GPa=0.1)
    for name, values in wanted.items():
        assert {key: came[name][key] for key in values} == values
    # 1 Ry/bohr is 25.711 eV/Å
    assert came["CONTROL"]["forc_conv_thr"] == pytest.approx(0.05 / 3**0.5 / 25.711, rel=1e-4)
    assert came["CONTROL"]["tstress"] is True
    assert came["SYSTEM"] == given["SYSTEM"]
