"""Labels by VASP's plugin: by its mock-vasp on an output of VASP, and by a stand-in."""

import stat
import sys
from pathlib import Path

import ase.test
import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.io import read

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.report.licences import licensed
from aiida_mlal.workflows.labelling.lookup import check_method
from aiida_mlal.workflows.ports import check_inputs

pytest.importorskip("aiida_vasp")

VASPRUN = Path(ase.test.__file__).parent / "testdata" / "vasp" / "vasprun_pstress.xml"
VALENCES = {"C": 4.0, "O": 6.0, "Cu": 11.0}


def potcar(element):
    """What a POTCAR says of itself; the numbers that VASP would read are not there."""
    return f"""  PAW_PBE {element} 01Jan2000
   {VALENCES[element]:.5f}
 parameters from PSCTR are:
   VRHFIN ={element}: s
   LEXCH  = PE
   TITEL  = PAW_PBE {element} 01Jan2000
   LPAW   =        T    paw PP
   ENMAX  =  300.000; ENMIN  =  200.000 eV
   POMASS =   10.000; ZVAL   =    {VALENCES[element]:.3f}    mass and valenz
 END of PSCTR-controll parameters
 local part
"""


@pytest.fixture
def workflow():
    return WorkflowFactory("mlal.label.vasp")


@pytest.fixture
def family(aiida_profile_clean, tmp_path):
    """A family of POTCARs, called test."""
    from aiida_vasp.data.potcar import PotcarData

    for element in VALENCES:
        path = tmp_path / "potentials" / "test" / element / "POTCAR"
        path.parent.mkdir(parents=True)
        path.write_text(potcar(element))
    PotcarData.upload_potcar_family(
        tmp_path / "potentials" / "test", "test", "of a test", stop_if_existing=False
    )
    return "test"


@pytest.fixture
def standin(family, aiida_code_installed, tmp_path):
    """A code that is used as VASP, with energies of EMT."""
    script = tmp_path / "vasp"
    program = Path(__file__).with_name("vasp_standin.py")
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return aiida_code_installed(
        label="vasp", default_calc_job_plugin="vasp.vasp", filepath_executable=str(script)
    )


def overrides(**incar):
    return {
        "potential_family": "test",
        "kpoints_spacing": 0.3,
        "parameters": {"incar": {"encut": 300, **incar}},
        "calc": {"metadata": {"options": {"withmpi": False}}},
    }


@pytest.fixture
def frames():
    """Elements in turns, and a slab."""
    oxide = Atoms("OCuOCu", cell=np.eye(3) * 4.4, pbc=True)
    oxide.positions = [[0, 0, 0.1], [2.1, 0, 0], [2.2, 2.2, 0], [0, 2.2, 2.0]]
    slab = fcc100("Cu", (1, 1, 3), vacuum=4.0)
    add_adsorbate(slab, "C", 1.5, "hollow")
    return [oxide, slab]


@pytest.fixture
def builder(workflow, standin, frames):
    return workflow.get_builder_from_protocol(
        standin, DatasetData.from_ase(frames), protocol="fast", overrides=overrides()
    )


