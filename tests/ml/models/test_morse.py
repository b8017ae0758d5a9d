from math import log

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.morse import MorsePotential
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.morse import Morse, MorseOptions, MorseParameters, morse_table

CU = {"De": 2.77471, "re": 2.21785, "a": 1.38484}


def morse(elements, **options):
    return single({"architecture": "morse", **options}, elements, seed=0)


def dimer_energies(potential, symbols, distances):
    dimers = [Atoms(symbols, [[0, 0, 0], [0, 0, r]]) for r in distances]
    return potential.predict(Configurations.from_ase(dimers)).energies


def rattled(atoms, seed=0, stdev=0.2):
    atoms.rattle(stdev, seed=seed)
    return atoms


def primitive_alloy():
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 6
    atoms.set_cell(atoms.cell @ [[1, 0.05, 0], [0, 1, 0.1], [0.02, 0, 1]], scale_atoms=True)
    return rattled(atoms)


def adsorbate():
    slab = fcc100("Cu", (2, 2, 3), vacuum=4)
    slab.append("C")
    slab.positions[-1] = [1.0, 1.2, slab.positions[:, 2].max() + 1.9]
    slab.pbc = True, True, False
    return rattled(slab, 2)


STRUCTURES = {
    "molecule": lambda: rattled(molecule("CH3CH2OH")),
    "one atom in a cell smaller than the cutoff": lambda: bulk("Cu"),
    "skewed alloy": primitive_alloy,
    "slab periodic in two directions": adsorbate,
    "wire": lambda: Atoms("CuC", [[0, 0, 0], [0.3, 0.2, 1.6]], cell=[0, 0, 3.4], pbc=[0, 0, 1]),
    "lone atom": lambda: Atoms("Cu"),
}


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES)
def atoms(request):
    return request.param()


def test_table_holds_the_dimers_of_the_paper():
    table = morse_table()
    assert len(table) == 61
    assert table["Cu"].De == pytest.approx(2.77471, abs=5e-6)
    assert table["Cu"].re == pytest.approx(2.21785, abs=5e-6)
    assert table["O"].a == pytest.approx(2.2172, abs=5e-5)


@pytest.mark.parametrize("element", ["Cu", "H", "K", "Ba"])
def test_dimer_has_its_depth_its_minimum_and_its_zero(element):
    p = morse_table()[element]
    energies = dimer_energies(
        morse([element], cutoff=12.0), [element] * 2, [p.re, p.re - log(2) / p.a, p.re - 0.01]
    )
    assert energies[0] == pytest.approx(-p.De, rel=1e-12)
    assert energies[1] == pytest.approx(0, abs=1e-12 * p.De)
    assert energies[2] > energies[0]


@pytest.mark.parametrize("mixing", ["mean", "yang"])
def test_unlike_pair_mixes_zero_and_minimum(mixing):
    cu, c = morse_table()["Cu"], morse_table()["C"]
    s, t = cu.sigma, c.sigma
    if mixing == "mean":
        depth, length, sigma = np.sqrt(cu.De * c.De), (cu.re + c.re) / 2, (s + t) / 2
    else:
        depth = 2 * cu.De * c.De / (cu.De + c.De)
        length = cu.re * c.re * (cu.re + c.re) / (cu.re**2 + c.re**2)
        sigma = s * t * (s + t) / (s**2 + t**2)
    energies = dimer_energies(morse(["Cu", "C"], mixing=mixing), "CuC", [length, sigma])
    assert energies == pytest.approx([-depth, 0], abs=1e-12)


@pytest.mark.parametrize("mixing", ["mean", "yang"])
def test_every_pair_of_the_table_mixes(mixing):
    potential = morse(list(morse_table()), mixing=mixing)
    for table in (potential.depth, potential.length, potential.width):
        assert torch.equal(table, table.T)
        assert bool((table > 0).all())


def test_agrees_with_ase():
    atoms = rattled(bulk("Cu", cubic=True) * (2, 2, 2))
    re = CU["re"]
    atoms.calc = MorsePotential(
        epsilon=CU["De"], r0=re, rho0=CU["a"] * re, rcut1=5.0 / re, rcut2=6.0 / re
    )
    found = morse(["Cu"], parameters={"Cu": CU}).predict(Configurations.from_ase(atoms))
    assert found.energies[0] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert found.forces == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert found.stresses[0] == pytest.approx(atoms.get_stress(voigt=False), abs=1e-12)


@pytest.mark.parametrize("smoothing", ["smooth", "hard"])
def test_agrees_with_a_loop_over_pairs(atoms, smoothing):
    elements = sorted(set(atoms.symbols))
    potential = morse(elements, smoothing=smoothing, cutoff=5.0)
    energy = 0.0
    for i, j, r in zip(*neighbor_list("ijd", atoms, 5.0)):
        one, other = (morse_table()[atoms.symbols[k]] for k in (i, j))
        length, sigma = (one.re + other.re) / 2, (one.sigma + other.sigma) / 2
        x = np.exp(-log(2) / (length - sigma) * (r - length))
        pair = np.sqrt(one.De * other.De) * (x**2 - 2 * x)
        if smoothing == "smooth" and r > 4.0:
            t = r - 4.0
            pair *= 1 - 10 * t**3 + 15 * t**4 - 6 * t**5
        energy += pair / 2
    found = potential.predict(Configurations.from_ase(atoms)).energies[0]
    assert found == pytest.approx(energy, rel=1e-12, abs=1e-12)


