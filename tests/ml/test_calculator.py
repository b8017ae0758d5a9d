import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.committee import EnergyStd, ForceStd, ForceVariance
from aiida_mlal.ml.uncertainty.grade import Grade
from aiida_mlal.ml.uncertainty.oed import OED


def morse(elements, **options):
    return single({"architecture": "morse", "cutoff": 5.0, **options}, elements, seed=0)


def bpnn(elements, n=1):
    options = {"architecture": "bpnn", "cutoff": 5.0, "hidden": [5]}
    members = [single(options, elements, seed) for seed in range(n)]
    return Sum([morse(elements), Ensemble(members)])


def mtp(elements, n=1):
    """Of different levels and cutoffs, and with a prior of a larger one."""
    options = [{"level": 2, "cutoff": 4.0}, {"level": 8, "cutoff": 4.5}, {"level": 6}][:n]
    members = [single({"architecture": "mtp", **o}, elements, i) for i, o in enumerate(options)]
    return Sum([morse(elements, cutoff=5.5), Ensemble(members)])


def committee(elements):
    depths = (1.0, 1.5, 2.0)
    return Ensemble(
        [
            morse(elements, parameters={e: {"De": d, "re": 2.0, "a": 1.5} for e in elements})
            for d in depths
        ]
    )


def slab():
    atoms = fcc100("Cu", (2, 2, 3), vacuum=6, periodic=False)
    atoms.append("C")
    atoms.positions[-1] = atoms.positions[-2] + [0.4, 0.2, 1.8]
    return atoms


@dataclass(frozen=True)
class Count(Uncertainty):
    """A measure that needs to see the neighbours."""

    kind = "count"
    unit = "1"

    def of(self, potential, graph):
        return Uncertainties(self.kind, self.unit, np.array([len(graph.pairs[0].unique())]))


STRUCTURES = {
    "molecule": lambda: molecule("CH3CH2OH"),
    "slab": slab,
    "small cell": lambda: bulk("Cu") * (2, 1, 1),
    "lone atom": lambda: Atoms("Cu", cell=[3, 3, 0], pbc=[1, 1, 0]),
}


def assert_fresh(atoms, potential):
    """The results are those of an evaluation that knows nothing of earlier steps."""
    fresh = potential.predict(Configurations.from_ase(atoms.copy()))
    assert atoms.get_potential_energy() == pytest.approx(fresh.energies[0], rel=1e-12, abs=1e-12)
    assert atoms.get_forces() == pytest.approx(fresh.forces, abs=1e-11)
    if atoms.pbc.all():
        assert atoms.get_stress(voigt=False) == pytest.approx(fresh.stresses[0], abs=1e-12)


@pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES)
def test_a_random_walk_gives_what_fresh_evaluations_give(make):
    atoms = make()
    potential = morse(sorted(set(atoms.symbols)))
    atoms.calc = MLCalculator(potential, engine="torch")
    rng = np.random.default_rng(0)
    drift = rng.normal(scale=0.1, size=(len(atoms), 3))
    for step in range(40):
        atoms.positions += drift + rng.normal(scale=0.03, size=drift.shape)
        if step % 10 == 9:
            atoms.wrap()
        if step % 13 == 12:
            atoms.set_cell(atoms.cell @ np.diag([1.01, 0.99, 1.02]), scale_atoms=True)
        assert_fresh(atoms, potential)
    assert 5 < atoms.calc.engine.neighbourhood.searches < 40


def test_neighbours_are_searched_again_only_after_half_the_skin():
    atoms = slab()
    atoms.calc = MLCalculator(morse(["C", "Cu"]), skin=0.5, engine="torch")
    counts = []
    for x in (0.0, 0.1, 0.2499, 0.1, 0.2501, 0.4, 0.5002):
        atoms.positions[-1, 2] = slab().positions[-1, 2] + x
        atoms.get_potential_energy()
        counts.append(atoms.calc.engine.neighbourhood.searches)
    assert counts == [1, 1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_cell(atoms.cell * 1.001),
        lambda atoms: atoms.set_pbc([True, False, True]),
        lambda atoms: atoms.numbers.__setitem__(0, 6),
        lambda atoms: atoms.pop(0),
    ],
    ids=["cell", "pbc", "element", "number of atoms"],
)
def test_any_other_change_is_seen_at_once(change):
    atoms = bulk("Cu", cubic=True)
    potential = morse(["C", "Cu"])
    atoms.calc = MLCalculator(potential, engine="torch")
    atoms.get_potential_energy()
    change(atoms)
    assert_fresh(atoms, potential)
    assert atoms.calc.engine.neighbourhood.searches == 2


