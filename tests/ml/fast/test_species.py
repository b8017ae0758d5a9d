import numpy as np
import pytest

from aiida_mlal.ml.fast.species import Species


def test_species_are_the_places_of_the_elements():
    species = Species(["Cu", "Au"])
    for numbers in ([29, 79, 29], [79, 79, 79], [], [29]):
        wanted = [{29: 0, 79: 1}[z] for z in numbers]
        assert species.of(np.array(numbers, int)).tolist() == wanted


def test_a_strange_element_is_refused_again_and_again():
    species = Species(["Cu"])
    species.of(np.array([29, 29]))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"knows \['Cu'\], the structure has \['Ag', 'Au'\]"):
            species.of(np.array([79, 29, 47]))
