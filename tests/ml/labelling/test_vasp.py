"""Input of VASP, and labels of outputs that VASP itself wrote, which come with ASE."""

from pathlib import Path

import ase.test
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read as read_ase
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import MOMENTS
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.labelling.outcome import NotConverged, judged
from aiida_mlal.ml.labelling.vasp import check_incar, gives_stress, method, prepare, read

VASPRUN = Path(ase.test.__file__).parent / "testdata" / "vasp" / "vasprun_pstress.xml"
INCAR = {"ENCUT": 400, "ismear": 0, "sigma": 0.1}
VALENCES = {"Cu": 11.0, "O": 6.0, "Fe": 8.0}


def given(atoms, incar=INCAR, **rules):
    return prepare(Configurations.from_ase(atoms), incar, VALENCES.__getitem__, **rules)


@pytest.fixture
def diamond():
    """The structure of the output, carbon atoms a little out of order in periodic images."""
    atoms = read_ase(VASPRUN)
    atoms.calc = None
    return atoms


def test_the_label_is_that_of_another_reader(diamond):
    pymatgen = pytest.importorskip("pymatgen.io.vasp.outputs")
    one = Configurations.from_ase(diamond)
    found = read(one, np.arange(2), VASPRUN.read_text())
    step = pymatgen.Vasprun(VASPRUN, parse_potcar_file=False).ionic_steps[-1]
    free = step["electronic_steps"][-1]["e_fr_energy"]
    assert found.energies[0] == pytest.approx(free, abs=1e-6)
    assert found.energies[0] != pytest.approx(step["electronic_steps"][-1]["e_0_energy"], abs=1e-5)
    np.testing.assert_allclose(found.forces, step["forces"], atol=1e-8)
    np.testing.assert_allclose(found.stresses[0], -0.1 * GPa * np.array(step["stress"]), atol=1e-8)
    assert judged(one, found, "mark").status[0] == "ok"


def test_atoms_come_back_in_the_order_of_the_structure(diamond):
    text = VASPRUN.read_text()
    one = Configurations.from_ase(diamond[[1, 0]])
    order = np.array([1, 0])
    found = read(one, order, text, np.array([0.5, -0.5]))
    np.testing.assert_allclose(found.positions, one.positions, atol=1e-6)
    assert MOMENTS.of(found).tolist() == [-0.5, 0.5]


def test_a_structure_with_vacuum_has_no_stress(diamond):
    diamond.pbc = [True, True, False]
    found = read(Configurations.from_ase(diamond), np.arange(2), VASPRUN.read_text())
    assert np.isnan(found.stresses).all()


def test_all_electronic_steps_used_is_not_converged(diamond):
    text = VASPRUN.read_text()
    steps = text.count("<scstep>")
    limited = text.replace('name="NELM">    60<', f'name="NELM">    {steps}<')
    assert limited != text
    with pytest.raises(NotConverged, match="NELM"):
        read(Configurations.from_ase(diamond), np.arange(2), limited)


def test_another_structure_is_no_label(diamond):
    diamond.rattle(0.05)
    one = Configurations.from_ase(diamond)
    outcome = judged(one, read(one, np.arange(2), VASPRUN.read_text()), "mark")
    assert outcome.status[0] == "failed"
    assert "from where it was asked for" in outcome.info["reason"][0]
    with pytest.raises(ValueError, match="asked for 3 atoms, got 2"):
        read(Configurations.from_ase(Atoms("C3")), np.arange(3), VASPRUN.read_text())


def test_elements_stand_together_in_the_poscar():
    atoms = Atoms("OCuOCu", np.arange(12).reshape(4, 3), cell=np.eye(3) * 12, pbc=True)
    assert given(atoms).order.tolist() == [0, 2, 1, 3]


def test_thresholds_grow_with_the_number_of_atoms_unless_given():
    atoms = bulk("Cu", cubic=True)
    assert given(atoms, ediff_per_atom=1e-6).incar["ediff"] == pytest.approx(4e-6)
    assert given(atoms, {**INCAR, "EDIFF": 1e-5}, ediff_per_atom=1e-6).incar["ediff"] == 1e-5


