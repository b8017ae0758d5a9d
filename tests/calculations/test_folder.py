"""Folders of calculations that may have come with the archive of somebody else."""

import json
from io import BytesIO

import pytest
from aiida.orm import CalcJobNode

from aiida_mlal.calculations.folder import write_folder


@pytest.mark.parametrize("name", ["../victim", "/tmp/mlal-victim", "a/../../b", ".."])
def test_a_file_that_would_be_elsewhere_is_refused(aiida_profile, dataset, tmp_path, name):
    node = CalcJobNode()
    copied = [[dataset.store().uuid, dataset.FILE, name]]
    calcinfo = {"local_copy_list": copied, "codes_info": [{"cmdline_params": ["run", "task.json"]}]}
    for path, values in (("task.json", {}), (".aiida/calcinfo.json", calcinfo)):
        content = BytesIO(json.dumps(values).encode())
        node.base.repository.put_object_from_filelike(content, path)
    with pytest.raises(ValueError, match="outside of its folder"):
        write_folder(node, tmp_path / "here" / "again")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [{}, {"cmdline_params": ["-npool", "2", "-in", "aiida.in"]}])
def test_a_calculation_of_another_code_has_no_task(aiida_profile, tmp_path, code):
    node = CalcJobNode()
    content = BytesIO(json.dumps({"local_copy_list": [], "codes_info": [code]}).encode())
    node.base.repository.put_object_from_filelike(content, ".aiida/calcinfo.json")
    with pytest.raises(ValueError, match="expected a calculation that runs a task of mlal"):
        write_folder(node, tmp_path)
