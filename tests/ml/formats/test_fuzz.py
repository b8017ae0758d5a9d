"""A few of the damaged files that benchmarks/fuzz makes."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "benchmarks" / "fuzz" / "fuzz.py"
spec = importlib.util.spec_from_file_location("fuzz", PATH)
fuzz = importlib.util.module_from_spec(spec)
sys.modules["fuzz"] = fuzz
spec.loader.exec_module(fuzz)


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_damaged_file_is_refused_in_words_or_read(tmp_path, name):
    reader = fuzz.READERS[name]
    seeds = reader.seeds(tmp_path)
    contents = [path.read_bytes() for path in seeds]
    outcomes = set()
    for i in range(60):
        rng = random.Random(f"{name} {i}")
        which = rng.randrange(len(seeds))
        seeds[which].write_bytes(fuzz.mutate(contents[which], rng))
        said = fuzz.attempt(reader, seeds[which])
        assert said in ("accepted", "refused"), i
        outcomes.add(said)
    assert "refused" in outcomes
