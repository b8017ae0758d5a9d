import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.espresso import (
    check_convergence,
    error_message,
    method,
    prepare,
    unconverged_eigenvalues,
)
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.labelling.outcome import NotConverged

PARAMETERS = {
    "CONTROL": {"calculation": "scf", "tprnfor": True, "tstress": True},
    "SYSTEM": {"ecutwfc": 30.0, "ecutrho": 240.0, "occupations": "smearing", "degauss": 0.02},
    "ELECTRONS": {"mixing_beta": 0.4},
}
SPINS = {**PARAMETERS, "SYSTEM": {**PARAMETERS["SYSTEM"], "nspin": 2}}
FLAT = {"2D": {"SYSTEM": {"assume_isolated": "2D"}}}


def given(atoms, parameters=PARAMETERS, valences=None, **rules):
    one = Configurations.from_ase(atoms)
    return prepare(one, parameters, valences or {"Fe": 16, "O": 6, "H": 1}, **rules)


def iron(moments=None, tags=None):
    atoms = Atoms("Fe4", np.diag([2.0, 2.0, 2.0, 2.0])[:, :3] * 2, cell=np.eye(3) * 8, pbc=True)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    if tags is not None:
        atoms.set_tags(tags)
    return atoms


def test_thresholds_grow_with_the_number_of_atoms_unless_given():
    found = given(iron(), conv_thr_per_atom=1e-10).parameters["ELECTRONS"]
    assert found == {"mixing_beta": 0.4, "conv_thr": pytest.approx(4e-10)}
    asked = {**PARAMETERS, "electrons": {"Conv_thr": 1e-7}}
    assert given(iron(), asked, conv_thr_per_atom=1e-10).parameters["ELECTRONS"] == {
        "conv_thr": 1e-7
    }


@pytest.mark.parametrize(
    ("pbc", "found"),
    [([True] * 3, None), ([True, True, False], "2D"), ([False] * 3, "mt")],
)
def test_periodicity_decides_what_nobody_else_does(pbc, found):
    atoms = iron()
    atoms.cell[:] = np.eye(3) * 22.5
    atoms.pbc = pbc
    rules = {**FLAT, "0D": {"system": {"assume_isolated": "mt"}}}
    system = given(atoms, periodicity=rules).parameters["SYSTEM"]
    assert system.get("assume_isolated") == found
    asked = {**PARAMETERS, "SYSTEM": {"assume_isolated": "esm"}}
    assert given(atoms, asked, periodicity=rules).parameters["SYSTEM"] == {"assume_isolated": "esm"}


@pytest.mark.parametrize("across", [0.0, 7.0, 16.0])
def test_a_slab_needs_room_for_the_interaction_that_is_cut_off(across):
    """Forces of a slab that is thicker are wrong by as much as 30 eV/Å, and nothing tells."""
    slab = fcc100("Cu", (1, 1, 3), vacuum=6.0)
    slab.positions[:, 2] += across  # also where it is on both sides of the cell
    slab.cell[2, 0] = 3.0
    thickness = np.ptp(fcc100("Cu", (1, 1, 3)).positions[:, 2])
    slab.wrap(pbc=True)
    with pytest.raises(
        ValueError, match=r"'2D' cuts .* 7\.8\d? Å, .* atoms 3\.61 Å apart"
    ) as error:
        given(slab, valences={"Cu": 11}, periodicity=FLAT)
    assert f"a height of {2 * thickness + 10:.3g} Å or more" in str(error.value)
    asked = {**PARAMETERS, "SYSTEM": {"assume_isolated": "none"}}
    given(slab, asked, valences={"Cu": 11}, periodicity=FLAT)
    high = fcc100("Cu", (1, 1, 3), vacuum=thickness / 2 + 5.01)
    system = given(high, valences={"Cu": 11}, periodicity=FLAT).parameters["SYSTEM"]
    assert system["assume_isolated"] == "2D"