def test_labels_are_free_energies_and_forces_in_the_order_of_the_structure(builder, frames):
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    dataset = results["dataset"]
    found = dataset.configurations
    assert found.status.tolist() == ["ok", "ok"], found.info["reason"]
    for one, atoms, uuid in zip(found, frames, dataset.sources, strict=True):
        atoms.calc = EMT()
        assert one.energies[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(one.forces, atoms.get_forces(), atol=1e-7)
        job = orm.load_node(uuid)
        assert job.process_label == "VaspCalculation"
        symbols = job.inputs.structure.get_ase().get_chemical_symbols()
        assert symbols == sorted(symbols, key=lambda s: Atoms(s).numbers[0])
        assert job.inputs.structure.creator.inputs.dataset == builder.dataset
        assert job.outputs.misc in dataset.creator.base.links.get_incoming().all_nodes()
        foreseen = builder.process_class.foresee(builder._inputs(), one)
        assert foreseen["kpoints"]["mesh"] == job.inputs.kpoints.get_kpoints_mesh()[0]
        assert foreseen["parameters"]["incar"]["ediff"] == job.inputs.parameters["ediff"]
    np.testing.assert_allclose(found.stresses[0], frames[0].get_stress(voigt=False), atol=1e-8)
    assert np.isnan(found.stresses[1]).all()
    said = results["description"]["description"]
    assert said["version"] == "6.3.0"
    assert said["incar"]["encut"] == 300
    assert "ediff" not in said["incar"]
    ediffs = [orm.load_node(uuid).inputs.parameters["ediff"] for uuid in dataset.sources]
    assert ediffs == pytest.approx([4e-6, 4e-6])


def test_no_file_of_any_node_holds_a_potcar(builder):
    """By content: licences forbid to hand on what lies below the head of a POTCAR."""
    _, node = run_get_node(builder)
    nodes = [*node.called_descendants, node]
    nodes += [one for process in nodes for one in process.base.links.get_outgoing().all_nodes()]
    nodes += [one for process in nodes for one in process.base.links.get_incoming().all_nodes()]
    nodes = list({one.uuid: one for one in nodes}.values())
    assert sum(len(one.base.repository.list_object_names()) for one in nodes) > 5
    assert list(licensed(nodes)) == []


def test_electrons_that_do_not_converge_are_recorded(workflow, standin, frames):
    wanted = overrides(nelm=3)
    wanted["max_iterations"] = 1
    wanted["max_failed_share"] = 0.5
    builder = workflow.get_builder_from_protocol(
        standin, DatasetData.from_ase(frames[:1]), overrides=wanted
    )
    results, node = run_get_node(builder)
    assert node.exit_status == 410
    found = results["dataset"].configurations
    assert found.status.tolist() == ["unconverged"], found.info["reason"]
    assert not np.isfinite(found.energies).any()


def test_moments_and_charges_of_structures_reach_vasp(workflow, standin):
    atoms = Atoms("OCuOCu", cell=np.eye(3) * 4.4, pbc=True)
    atoms.positions = [[0, 0, 0.1], [2.1, 0, 0], [2.2, 2.2, 0], [0, 2.2, 2.0]]
    atoms.set_initial_magnetic_moments([0.0, 1.0, 0.2, -1.0])
    atoms.set_initial_charges([1.0, 0.0, 0.0, 0.0])
    builder = workflow.get_builder_from_protocol(
        standin, DatasetData.from_ase([atoms]), overrides=overrides()
    )
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = results["dataset"].configurations
    assert found.status.tolist() == ["ok"], found.info["reason"]
    job = orm.load_node(results["dataset"].sources[0])
    incar = job.inputs.parameters.get_dict()
    assert incar["magmom"] == [0.0, 0.2, 1.0, -1.0]
    assert incar["nelect"] == 2 * 6 + 2 * 11 - 1
    assert found.arrays["moments"].tolist() == pytest.approx([0.0, 0.9, 0.18, -0.9])


def test_moments_by_element_hold_where_a_structure_has_none(builder):
    builder.magmom_mapping = {"Cu": 0.5, "default": 0.1}
    results, node = run_get_node(builder)
    assert node.is_finished_ok
    job = orm.load_node(results["dataset"].sources[0])
    assert job.inputs.parameters["magmom"] == "0.1 0.1 0.5 0.5"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {"incar": {"nsw": 5, "ibrion": 2}}}, "must not move atoms"),
        ({"parameters": {"incar": {"encutt": 300}}}, "encutt"),
        ({"potential_family": "none"}, r"families of POTCARs here are \['test'\]"),
        ({"kpoints_spacing": None}, "expected one of 'kpoints' and 'kpoints_spacing'"),
        ({"parameters": {"incar": {}, "encut": 400}}, r"unknown input 'parameters\.encut'"),
        ({"kpoints_spacing": -0.3}, "expected a number above 0, got -0.3"),
        ({"magmom_mapping": {"cu": 1.0}}, r"expected symbols of elements.*got \['cu'\]"),
        (
            {"potential_mapping": {"C": "C", "O": "O", "Cu": "Cu", "cu": "Cu_pv"}},
            r"potential_mapping: expected.*got \['cu'\]",
        ),
        (
            {"potential_mapping": {"C": "C", "O": "O", "Cu": "Cu_pv"}},
            r"'Cu': 'Cu_pv'.*of these elements it has \['C', 'Cu', 'O'\]",
        ),
        ({"potential_mapping": {"Cu": "Cu"}}, r"there is none for \['C', 'O'\]"),
        ({"magmom_mapping": {"Cu": "up"}}, r"magmom_mapping\.Cu: expected numbers.*got 'up'"),
        ({"parameters": {"incar": {"encut": "abc"}}}, "ENCUT: expected a number, got 'abc'"),
        (
            {"parameters": {"incar": {"ispin": 1}}, "magmom_mapping": {"Cu": 1.0}},
            "moments want spins, and parameters.incar has ispin 1",
        ),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(builder, workflow, change, said):
    inputs = builder._inputs(prune=True)
    for key, value in change.items():
        if value is None:
            del inputs[key]
        else:
            inputs[key] = orm.to_aiida_type(value)
    with pytest.raises(ValueError, match=said):
        check_inputs(inputs, workflow.spec().inputs)