def test_forces_and_stress_are_derivatives_of_the_energy(atoms):
    potential = morse(sorted(set(atoms.symbols)), cutoff=5.0)

    def energy(moved):
        return potential.predict(Configurations.from_ase(moved)).energies[0]

    found = potential.predict(Configurations.from_ase(atoms))
    step = 1e-5
    for atom in range(min(len(atoms), 4)):
        for axis in range(3):
            ends = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                ends.append(energy(moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert found.forces[atom, axis] == pytest.approx(-slope, abs=1e-7)
    if not atoms.pbc.all():
        assert np.isnan(found.stresses).all()
        return
    for a in range(3):
        for b in range(3):
            ends = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * step / 2
                strain[b, a] += sign * step / 2
                moved = atoms.copy()
                moved.set_cell(atoms.cell @ strain, scale_atoms=True)
                ends.append(energy(moved))
            slope = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
            assert found.stresses[0, a, b] == pytest.approx(slope, abs=1e-7)


def test_a_supercell_has_as_many_times_the_energy(atoms):
    potential = morse(sorted(set(atoms.symbols)), cutoff=5.0)
    repeats = np.where(atoms.pbc, 2, 1)
    both = potential.predict(Configurations.from_ase([atoms, atoms.repeat(repeats)]))
    assert both.energies[1] == pytest.approx(both.energies[0] * np.prod(repeats), rel=1e-12)


def test_rotation_turns_forces_and_stress():
    atoms = primitive_alloy()
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix().T
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ turn)
    turned.positions = atoms.positions @ turn
    first, second = morse(["C", "Cu"]).predict(Configurations.from_ase([atoms, turned]))
    assert second.energies == pytest.approx(first.energies, rel=1e-12)
    assert second.forces == pytest.approx(first.forces @ turn, abs=1e-10)
    assert second.stresses[0] == pytest.approx(turn.T @ first.stresses[0] @ turn, abs=1e-12)


def test_smooth_potential_ends_with_two_continuous_derivatives():
    potential = morse(["Cu"])
    for border in (5.0, 6.0):
        h = 1e-3
        r = border + h * np.arange(-3, 4)
        energies = dimer_energies(potential, "Cu2", r)
        curvature = np.diff(energies, 2) / h**2
        assert np.ptp(curvature) < 0.02
    assert dimer_energies(potential, "Cu2", [6.0, 6.1]) == pytest.approx([0, 0], abs=1e-15)


def test_hard_potential_has_the_step_of_the_original():
    below, above = dimer_energies(morse(["Cu"], smoothing="hard"), "Cu2", [6 - 1e-9, 6 + 1e-9])
    assert below == pytest.approx(-0.029, abs=1e-3)
    assert above == 0


def test_atoms_at_the_same_place_give_finite_numbers():
    found = morse(["Cu"]).predict(Configurations.from_ase(Atoms("Cu2", np.zeros((2, 3)))))
    assert np.isfinite(found.energies).all()
    assert np.isfinite(found.forces).all()


def test_user_parameters_replace_the_table_and_extend_it():
    potential = morse(["Cu", "U"], parameters={"Cu": CU, "U": {"De": 2.0, "re": 2.5, "a": 1.0}})
    assert dimer_energies(potential, "U2", [2.5])[0] == pytest.approx(-2.0)
    assert potential.dimers["Cu"] == MorseParameters(**CU)


def test_unknown_element_names_the_way_out():
    with pytest.raises(ValueError, match=r"lacks \['U'\].*mlal fit-morse.*parameters"):
        morse(["Cu", "U"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoff": 0.9}, "cutoff above 1.0"),
        ({"mixing": "max"}, "unknown choice 'max'"),
        ({"parameters": {"Cu": {"De": 1.0, "re": 2.0}}}, r"parameters\.Cu: option 'a' is missing"),
        ({"parameters": {"Cu": {"De": -1.0, "re": 2.0, "a": 1.0}}}, "De above 0, got -1.0"),
        ({"parameter": {}}, "did you mean 'parameters'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        morse(["Cu"], **options)


def test_yang_refuses_a_pair_whose_minimum_would_lie_below_its_zero():
    small, large = {"De": 1.0, "re": 1.0, "a": 69.0}, {"De": 1.0, "re": 20.0, "a": 0.0394}
    with pytest.raises(ValueError, match="choose 'mean'"):
        morse(["H", "Cs"], mixing="yang", parameters={"H": small, "Cs": large})


def test_checkpoint_keeps_parameters_and_predictions():
    potential = morse(["C", "Cu"], mixing="yang", smoothing="hard", parameters={"Cu": CU})
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    assert isinstance(again, Morse)
    configurations = Configurations.from_ase(adsorbate())
    assert again.config() == Morse.from_config(potential.config()).config()
    np.testing.assert_array_equal(
        again.predict(configurations).forces, potential.predict(configurations).forces
    )


def test_has_nothing_to_train():
    assert not list(Morse(["Cu"], MorseOptions()).parameters())


def test_single_precision_stays_single():
    potential = morse(["Cu"]).to(torch.float32)
    configurations = Configurations.from_ase(rattled(bulk("Cu", cubic=True)))
    graph = potential.graph(configurations)
    assert potential(graph).forces.dtype == torch.float32
    double = morse(["Cu"]).predict(configurations)
    assert potential.predict(configurations).forces == pytest.approx(double.forces, abs=1e-3)
