import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data, which is not part of the package."""
    there = os.environ.get("AIIDA_MLAL_SHARED")
    folder = Path(there) if there else Path(__file__).parents[3] / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip("needs reference data, beside the repository or in $AIIDA_MLAL_SHARED")
    return folder