@pytest.mark.parametrize("isolated", ["mt", "m-t", "Martyna-Tuckerman"])
def test_a_molecule_needs_room_for_the_interaction_that_is_cut_off(isolated):
    """In all directions, however the molecule lies and whatever the cell is periodic in."""
    water = molecule("H2O")
    asked = {**PARAMETERS, "SYSTEM": {"assume_isolated": isolated}}
    sizes = np.ptp(water.positions, axis=0)
    enough = 2 * (sizes + 5) + 0.01
    for axis in range(3):
        low = enough.copy()
        low[axis] -= 0.1
        water.cell = np.diag(low)
        water.pbc = axis == 0
        for shift in (0.0, 0.5 * low[axis]):
            water.positions[:, axis] += shift
            with pytest.raises(
                ValueError, match=f"{isolated.lower()}' cuts .* lattice vector {axis},"
            ) as error:
                given(water, asked)
            assert f"a height of {enough[axis] - 0.01:.3g} Å or more" in str(error.value)
            given(water)
    water.cell = np.diag(enough)
    assert given(water, asked).parameters["SYSTEM"] == {"assume_isolated": isolated}


def test_charges_of_atoms_are_the_charge_of_the_cell():
    atoms = iron()
    atoms.set_initial_charges([1.0, 0.5, -0.5, 0.0])
    assert given(atoms).parameters["SYSTEM"]["tot_charge"] == 1
    asked = {**PARAMETERS, "SYSTEM": {"tot_charge": 1.0}}
    assert given(atoms, asked).parameters["SYSTEM"]["tot_charge"] == 1.0
    with pytest.raises(ValueError, match=r"are 1 together, and SYSTEM\.tot_charge is -1: give"):
        given(atoms, {**PARAMETERS, "SYSTEM": {"tot_charge": -1}})


def test_partial_charges_of_a_neutral_cell_are_no_charge_but_a_fraction_is_refused():
    atoms = iron()
    atoms.set_initial_charges([0.1, -0.1, 0.3, -0.31])
    assert "tot_charge" not in given(atoms).parameters["SYSTEM"]
    assert given(atoms, {**PARAMETERS, "SYSTEM": {"tot_charge": 2}}).parameters["SYSTEM"] == {
        "tot_charge": 2
    }
    atoms.set_initial_charges([0.1, -0.1, 0.3, 0.0])
    with pytest.raises(ValueError, match=r"0\.3 together, and SYSTEM\.tot_charge is not given"):
        given(atoms)


def test_moments_make_kinds():
    found = given(iron([2.0, -2.0, 2.0, 0.0]), SPINS)
    assert found.kinds == ["Fe1", "Fe2", "Fe1", "Fe3"]
    assert found.parameters["SYSTEM"]["starting_magnetization"] == {
        "Fe1": 0.125, "Fe2": -0.125, "Fe3": 0.0,
    }  # fmt: skip
    assert found.origins == {"Fe1": "Fe", "Fe2": "Fe", "Fe3": "Fe"}
    assert given(iron([2.0] * 4), SPINS).kinds == ["Fe"] * 4
    assert given(iron([2.0, -2.0, 2.0, 0.0])).kinds == ["Fe"] * 4  # where spins are not asked for


def test_vectors_of_moments_have_angles():
    spins = {"SYSTEM": {"noncolin": True}}
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], magmoms=[[1.6, 0, 0], [0, 1.6, 1.6]])
    found = given(atoms, spins).parameters["SYSTEM"]
    assert found["angle1"] == pytest.approx({"Fe1": 90.0, "Fe2": 45.0})
    assert found["angle2"] == pytest.approx({"Fe1": 0.0, "Fe2": 90.0})
    assert found["starting_magnetization"]["Fe1"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"is not along z: it needs SYSTEM\.noncolin"):
        given(atoms, SPINS)


def test_a_moment_is_never_larger_than_the_valence_allows():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 3]], magmoms=[5.0, -5.0])
    starting = given(atoms, SPINS).parameters["SYSTEM"]["starting_magnetization"]
    assert starting == {"H1": 0.999, "H2": -0.999}


