import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN, UNCERTAINTIES
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.plugins import PluginError
from aiida_mlal.ml.simulation import recorder
from aiida_mlal.ml.simulation.base import Simulation
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.recorder import Frame, Recorder, Store
from aiida_mlal.ml.simulation.relax import Relax


def start(n=2):
    return Configurations.from_ase(Atoms(f"Cu{n}", [[0, 0, 2.5 * i] for i in range(n)]))


def frame(step, n=2, **more):
    zeros = np.zeros((n, 3))
    usual = {"uncertainties": None, "candidate": True, "uncertainty": np.nan}
    return Frame(
        step=step, positions=zeros + step, cell=np.zeros((3, 3)), energy=-step, forces=zeros,
        stress=np.zeros((3, 3)), **{**usual, **more},
    )  # fmt: skip


def recorded(frames, **options):
    store = Store()
    record = Recorder(start(), store, **options)
    for one in frames:
        record(one)
    record.close()
    return store.read(), record


def test_the_first_the_last_wanted_and_each_nth_frame_are_kept():
    frames, record = recorded([frame(step, wanted=step == 5) for step in range(12)], every=4)
    assert frames.info["step"].tolist() == [0, 4, 5, 8, 11]
    assert record.n_candidates == 5
    np.testing.assert_array_equal(frames.positions[::2, 0], [0, 4, 5, 8, 11])


def test_images_of_a_step_are_kept_together():
    steps = [(step, image) for step in range(6) for image in range(3)]
    frames, record = recorded(
        [frame(step, image=image, wanted=(step, image) == (1, 2)) for step, image in steps], every=3
    )
    assert frames.info["step"].tolist() == [0] * 3 + [1] * 3 + [3] * 3 + [5] * 3
    assert frames.info["image"].tolist() == [0, 1, 2] * 4
    assert [one.image for one in record.last] == [0, 1, 2]


def test_the_largest_uncertainty_is_that_of_all_steps():
    _, record = recorded([frame(s, uncertainty=float(s == 3)) for s in range(6)], every=5)
    assert record.max_uncertainty == 1.0


def test_many_frames_go_to_disk_and_come_back_in_order(monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "MOST_ATOMS", 20)
    kept, _ = recorded([frame(step) for step in range(95)])
    store = Store(tmp_path / "frames")
    record = Recorder(start(), store)
    for step in range(95):
        record(frame(step))
    assert len(list((tmp_path / "frames").glob("*.safetensors"))) > 3
    record.close()
    assert store.read().to_bytes() == kept.to_bytes()
    assert kept.info["step"].tolist() == list(range(95))
    store.clear()
    assert not (tmp_path / "frames").exists()


def test_memory_does_not_grow_with_the_number_of_steps(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_ATOMS", 2000)
    record = Recorder(start(10), Store())
    peaks = []
    tracemalloc.start()
    for begin in (0, 2000):
        tracemalloc.reset_peak()
        for step in range(begin, begin + 2000):
            record(frame(step, 10))
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt, KeyboardInterrupt), (MemoryError, MemoryError), (TypeError, PluginError)],
)
def test_what_was_recorded_survives_any_exception(error, raised):
    def stop(**values):
        if values["step"] == 7:
            raise error("stop")

    potential = single({"architecture": "morse"}, ["Cu"], seed=0)
    with pytest.raises(raised) as caught:
        Relax(fmax=1e-9, every=3).run(potential, start(), stop)
    assert caught.value.computed.trajectory.info["step"].tolist() == [0, 3, 6, 7]


def test_candidates_by_a_threshold_are_kept_whatever_the_stride():
    depths = (3.0, 3.3)
    potential = Ensemble(
        [
            single(
                {"architecture": "morse", "parameters": {"Cu": {"De": d, "re": 2.3, "a": 1.5}}},
                ["Cu"],
                seed=0,
            )
            for d in depths
        ]
    )
    far = Configurations.from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 3.6]]))
    all_of_them = Relax(fmax=1e-3).run(potential, far).trajectory
    limit = float(np.quantile(all_of_them.info["uncertainty"], 0.7))
    found = Relax(fmax=1e-3, every=1000, guard=Guard(select=limit)).run(potential, far)
    wanted = all_of_them.info["uncertainty"] >= limit
    steps = np.flatnonzero(wanted | (np.arange(len(wanted)) % (len(wanted) - 1) == 0))
    assert found.trajectory.info["step"].tolist() == steps.tolist()
    assert found.runs[0].n_candidates == wanted.sum()


@dataclass(frozen=True)
class Pair(Simulation):
    """Moves two images towards each other, ``share`` of the way in each step."""

    share: float = 0.25
    max_steps: int = 8
    guard: Guard = field(default_factory=Guard)

    def groups(self, structures):
        if len(structures) % 2:
            raise ValueError(f"expected pairs of structures, got {len(structures)}")
        return [structures[i : i + 2] for i in range(0, len(structures), 2)]

    def simulate(self, potential, start, measure, record):
        images = start.to_ase()
        for atoms in images:
            atoms.calc = MLCalculator(potential, measure)
        return follow(self._steps(images, record.first_step), images, self.guard, record)

    def _steps(self, images, first):
        for _ in range(first, self.max_steps + 1):
            for atoms in images:
                atoms.get_forces()
            apart = images[1].positions - images[0].positions
            yield bool(np.abs(apart).max() < 1e-3)
            images[0].positions += self.share * apart / 2
            images[1].positions -= self.share * apart / 2


