from pathlib import Path

import pytest


@pytest.fixture
def importable(monkeypatch):
    """Let a test import the calculators beside it as a user's module."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
