"""Examples are run as a user runs them; most of them where their campaigns are tested."""

import runpy
import shutil
from pathlib import Path

import pytest
from aiida import engine, orm

EXAMPLES = Path(__file__).parents[1] / "examples"


class Built(Exception):
    """An example came to the point where it runs a process."""


@pytest.fixture
def stop_before_running(monkeypatch):
    """Check what an example would run, and stop it there."""

    def stop(builder):
        inputs = builder._inputs(prune=True)
        process = builder.process_class.spec().inputs
        problem = process.validate(process.pre_process(inputs))
        raise Built(problem.message if problem else "")

    monkeypatch.setattr(engine, "run_get_node", stop)


def test_relax_emt(aiida_profile_clean, mlal_code, capsys):
    found = runpy.run_path(str(EXAMPLES / "01_relax_emt.py"))
    assert found["node"].is_finished_ok, found["node"].exit_message
    printed = capsys.readouterr().out
    assert "converged" in printed
    assert isinstance(found["results"]["structure"], orm.StructureData)


def test_relax_qe_is_ready_to_run(
    aiida_profile_clean, mlal_code, aiida_code_installed, stop_before_running
):
    pseudos = Path("/usr/share/espresso/pseudo")
    files = [pseudos / name for name in ("Cu.pbe-kjpaw.UPF", "C.pbe-rrkjus.UPF")]
    if not all(file.exists() for file in files):
        pytest.skip("needs the pseudopotentials of the Debian package quantum-espresso-data")
    from aiida_pseudo.data.pseudo.upf import UpfData
    from aiida_pseudo.groups.family.pseudo import PseudoPotentialFamily

    aiida_code_installed(
        label="pw",
        default_calc_job_plugin="quantumespresso.pw",
        filepath_executable=shutil.which("pw.x") or "/bin/true",
    )
    family = PseudoPotentialFamily(label="mlal").store()
    family.add_nodes([UpfData(file).store() for file in files])
    with pytest.raises(Built, match=r"^$"):
        runpy.run_path(str(EXAMPLES / "02_relax_qe.py"))


def test_bootstrap_md(aiida_profile_clean, mlal_code, capsys):
    found = runpy.run_path(str(EXAMPLES / "08_bootstrap_md.py"))
    assert found["node"].is_finished_ok, found["node"].exit_message
    printed = capsys.readouterr().out
    assert "3 of 3 runs survived, the shortest 300 steps" in printed


def test_md_co_cu100_is_ready_to_run(aiida_profile_clean, mlal_code, stop_before_running):
    with pytest.raises(Built, match=r"^$"):
        runpy.run_path(str(EXAMPLES / "06_md_co_cu100.py"))


def test_pool(aiida_profile_clean, mlal_code, capsys):
    found = runpy.run_path(str(EXAMPLES / "04_pool.py"))
    assert found["node"].is_finished_ok, found["node"].exit_message
    printed = capsys.readouterr().out
    assert "20 labels: force error" in printed
    rows = found["results"]["curve"]["rows"]
    assert rows[-1]["test"]["force_rmse"] < rows[0]["test"]["force_rmse"]
