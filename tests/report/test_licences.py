"""Files that must not be handed on, in nodes of any kind."""

import gzip
import tarfile
from io import BytesIO

import pytest
from aiida.orm import FolderData, SinglefileData

from aiida_mlal.report.archive import Graph, ancestry, export, problems
from aiida_mlal.report.licences import licensed

HEAD = b" parameters from PSCTR are:\n   TITEL = PAW_PBE Cu\n END of PSCTR-controll parameters\n"
CONTENT = HEAD + b" local part\n 0.1 0.2\n"


def packed(content):
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        about = tarfile.TarInfo("Cu/POTCAR")
        about.size = len(content)
        archive.addfile(about, BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("POTCAR", CONTENT, 1),
        ("notes.txt", b"as follows\n" + CONTENT, 1),
        ("POTCAR.gz", gzip.compress(CONTENT), 1),
        ("potentials.tgz", packed(CONTENT), 1),
        ("POTCAR", b"nothing of it", 0),
        ("broken.gz", gzip.compress(CONTENT)[:40], 0),
        ("other.tgz", packed(b"something"), 0),
    ],
    ids=["POTCAR", "text", "gzip", "tar", "other POTCAR", "broken gzip", "other tar"],
)
def test_potcars_are_found_by_content(aiida_profile, name, content, found):
    node = SinglefileData.from_bytes(content, filename=name).store()
    said = list(licensed([node]))
    assert len(said) == found
    assert all(name in one and node.uuid in one for one in said)


def test_an_archive_with_a_potcar_is_refused(small_campaign, tmp_path):
    folder = FolderData()
    folder.base.repository.put_object_from_bytes(CONTENT, "raw/POTCAR")
    folder.store()
    meant = Graph({folder.uuid: str(folder.base.repository.hash())}, frozenset())
    from aiida.tools.archive import create_archive

    create_archive([folder], filename=tmp_path / "bad.aiida")
    (said,) = problems(tmp_path / "bad.aiida", meant)
    assert "raw/POTCAR" in said
    path = tmp_path / "good.aiida"
    meant = ancestry(small_campaign)
    export(meant, path)
    assert problems(path, meant) == []