def test_tags_count_only_where_they_are_spoken_of():
    slab = fcc100("Cu", (1, 1, 3), vacuum=5)
    assert given(slab, valences={"Cu": 11}).kinds == ["Cu"] * 3
    spoken = {**SPINS, "SYSTEM": {"starting_magnetization": {"Fe1": 0.5, "Fe": 0.1, "O": 0.2}}}
    found = given(iron(tags=[1, 2, 0, 1]), spoken)
    assert found.kinds == ["Fe1", "Fe", "Fe", "Fe1"]
    assert found.parameters["SYSTEM"]["starting_magnetization"] == {"Fe1": 0.5, "Fe": 0.1}


def test_values_of_elements_that_a_structure_lacks_are_left_out():
    spins = {"SYSTEM": {"nspin": 2, "starting_magnetization": {"Fe": 0.3, "O": 0.1}}}
    assert given(bulk("Cu"), spins, {"Cu": 11, "Fe": 16}).parameters["SYSTEM"] == {"nspin": 2}


def test_what_pw_cannot_compute_says_why():
    many = Atoms("Fe12", np.arange(36).reshape(12, 3), magmoms=np.linspace(-2, 2, 12))
    with pytest.raises(ValueError, match="too many different initial moments"):
        given(many, SPINS)
    with pytest.raises(ValueError, match=r"no pseudopotential for \['Cu'\]"):
        given(bulk("Cu"))
    sideways = iron()
    sideways.pbc = [False, True, True]
    with pytest.raises(ValueError, match=r"along the third lattice vector.*along \[1, 2\]"):
        given(sideways, periodicity=FLAT)


@pytest.mark.parametrize(
    ("found", "error", "reason"),
    [
        ({"convergence_achieved": True, "scf_error": 6.0e-3}, NotConverged, "error of 0.012 Ry"),
        ({"convergence_achieved": False, "scf_error": 4e-10}, NotConverged, "did not converge"),
        ({"convergence_achieved": True, "scf_error": float("nan")}, NotConverged, "nan Ry"),
        ({"convergence_achieved": True}, ValueError, "does not say"),
        ({}, ValueError, "does not say"),
    ],
)
def test_convergence_is_judged_by_the_error_too(found, error, reason):
    good = {"convergence_achieved": True, "scf_error": 4e-10}
    check_convergence({"convergence_info": {"scf_conv": good}}, 1e-9)
    with pytest.raises(error, match=reason):
        check_convergence({"convergence_info": {"scf_conv": found}}, 1e-9)


def test_eigenvalues_count_in_the_last_iteration_alone():
    line = "     c_bands: {:2d} eigenvalues not converged\n"
    first, second = "     iteration #  1     ecut=\n", "     iteration #  2     ecut=\n"
    assert unconverged_eigenvalues(first + line.format(3) + second) == ""
    said = unconverged_eigenvalues(first + second + line.format(1) + line.format(12))
    assert "12 eigenvalues" in said


def mark(parameters=PARAMETERS, **changes):
    description = {
        "process": "quantumespresso.pw",
        "code": "pw@here",
        "executable": "/bin/pw.x",
        "parameters": parameters,
        "conv_thr_per_atom": 1e-10,
        "periodicity": FLAT,
        "pseudos": {"Fe": {"element": "Fe", "filename": "Fe.upf", "md5": "abc"}},
        "kpoints": {"distance": 0.3, "force_parity": False},
        "settings": {},
    }
    return method({**description, **changes}).fingerprint("7.0")


