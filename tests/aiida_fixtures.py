"""Fixtures of the AiiDA layer; loaded only where AiiDA is installed."""

import copy
import time
from functools import cache, partialmethod

import numpy as np
import pytest
import shortcuts
import warm
from aiida.manage.manager import Manager
from aiida.orm.utils import serialize
from aiida.storage.psql_dos.orm.utils import ModelWrapper
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from yaml import CDumper

# A profile of tests is polled without a pause: whoever waits for a job takes the CPU from it.
Manager.create_runner = partialmethod(Manager.create_runner, poll_interval=0.4)


@event.listens_for(Engine, "connect")
def trust_the_disk(connection, _):
    """Let SQLite not wait for the disk at each commit: a profile of tests outlives no crash."""
    connection.execute("PRAGMA synchronous=OFF")


class CheckpointDumper(CDumper, serialize.AiiDADumper):
    """Writes checkpoints by libyaml, as they are written at each step of each process."""


serialize.AiiDADumper = CheckpointDumper


@event.listens_for(Session, "after_transaction_create")
def believe_the_session(session, _):
    """Let nodes not be read again after each commit: no other process writes to these profiles."""
    session.expire_on_commit = False


ModelWrapper._ensure_model_uptodate = lambda *_, **__: None  # nor before each access

shortcuts.take()


@pytest.fixture
def slab():
    """A small slab of Cu with C in a hollow, its lowest layer fixed."""
    return make_slab()


def make_slab():
    atoms = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, "C", 1.0, "hollow")
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([0]))
    atoms.info.clear()
    return atoms


@pytest.fixture
def frames():
    """Six rattled copies of the slab, labelled by EMT."""
    return copy.deepcopy(labelled_slabs())


@cache
def labelled_slabs():
    rng = np.random.default_rng(7)
    copies = []
    for _ in range(6):
        atoms = make_slab()
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        copies.append(atoms)
    return copies


@pytest.fixture
def configurations(frames):
    from aiida_mlal.ml.configurations import Configurations

    return Configurations.from_ase(frames)


@pytest.fixture
def dataset(configurations):
    from aiida_mlal.data.dataset import DatasetData

    return DatasetData(configurations)


MODEL = {
    "architecture": "bpnn",
    "cutoff": 4.0,
    "hidden": [4],
    "prior": {"architecture": "morse", "cutoff": 4.0},
}
"""A model as small as possible."""


@pytest.fixture
def potential():
    """An untrained potential."""
    return copy.deepcopy(untrained())


@cache
def untrained():
    from aiida_mlal.ml.models.factory import ModelOptions

    return ModelOptions.parse(MODEL).build(["C", "Cu"], seed=1)


@pytest.fixture(scope="session")
def warm_mlal(tmp_path_factory, worker_id):
    """The ``mlal`` of this environment, forked from a process that has imported what it imports.

    The first of the workers that run tests starts that process for all of them.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "mlal"
    program = folder / "mlal"
    try:
        folder.mkdir()
    except FileExistsError:
        while not program.exists():
            time.sleep(0.1)
        yield program
    else:
        server = warm.start(folder)
        yield program
        server.stdin.close()
        server.wait()


@pytest.fixture
def mlal_code(aiida_code_installed, warm_mlal):
    """The ``mlal`` of this environment on this computer."""
    code = aiida_code_installed(
        label="mlal",
        filepath_executable=str(warm_mlal),
        prepend_text="export OMP_NUM_THREADS=1",
    )
    # as `aiida-mlal setup` does: no profile of the shell is read, whoever waits leaves the CPU
    code.computer.configure(use_login_shell=False)
    code.computer.set_minimum_job_poll_interval(0.8)
    return code


TRAINING = {"epochs": 2}


@pytest.fixture
def inputs(mlal_code, dataset, potential):
    """Return the inputs of each calculation, by its entry point."""
    from aiida_mlal.data.potential import PotentialData

    node = PotentialData.from_potential(potential)
    return {
        "mlal.train": {"dataset": dataset, "model": MODEL, "training": TRAINING, "seed": 3},
        "mlal.simulate": {
            "potential": node,
            "structures": dataset.subset([0, 1]),
            "simulation": {"name": "relax", "fmax": 0.5, "max_steps": 3},
        },
        "mlal.select": {
            "pool": dataset.subset([2, 3, 4, 5]),
            "train": dataset.subset([0, 1]),
            "query": {"name": "random", "n": 2},
            "seed": 5,
        },
        "mlal.label.ase": {"dataset": dataset.subset([0, 1]), "calculator": {"name": "emt"}},
        "mlal.evaluate": {"potential": node, "dataset": dataset},
        "mlal.grade": {"potential": node, "dataset": dataset, "train": dataset},
        "mlal.properties": {
            "potential": node,
            "structures": dataset.subset([0]),
            "properties": [{"name": "lattice"}, {"name": "elastic", "strain": 0.01}],
            "relaxation": {"fmax": 0.01},
        },
    }


@pytest.fixture
def build(inputs, mlal_code):
    """Return a factory of builders: ``build(entry_point, **changes)``."""
    from aiida.plugins import CalculationFactory

    def factory(entry_point, **changes):
        builder = CalculationFactory(entry_point).get_builder()
        builder.code = mlal_code
        for name, value in {**inputs[entry_point], **changes}.items():
            setattr(builder, name, value)
        return builder

    return factory


@pytest.fixture
def generate_calc_job(build, tmp_path_factory):
    """Return a factory of a calculation's folder and ``CalcInfo``, as if it were submitted."""
    from aiida.common.folders import Folder
    from aiida.engine.utils import instantiate_process
    from aiida.manage.manager import get_manager

    def factory(entry_point, **changes):
        path = tmp_path_factory.mktemp("calc_job")
        process = instantiate_process(get_manager().get_runner(), build(entry_point, **changes))
        return path, process.prepare_for_submission(Folder(str(path)))

    return factory


@pytest.fixture
def parse(inputs, aiida_localhost):
    """Return a factory that parses files as if a calculation had retrieved them.

    It returns the outputs and the exit code.
    """
    from aiida import orm
    from aiida.common import LinkType
    from aiida.plugins import CalculationFactory, ParserFactory
    from aiida.plugins.entry_point import format_entry_point_string

    def factory(entry_point, files, scheduler=None, stderr=""):
        process_type = format_entry_point_string("aiida.calculations", entry_point)
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=process_type)
        node.set_option("scheduler_stderr", "_scheduler-stderr.txt")
        for label, value in inputs[entry_point].items():
            value = orm.to_aiida_type(value) if not isinstance(value, orm.Data) else value
            node.base.links.add_incoming(value.store(), LinkType.INPUT_CALC, label)
        if scheduler is not None:
            code = CalculationFactory(entry_point).exit_codes[scheduler]
            node.set_exit_status(code.status)
            node.set_exit_message(code.message)
        node.store()
        retrieved = orm.FolderData()
        for name, content in {**files, "_scheduler-stderr.txt": stderr.encode()}.items():
            retrieved.base.repository.put_object_from_bytes(content, name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, "retrieved")
        retrieved.store()
        parser = ParserFactory(entry_point)(node)
        exit_code = parser.parse()
        return dict(parser.outputs), exit_code

    return factory