def test_unknown_overrides_name_the_nearest(workflow, standin, frames):
    with pytest.raises(ValueError, match=r"potential_famly.*potential_family"):
        workflow.get_builder_from_protocol(
            standin, DatasetData.from_ase(frames), overrides={"potential_famly": "test"}
        )


@pytest.mark.parametrize("parameters", [{"encut": 400}, {"INCAR": {"encut": 400}}])
def test_tags_that_are_not_below_incar_are_refused(workflow, standin, frames, parameters):
    """VaspWorkChain would leave them out."""
    with pytest.raises(ValueError, match=r"unknown input 'overrides\.parameters\.(encut|INCAR)'"):
        workflow.get_builder_from_protocol(
            standin,
            DatasetData.from_ase(frames),
            overrides={**overrides(), "parameters": parameters},
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"potential_mapping": "Cu"}, r"potential_mapping: expected names of POTCARs .* got 'Cu'"),
        ({"potential_mapping": {"Cu": 3}}, r"potential_mapping\.Cu: expected names .* got 3"),
        ({"magmom_mapping": [1.0]}, r"magmom_mapping: expected numbers by element"),
        ({"ldau_mapping": {"Cu": ["d", 4.0]}}, r"ldau_mapping: expected some of \['mapping'"),
        ({"ldau_mapping": {"mapping": {"Cu": 4.0}}}, r"ldau_mapping\.mapping\.Cu: expected"),
        ({"parameters": {"incar": "encut = 300"}}, r"parameters\.incar: expected tags"),
    ],
)
def test_what_is_no_mapping_is_refused_in_words(workflow, standin, frames, change, said):
    with pytest.raises(ValueError, match=said):
        workflow.get_builder_from_protocol(
            standin, DatasetData.from_ase(frames), overrides={**overrides(), **change}
        )


def test_an_element_without_a_potential_is_named(workflow, standin):
    frames = DatasetData.from_ase([Atoms("Fr", cell=np.eye(3) * 5, pbc=True)])
    with pytest.raises(ValueError, match="potential_mapping: there is none for 'Fr'"):
        workflow.get_builder_from_protocol(standin, frames, overrides=overrides())


def test_moments_by_element_ask_for_spins(workflow, standin, frames):
    """Those of the protocol go where spins are not wanted; those asked for do not."""

    def build(incar=None, **changes):
        changes = {**overrides(**(incar or {})), **changes}
        return workflow.get_builder_from_protocol(
            standin, DatasetData.from_ase(frames), overrides=changes
        )

    def check(builder):
        check_inputs(builder._inputs(prune=True), workflow.spec().inputs)

    moments = {"Cu": 1.0}
    without = build({"ispin": 1})
    assert "magmom_mapping" not in without._inputs(prune=True)
    check(without)
    assert build(magmom_mapping=moments).parameters["incar"]["ispin"] == 2
    with pytest.raises(ValueError, match=r"parameters\.incar has ispin 1"):
        check(build({"ispin": 1}, magmom_mapping=moments))


def test_an_unknown_tag_is_told_without_families(workflow, standin, frames):
    with pytest.raises(ValueError, match="encutt") as error:
        workflow.get_builder_from_protocol(
            standin, DatasetData.from_ase(frames), overrides=overrides(encutt=300)
        )
    assert "famil" not in str(error.value)


def test_an_unknown_family_is_told_with_those_that_are_there(workflow, standin, frames):
    with pytest.raises(ValueError, match=r"families of POTCARs here are \['test'\]"):
        workflow.get_builder_from_protocol(
            standin,
            DatasetData.from_ase(frames),
            overrides={**overrides(), "potential_family": "PBE.54"},
        )


