from pathlib import Path

import pytest


@pytest.fixture
def importable(monkeypatch):
    """Let a test import the calculators beside it as a user's module, which is allowed here."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("MLAL_ALLOWED_FACTORIES", "broken_calculators, no_such_module")