def test_without_a_skin_every_step_searches():
    atoms = slab()
    potential = morse(["C", "Cu"])
    atoms.calc = MLCalculator(potential, skin=0.0, engine="torch")
    for _ in range(3):
        atoms.positions[-1, 0] += 0.01
        assert_fresh(atoms, potential)
    assert atoms.calc.engine.neighbourhood.searches == 3


def test_the_skin_adds_no_interaction():
    atoms = slab()
    potential = morse(["C", "Cu"], smoothing="hard")
    atoms.calc = MLCalculator(potential, skin=2.0)
    assert_fresh(atoms, potential)


def test_terms_with_cutoffs_of_their_own_see_only_their_edges():
    atoms = slab()
    potential = Sum([morse(["C", "Cu"], cutoff=6.0), morse(["C", "Cu"], cutoff=3.5)])
    atoms.calc = MLCalculator(potential, skin=2.0)
    assert_fresh(atoms, potential)


def test_a_committee_reports_its_spread():
    atoms = slab()
    potential = committee(["C", "Cu"])
    atoms.calc = MLCalculator(potential, ForceStd())
    assert_fresh(atoms, potential)
    expected = ForceStd().measure(potential, Configurations.from_ase(atoms.copy()))
    assert atoms.calc.results["uncertainty"] == pytest.approx(expected.values[0])
    assert atoms.calc.results["uncertainties"] == pytest.approx(expected.per_atom)
    assert atoms.calc.results["uncertainty"] > 0


def test_a_measure_without_atomic_values_gives_one_number():
    atoms = slab()
    atoms.calc = MLCalculator(committee(["C", "Cu"]), EnergyStd())
    atoms.get_potential_energy()
    assert atoms.calc.results["uncertainty"] > 0
    assert "uncertainties" not in atoms.calc.results


@pytest.mark.parametrize("model", [bpnn, mtp])
@pytest.mark.parametrize("kind", [ForceStd, ForceVariance, EnergyStd])
def test_kernels_find_the_same_spread(kind, model):
    atoms, fast = slab(), slab()
    potential = model(["C", "Cu"], 3)
    atoms.calc = MLCalculator(potential, kind(), engine="torch")
    fast.calc = MLCalculator(potential, kind())
    assert_fresh(atoms, potential)
    assert_fresh(fast, potential)
    assert atoms.calc.engine.name == "torch"
    assert fast.calc.engine.name == "numba"
    assert fast.calc.results.keys() == atoms.calc.results.keys()
    for name, value in atoms.calc.results.items():
        assert fast.calc.results[name] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_a_measure_that_looks_at_graphs_goes_with_any_engine():
    for engine in ("numba", "torch"):
        atoms = slab()
        atoms.calc = MLCalculator(bpnn(["C", "Cu"], 3), Count(), engine=engine)
        for _ in range(2):
            atoms.positions[-1, 0] += 0.01
            atoms.get_potential_energy()
            assert atoms.calc.results["uncertainty"] == 13
        assert atoms.calc.engine.name == engine


def test_kernels_without_the_derivatives_that_a_grade_needs_are_left_to_torch():
    atoms = slab()
    potential = bpnn(["C", "Cu"])
    ActiveSet.of(potential, Configurations.from_ase([slab()])).store(potential)
    atoms.calc = MLCalculator(potential, Grade())
    for _ in range(2):
        atoms.positions[-1, 0] += 0.01
        assert_fresh(atoms, potential)
    assert atoms.calc.engine.name == "torch"
    assert atoms.calc.results["uncertainty"] > 1