def test_a_structure_whose_process_was_killed_is_not_tried(builder, workflow):
    """What somebody killed is neither computed nor failed."""
    nodes = workflow.deciding(builder._inputs(prune=True))
    found = workflow.collect_all(dataset=builder.dataset, **nodes)["dataset"].configurations
    assert found.status.tolist() == ["unlabelled", "unlabelled"]
    assert found.info["reason"].tolist() == ["its process was killed"] * 2


def test_left_handed_cells_are_named(builder, frames):
    frames[0].set_cell(frames[0].cell.array[[1, 0, 2]])
    builder.dataset = DatasetData.from_ase(frames)
    with pytest.raises(ValueError, match="structure 0: its lattice vectors are left-handed"):
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


def test_labels_to_begin_with_are_compared_before_others_are_paid_for(builder):
    results, _ = run_get_node(builder)
    inputs = builder._inputs(prune=True)
    del inputs["dataset"]
    check_method("mlal.label.vasp", inputs, results["dataset"])
    inputs["parameters"] = orm.Dict(
        {"incar": {**inputs["parameters"].get_dict()["incar"], "encut": 400}}
    )
    with pytest.raises(ValueError, match="not made as others will be"):
        check_method("mlal.label.vasp", inputs, results["dataset"])


def test_a_campaign_relaxes_with_labels_of_vasp(standin, mlal_code):
    """The path of provenance leads from the potential to the runs of VASP."""
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.15, 0.1, 0.0
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        {"mlal": mlal_code, "label": standin},
        orm.StructureData(ase=atoms),
        protocol="fast",
        labels="vasp",
        overrides={"label": overrides()},
    )
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    jobs = [orm.load_node(uuid) for uuid in results["dataset"].sources]
    assert {job.process_label for job in jobs} == {"VaspCalculation"}
    path = orm.QueryBuilder()
    path.append(orm.Node, filters={"uuid": {"in": [job.uuid for job in jobs]}}, tag="job")
    path.append(orm.Node, filters={"uuid": results["potential"].uuid}, with_ancestors="job")
    assert path.count() == len(jobs)


@pytest.fixture
def mock_vasp(family, aiida_code_installed, tmp_path):
    """The plugin's ``mock-vasp`` with one calculation in its registry: diamond, by VASP 6.3."""
    program = Path(sys.executable).with_name("mock-vasp")
    if not program.is_file():
        pytest.skip("mock-vasp of aiida-vasp is not installed")
    registry = tmp_path / "registry"
    return aiida_code_installed(
        label="mock",
        default_calc_job_plugin="vasp.vasp",
        filepath_executable=str(program),
        prepend_text=f"export MOCK_VASP_REG_BASE={registry}",
    ), registry


@pytest.fixture
def diamond():
    atoms = read(VASPRUN)
    atoms.calc = None
    return atoms


def test_an_output_of_vasp_becomes_its_label(workflow, mock_vasp, diamond, tmp_path):
    code, registry = mock_vasp
    builder = workflow.get_builder_from_protocol(
        code, DatasetData.from_ase([diamond]), overrides={**overrides(), "max_iterations": 1}
    )
    _, node = run_get_node(builder)  # nothing is in the registry: the input is written, and no more
    job = next(one for one in node.called_descendants if one.process_label == "VaspCalculation")
    entry = registry / "diamond"
    (entry / "inp").mkdir(parents=True)
    (entry / "out").mkdir()
    for name in ("INCAR", "POSCAR", "KPOINTS"):
        (entry / "inp" / name).write_text(job.base.repository.get_object_content(name))
    (entry / "out" / "vasprun.xml").write_bytes(VASPRUN.read_bytes())
    (entry / "out" / "CONTCAR").write_text(job.base.repository.get_object_content("POSCAR"))
    outcar = VASPRUN.with_name("OUTCAR_example_1").read_bytes()
    (entry / "out" / "OUTCAR").write_bytes(outcar)
    results, node = run_get_node(builder)
    found = results["dataset"].configurations
    assert found.status.tolist() == ["ok"], found.info["reason"]
    assert found.energies[0] == pytest.approx(-20.24695937, abs=1e-8)
    assert results["description"]["description"]["version"] == "6.3.0"
