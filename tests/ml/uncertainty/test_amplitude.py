"""How sure a Gaussian process may be that has learned from few structures."""

import numpy as np
import pytest
from ase import units
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.gaussian_process import Posterior
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.uncertainty.amplitude import USUAL, amplitude
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd, _beyond, _observed


def oxygen_on_copper():
    atoms = fcc100("Cu", (2, 2, 2), vacuum=8)
    add_adsorbate(atoms, "O", 1.0, "hollow")
    atoms.pbc = True, True, False
    return atoms


def methanol():
    atoms = molecule("CH3OH")
    atoms.center(6)
    return atoms


STARTS = {
    "platinum": lambda: bulk("Pt", cubic=True),
    "O on Cu(100)": oxygen_on_copper,
    "methanol": methanol,
}


def labelled(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def learned(frames):
    options = ModelOptions.parse({"architecture": "gp", "cutoff": 5.0})
    potential = options.build(list(frames.elements), 0)
    fit(potential, frames, options.training({}), 0)
    return potential, carry(potential, {"name": "gp_std"}, frames)


@pytest.fixture(scope="module", params=STARTS)
def run(request):
    """A relaxed structure, and molecular dynamics at 300 K from there."""
    relaxed = labelled(STARTS[request.param]())
    BFGS(relaxed, logfile=None).run(fmax=0.03)
    atoms, rng = labelled(relaxed), np.random.default_rng(3)
    thermalize_momenta(atoms, temperature_K=600, rng=rng)  # half of it becomes potential energy
    dynamics, frames = VelocityVerlet(atoms, units.fs), []
    for _ in range(5):
        dynamics.run(30)
        frames.append(labelled(atoms))
    return Configurations.from_ase(labelled(relaxed)), Configurations.from_ase(frames)


def test_one_relaxed_structure_does_not_make_it_sure_of_dynamics(run):
    """Before, errors were 37 to 188 times as large as the deviations."""
    first, frames = run
    potential, _ = learned(first)
    errors = np.linalg.norm(potential.predict(frames).forces - frames.forces, axis=1)
    said = ProcessForceStd().measure(potential, frames).per_atom
    assert np.sqrt((errors**2).mean()) < 3 * np.sqrt((said**2).mean())


def test_structures_are_what_counts(run):
    """The larger the number of structures, the less is added to what they say."""
    first, frames = run
    potential, _ = learned(first)
    process = potential.process()

    def more(structures):
        targets = _beyond(potential, process, structures)
        return amplitude(Posterior(*_observed(process, structures, targets), process.prior))

    variance, together = float(process.variance), Configurations.concatenate([first, frames])
    for n in (1, 3, 6):
        expected = (USUAL**2 + (n - 1) * variance) / n
        assert more(together[:n]) ** 2 * variance == pytest.approx(expected, rel=1e-6)
    process.variance.fill_(4.0)
    assert more(first) == 1


def test_it_is_a_factor_of_all_deviations(run):
    first, _ = run
    potential, about = learned(first)
    assert about["scale"] == pytest.approx(USUAL / float(potential.process().variance) ** 0.5)