def test_what_computes_can_be_chosen():
    atoms, potential = slab(), bpnn(["C", "Cu"])
    for engine, expected in (("auto", "numba"), ("numba", "numba"), ("torch", "torch")):
        atoms.calc = MLCalculator(potential, engine=engine)
        assert_fresh(atoms, potential)
        assert atoms.calc.engine.computed_by == (expected,)
        assert (atoms.calc.engine.name == "torch") == (engine == "torch")


def test_kernels_that_are_not_there_cannot_be_chosen():
    potential = committee(["C", "Cu"])
    assert MLCalculator(potential).engine.computed_by == ("torch",)
    with pytest.raises(ValueError, match=r"engine 'numba' has no kernels for 'ensemble'.*'cpu'"):
        MLCalculator(potential, engine="numba")
    network = bpnn(["C", "Cu"])
    ActiveSet.of(network, Configurations.from_ase([slab()])).store(network)
    with pytest.raises(ValueError, match=r"derivatives by parameters.*; choose 'auto' or 'torch'"):
        MLCalculator(network, Grade(), engine="numba")


RELAXATION = """
import hashlib
from ase.build import fcc100
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.simulation.relax import Relax

potential = single({"architecture": "morse", "cutoff": 5.0}, ["Cu"], 0)
atoms = fcc100("Cu", (3, 3, 3), vacuum=6)
atoms.pbc = True
atoms.rattle(0.15, seed=1)
result = Relax(fmax=1e-9, max_steps=40).run(potential, Configurations.from_ase(atoms))
print(hashlib.sha256(result.trajectory.to_bytes()).hexdigest(), result.runs[0].engines)
"""


def test_a_trajectory_does_not_depend_on_what_is_compiled(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", RELAXATION],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("morse._chunk*.nbc"))
    assert said[0] == said[1]
    assert "('numba',)" in said[0]


def test_energy_is_that_of_the_forces():
    atoms = slab()
    atoms.calc = MLCalculator(morse(["C", "Cu"]))
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_stress_needs_three_periodic_directions():
    atoms = slab()
    atoms.calc = MLCalculator(morse(["C", "Cu"]))
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_an_unknown_element_is_refused():
    atoms = Atoms("Au")
    atoms.calc = MLCalculator(morse(["C", "Cu"]))
    with pytest.raises(ValueError, match=r"knows \['C', 'Cu'\].*\['Au'\]"):
        atoms.get_potential_energy()


def test_positions_that_are_no_numbers_are_refused():
    atoms = slab()
    atoms.calc = MLCalculator(morse(["C", "Cu"]))
    atoms.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        atoms.get_potential_energy()


def test_a_failed_step_leaves_the_next_one_right():
    atoms = slab()
    potential = morse(["C", "Cu"])
    atoms.calc = MLCalculator(potential)
    atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        atoms.get_potential_energy()
    atoms.positions[:] = good + 0.01
    assert_fresh(atoms, potential)


def test_a_negative_skin_is_refused():
    with pytest.raises(ValueError, match="skin of 0 Å or more"):
        MLCalculator(morse(["Cu"]), skin=-0.1)


@pytest.mark.parametrize("architecture", ["bpnn", "gmnn"])
def test_the_last_layer_is_measured_beside_kernels(architecture):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    model = {"architecture": architecture, "hidden": [5], "cutoff": 4.0}
    potential = single(model, ["Cu"], 0)
    train = Configurations.from_ase([atoms, bulk("Cu")])
    potential.extras = dict(OED().fitted(potential, train).extras)
    found = []
    for engine in ("numba", "torch"):
        calculator = MLCalculator(potential, OED(), engine=engine)
        moved = atoms.copy()
        moved.calc = calculator
        moved.get_forces()
        moved.positions[0] += 0.05
        moved.get_forces()
        assert (calculator.engine.name == "torch") == (engine == "torch")
        found.append(calculator.results)
    for name in ("energy", "forces", "uncertainty", "uncertainties"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-8, atol=1e-10)