@pytest.fixture
def pairs():
    frames = []
    for seed in range(4):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def test_a_run_moves_several_images(pairs):
    potential = single({"architecture": "morse", "cutoff": 4.0}, ["Cu"], seed=0)
    result = Pair().run(potential, pairs)
    assert [run.steps for run in result.runs] == [8, 8]
    frames = result.trajectory
    assert frames.info["image"].tolist() == [0, 1] * 18
    assert frames.info["run"].tolist() == [0] * 18 + [1] * 18
    first = frames[frames.info["step"] == 0]
    assert first.keys == pairs.keys
    again = potential.predict(frames)
    assert frames.info["predicted_energy"] == pytest.approx(again.energies, abs=1e-9)
    last = frames[[16, 17]]
    assert result.runs[0].fmax == pytest.approx(potential.predict(last).max_forces.max())
    with pytest.raises(ValueError, match="expected pairs of structures, got 3"):
        Pair().run(potential, pairs[:3])


def test_the_guard_names_the_image(pairs):
    close = pairs.to_ase()[:2]
    close[1].positions[0] = close[1].positions[1] + [0.3, 0, 0]
    potential = single({"architecture": "morse", "cutoff": 4.0}, ["Cu"], seed=0)
    (run,) = Pair().run(potential, Configurations.from_ase(close)).runs
    assert run.reason == "unphysical"
    assert run.message.startswith("image 1: Cu 1 and Cu 0 are 0.30 Å apart")


def test_images_go_on_after_an_interruption(pairs):
    from aiida_mlal.ml.simulation.continuation import join
    from aiida_mlal.ml.stopping import Interrupted

    potential = single({"architecture": "morse", "cutoff": 4.0}, ["Cu"], seed=0)
    whole = Pair().run(potential, pairs)

    def stop(**values):
        if (values["run"], values["step"]) == (1, 3):
            raise Interrupted("enough")

    with pytest.raises(Interrupted) as caught:
        Pair().run(potential, pairs, stop)
    left = caught.value.computed
    rest = Pair().run(potential, pairs, checkpoint=left.checkpoint)
    joined = join(left.trajectory, left.checkpoint, rest.trajectory)
    assert joined.to_bytes() == whole.trajectory.to_bytes()
    assert rest.runs == whole.runs


def test_a_store_goes_on_with_what_was_there_again_and_again(tmp_path):
    """As jobs do that are killed and go on in the same folder more than once."""
    one = Configurations.from_ase(Atoms("Cu"))
    for turn in range(4):
        store = Store(tmp_path / "frames")
        for _ in range(2):
            store.add(one)
            store.write()
        assert len(store.read()) == 2 * (turn + 1)


def test_a_store_is_restricted_file_by_file(tmp_path):
    store = Store(tmp_path / "frames")
    for number in range(4):
        store.add(start(2).with_columns({RUN: number}))
        store.add(start(2).with_columns({RUN: 10 + number}))
        store.write()
    files = sorted((tmp_path / "frames").iterdir())
    whole = [path.read_bytes() for path in files]
    store.restrict(lambda frames: frames[~np.isin(RUN.of(frames), [1, 12, 3, 13])])
    assert RUN.of(store.read()).tolist() == [0, 10, 11, 2]
    assert sorted((tmp_path / "frames").iterdir()) == files[:3]
    assert files[0].read_bytes() == whole[0]


def test_what_a_store_saves_is_what_it_reads(tmp_path, monkeypatch):
    """Whatever columns each of its parts has, of numbers or texts."""
    monkeypatch.setattr(recorder, "MOST_ATOMS", 1000)
    store = Store()
    rng = np.random.default_rng(0)
    for number in range(12):
        part = start(2 + number)[[0] * 100]
        if number % 2:
            part = part.with_columns({RUN: number, UNCERTAINTIES: rng.random(len(part.numbers))})
        if number % 3:
            part = part.with_info(
                word=["one"] * 100, vector=rng.random((100, 3)), whole=[number] * 100
            )
        if number == 5:
            part = part.with_labels(np.arange(100), rng.random((len(part.numbers), 3)))
        if number == 7:
            part = part.with_arrays(masses=np.full(len(part.numbers), 2.0), mine=part.numbers)
        store.add(part)
    whole = store.read().to_bytes()
    store.save(tmp_path / "all.safetensors")
    assert (tmp_path / "all.safetensors").read_bytes() == whole


def test_saving_a_store_takes_the_memory_of_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_ATOMS", 10_000)
    store = Store()
    for _ in range(40):
        store.add(start(10_001))
    tracemalloc.start()
    store.save(tmp_path / "all.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / "all.safetensors").stat().st_size / 4


def test_an_empty_store_saves_no_structures(tmp_path):
    Store().save(tmp_path / "none.safetensors")
    assert Configurations.load(tmp_path / "none.safetensors").to_bytes() == (
        Configurations.empty().to_bytes()
    )