def changed(name, **values):
    return {**PARAMETERS, name: {**PARAMETERS.get(name, {}), **values}}


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": changed("CONTROL", etot_conv_thr=1e-5, max_seconds=100, verbosity="high")},
        {"parameters": changed("ELECTRONS", mixing_beta=0.1, electron_maxstep=200)},
        {"parameters": changed("ELECTRONS", diagonalization="cg", startingwfc="random")},
        {"parameters": changed("SYSTEM", ecutwfc=30, ecutrho=240, nbnd=40, nosym=False, nspin=1)},
        {"parameters": {key.lower(): value for key, value in PARAMETERS.items()}},
        {"code": "pw@there", "executable": "/opt/pw.x"},
        {"pseudos": {"Fe": {"element": "Fe", "filename": "other.upf", "md5": "abc"}}},
        {"settings": {"cmdline": ["-nk", "4"], "ADDITIONAL_RETRIEVE_LIST": ["x"]}},
        {"kpoints": {"force_parity": False, "distance": 0.3}},
        {"periodicity": {**FLAT, "0D": {}}},
    ],
)
def test_what_does_not_decide_a_label_is_not_in_its_fingerprint(changes):
    assert mark(**changes) == mark()


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": changed("SYSTEM", ecutwfc=31)},
        {"parameters": changed("SYSTEM", nspin=2)},
        {"parameters": changed("SYSTEM", tot_charge=1)},
        {"parameters": changed("ELECTRONS", conv_thr=1e-3)},
        {"conv_thr_per_atom": 1e-6},
        {"periodicity": None},
        {"pseudos": {"Fe": {"element": "Fe", "filename": "Fe.upf", "md5": "abd"}}},
        {"kpoints": {"distance": 0.2, "force_parity": False}},
        {"settings": {"ENVIRON": {}}},
    ],
)
def test_what_decides_a_label_is_in_its_fingerprint(changes):
    assert mark(**changes) != mark()


def test_a_threshold_for_all_makes_the_one_for_each_atom_idle():
    asked = changed("ELECTRONS", conv_thr=1e-8)
    assert mark(asked) == mark(asked, conv_thr_per_atom=None)


def pseudos(**md5):
    return {kind: {"element": kind, "filename": "", "md5": word} for kind, word in md5.items()}


def test_labels_fit_together_where_the_elements_in_common_are_treated_alike():
    iron = mark(pseudos=pseudos(Fe="abc"))
    oxide = mark(pseudos=pseudos(Fe="abc", O="def"))
    assert iron != oxide
    assert fit_together([iron, oxide, mark(pseudos=pseudos(O="def", H="ghi"))])
    assert not fit_together([iron, mark(pseudos=pseudos(Fe="abd", O="def"))])
    assert not fit_together([oxide, mark(pseudos=pseudos(H="ghi", O="other"))])
    others = changed("SYSTEM", ecutwfc=31)
    assert not fit_together([iron, mark(others, pseudos=pseudos(Fe="abc", O="def"))])


def test_parameters_of_a_kind_count_where_its_element_is():
    spins = {"nspin": 2, "starting_magnetization": {"Fe": 0.5}}
    iron = mark(changed("SYSTEM", **spins))
    spins["starting_magnetization"] = {"Fe": 0.5, "O": 0.1}
    assert fit_together([iron, mark(changed("SYSTEM", **spins))])
    spins["starting_magnetization"] = {"Fe": 0.4}
    assert not fit_together([iron, mark(changed("SYSTEM", **spins))])


def test_a_fingerprint_is_of_the_elements_of_its_structure():
    both = method(
        {
            "process": "quantumespresso.pw",
            "parameters": PARAMETERS,
            "pseudos": pseudos(Fe="abc", O="def"),
            "kpoints": {"distance": 0.3},
        }
    )
    assert both.fingerprint("7.0", ["O", "H"]).count(":") == 1
    assert both.fingerprint("7.0", ["O", "Fe"]) == both.fingerprint("7.0")
    assert fit_together([both.fingerprint("7.0", ["O"]), both.fingerprint("7.0", ["Fe"])])
    assert not fit_together([both.fingerprint("7.0"), both.fingerprint("7.1")])
    assert fit_together([both.fingerprint("7.0"), both.fingerprint("7.1")], versions=False)


def test_the_error_of_pw_is_found_in_its_output():
    frame = " " + 78 * "%" + "\n"
    error = (
        "     Error in routine vloc_of_g (1):\n     2D cutoff is smaller\n     than the radius\n"
    )
    output = f"     Program PWSCF\n{frame}{error}{frame}\n     stopping ...\n"
    assert error_message(output) == "pw.x: vloc_of_g (1): 2D cutoff is smaller than the radius"
    assert error_message("     Program PWSCF\n     JOB DONE.\n") == ""
