import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.paths import paths
from aiida_mlal.ml.stops import State


@pytest.fixture
def band():
    """The last step of a band of three images, whose middle one the potential is not sure of."""
    frames = []
    for image in range(3):
        atoms = bulk("Cu")
        atoms.positions[0, 0] += 0.1 * image
        frames.append(atoms)
    return Configurations.from_ase(frames).with_info(
        run=[0] * 3,
        image=[0, 1, 2],
        step=[7] * 3,
        predicted_energy=[0.0, 1.0, 0.1],
        uncertainty=[0.01, 0.4, np.nan],
    )


def test_a_path_says_what_is_labelled_and_how_sure_the_rest_is(band):
    ends = band[[0, 2]].with_labels(np.array([5.0, 5.2]), np.zeros((2, 3)))
    ends = ends.with_info(status=["ok"] * 2)
    results = {"energies": [0.0, 1.0, 0.1], "saddle": 1}
    now = State(1, 2, band, ends, ends, runs=[{"converged": True, "results": results}])
    (found,) = paths(now)
    assert found["uncertainties"] == [0.01, 0.4, None]
    assert [label["image"] for label in found["labelled"]] == [0, 2]
    assert found["labelled_barrier"] is None
    assert found["labelled_reaction_energy"] == pytest.approx(0.2)
    assert found["energies"] == results["energies"]