def test_moments_go_by_atom_where_spins_are_asked_for():
    atoms = Atoms("OFeOFe", np.arange(12).reshape(4, 3), cell=np.eye(3) * 12, pbc=True)
    atoms.set_initial_magnetic_moments([0.0, 2.0, 0.1, -2.0])
    assert given(atoms, {**INCAR, "ispin": 2}).incar["magmom"] == [0.0, 0.1, 2.0, -2.0]
    assert "magmom" not in given(atoms).incar
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments([[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="not along z"):
        given(atoms, {**INCAR, "ispin": 2})


def test_charges_of_atoms_are_electrons_that_are_missing():
    atoms = bulk("Cu", cubic=True)
    assert "nelect" not in given(atoms).incar
    atoms.set_initial_charges([1.0, 0.0, 0.0, 0.0])
    assert given(atoms).incar["nelect"] == 43.0
    atoms.set_initial_charges([0.3, 0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="together: expected a whole number"):
        given(atoms)


def test_left_handed_cells_are_refused():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    with pytest.raises(ValueError, match=r"left-handed.*exchange two"):
        given(atoms)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"NSW": 10, "IBRION": 2}, "must not move atoms.*NSW 10, IBRION 2"),
        ({"ibrion": 6}, "IBRION 6"),
        ({"pstress": 10.0}, "without external pressure"),
        ({"ICHARG": 11}, "self-consistent"),
        ({"ML_LMLFF": True}, "not from a force field"),
        ({"lsorbit": True}, "collinear"),
        ({"MAGMOM": [1.0]}, "MAGMOM depends on the structure"),
        ({"nelect": 3}, "initial charges"),
        ({"ldauu": [4.0, 0.0]}, "LDAUU depends on the structure: it comes from 'ldau_mapping'"),
        ({"VDW_C6": [1.0, 2.0]}, "VDW_C6 depends on the structure: its values are in the order"),
        ({"algo": "Eigenval"}, "ALGO 'Eigenval': a label wants self-consistent electrons"),
        ({"ALGO": "None"}, "ALGO 'None': a label wants self-consistent electrons"),
        ({"ialgo": 2}, "IALGO 2: a label wants self-consistent electrons"),
        ({"ENCUT": "abc"}, "ENCUT: expected a number, got 'abc'"),
        ({"nsw": "many"}, "NSW: expected a number, got 'many'"),
        ({"ispin": True}, "ISPIN: expected a number, got True"),
        ({"sigma": [0.1]}, r"SIGMA: expected a number, got \[0.1\]"),
    ],
)
def test_what_is_no_label_of_the_structure_is_refused(tags, said):
    with pytest.raises(ValueError, match=said):
        check_incar({**INCAR, **tags})


@pytest.mark.parametrize("algo", ["Normal", "N", "VeryFast", "fast", "All", "Damped", "Conjugate"])
def test_any_way_to_self_consistent_electrons_will_do(algo):
    check_incar({**INCAR, "ALGO": algo, "IALGO": 38})


def test_a_stress_that_is_not_whole_is_left_out(diamond):
    """With ISIF 1 there is only a pressure."""
    one = Configurations.from_ase(diamond)
    label = read(one, np.arange(len(diamond)), VASPRUN.read_text(), stress=False)
    assert np.isnan(label.stresses).all()
    assert np.isfinite(label.forces).all()


def test_the_stress_needs_isif():
    assert gives_stress(INCAR)
    assert gives_stress({"ISIF": 2})
    assert not gives_stress({"isif": 0})


DESCRIPTION = {
    "process": "vasp.vasp",
    "code": "vasp@cluster",
    "executable": "/opt/vasp_std",
    "incar": INCAR,
    "ediff_per_atom": 1e-6,
    "potentials": {"Cu": {"name": "Cu", "sha512": "a"}, "O": {"name": "O", "sha512": "b"}},
    "kpoints": {"spacing": 0.05},
    "magmom_mapping": None,
    "ldau_mapping": None,
}


def mark(elements=("Cu", "O"), **changes):
    return method({**DESCRIPTION, **changes}).fingerprint(elements=elements)


@pytest.mark.parametrize(
    "changes",
    [
        {"incar": {**INCAR, "NCORE": 4, "nelm": 200, "ALGO": "Fast", "LWAVE": False}},
        {"incar": {"encut": 400.0, "ISMEAR": 0, "SIGMA": 0.1, "ispin": 1}},
        {"incar": {"encut": "4e2", "ismear": "0", "SIGMA": "1e-1", "lreal": None}},
        {"code": "other@cluster", "executable": "/vasp"},
        {"magmom_mapping": {"Cu": 1.0}},
    ],
)
def test_what_decides_no_label_is_not_in_the_fingerprint(changes):
    assert mark(**changes) == mark()


@pytest.mark.parametrize(
    "changes",
    [
        {"incar": {**INCAR, "encut": 500}},
        {"incar": {**INCAR, "lreal": "Auto"}},
        {"incar": {**INCAR, "ediff": 1e-5}},
        {"ediff_per_atom": 1e-5},
        {"kpoints": {"spacing": 0.03}},
        {"potentials": {**DESCRIPTION["potentials"], "O": {"name": "O_s", "sha512": "c"}}},
        {"ldau_mapping": {"mapping": {"Cu": ["d", 4.0]}, "utype": 2}},
    ],
)
def test_what_decides_labels_is_in_the_fingerprint(changes):
    assert not fit_together([mark(**changes), mark()])


def test_moments_by_element_count_where_spins_are_asked_for():
    spins = {**INCAR, "ispin": 2}
    one, other = (mark(incar=spins, magmom_mapping={"Cu": m}) for m in (1.0, 2.0))
    assert not fit_together([one, other])
    assert fit_together([mark(("O",), incar=spins, magmom_mapping={"Cu": m}) for m in (1.0, 2.0)])


def test_potentials_of_other_elements_may_differ():
    others = {"Cu": {"name": "Cu", "sha512": "a"}, "Ni": {"name": "Ni", "sha512": "d"}}
    assert fit_together([mark(("Cu", "O")), mark(("Cu", "Ni"), potentials=others)])
