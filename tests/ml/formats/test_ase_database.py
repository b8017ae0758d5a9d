import json

import ase.db
import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.labels import LabelKeys


@pytest.fixture(params=["a.db", "a.json"])
def database(request, tmp_path):
    """A database whose rows have values of their own; the first one lacks an energy."""
    path = tmp_path / request.param
    with ase.db.connect(str(path)) as rows:
        rows.write(bulk("Cu"), source="bulk")
        rows.write(bulk("Ag"), source="bulk", dft_energy=-2.5, data={"notes": [1, 2]})
    return path


def test_values_of_rows_are_kept(database):
    """They went without a word, labels among them."""
    found = files.load(database)
    assert found.configurations.info["source"].tolist() == ["bulk", "bulk"]
    np.testing.assert_equal(found.configurations.info["dft_energy"], [np.nan, -2.5])
    assert any("not read, though it looks like labels: dft_energy" in w for w in found.warnings)
    assert any("no numbers or texts of one shape: ['data']" in w for w in found.warnings)


def test_labels_can_be_among_them(database):
    read = files.read(database, keys=LabelKeys(energy="dft_energy"))
    np.testing.assert_equal(read.energies, [np.nan, -2.5])


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {"1": {"numbers": "x"}}])
def test_other_json_is_refused_in_words(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="ASE could not read it as 'json', structure 0"):
        files.load(tmp_path / "a.json")
