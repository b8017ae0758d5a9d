import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from ase.build import bulk, fcc100
from ase.constraints import FixAtoms
from ase.units import GPa

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.plugins import PluginError
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.stops import (
    Accuracy,
    Agreement,
    All,
    Allowance,
    Barrier,
    Informativeness,
    Iterations,
    Labels,
    OracleForce,
    Size,
    State,
    Stop,
    Uninterrupted,
    Verdict,
    allowance,
    are_met_by,
    are_worth_labels,
    decide,
    labels_left,
    parse,
    row,
    structures_left,
)

NOTHING = Configurations.empty()


def frames(n, seed=0):
    """Slabs whose lower layer, the atoms 0 to 3, is fixed."""
    found = []
    for i in range(n):
        slab = fcc100("Cu", (2, 2, 2), vacuum=5)
        slab.set_constraint(FixAtoms(range(4)))
        slab.positions[4:] += np.random.default_rng([seed, i]).normal(size=(4, 3)) * 0.1
        found.append(slab)
    return Configurations.from_ase(found)


def trajectory(n_runs=2, n_steps=3, **info):
    found = frames(n_runs * n_steps)
    return found.with_info(
        run=np.repeat(np.arange(n_runs), n_steps),
        step=np.tile(np.arange(n_steps), n_runs),
        predicted_energy=np.full(len(found), 40.0),
        **info,
    ).with_arrays(predicted_forces=np.zeros((8 * len(found), 3)))


def labelled(configurations, force=0.0, energy=0.0, fixed_force=9.0):
    """Give the atom 5 of each structure a force, and the fixed ones a large one.

    ``energy`` is by how much the label is above the prediction.
    """
    n = len(configurations)
    forces = np.zeros((n, 8, 3))
    forces[:, 5, 1] = force
    forces[:, :4, 2] = fixed_force
    return configurations.with_labels(np.full(n, 40.0 + energy), forces.reshape(-1, 3)).with_info(
        status=["ok"] * n
    )


def state(path, new, **others):
    values = {"iteration": 1, "n_labels": len(new), "dataset": new, "runs": []}
    return State(trajectory=path, new=new, **{**values, **others})


class TestOracleForce:
    def test_converged_when_all_last_frames_are_relaxed(self):
        path = trajectory()
        verdict = OracleForce(0.03).judge(state(path, labelled(path[[2, 5]], 0.029)))
        assert verdict.outcome == "converged"
        assert "0.029" in verdict.reason

    def test_forces_on_fixed_atoms_do_not_count(self):
        path = trajectory()
        verdict = OracleForce(0.03).judge(state(path, labelled(path[[2, 5]], fixed_force=50.0)))
        assert verdict.outcome == "converged"

    def test_goes_on_when_one_is_not_relaxed(self):
        path = trajectory()
        new = Configurations.concatenate([labelled(path[[2]], 0.0), labelled(path[[5]], 0.031)])
        verdict = OracleForce(0.03).judge(state(path, new))
        assert verdict.outcome == "go on"
        assert "0.031 eV/Å at the end of run 1" in verdict.reason

    def test_goes_on_when_a_last_frame_is_not_labelled(self):
        path = trajectory()
        verdict = OracleForce(0.03).judge(state(path, labelled(path[[2, 4]])))
        assert verdict.outcome == "go on"
        assert verdict.reason == "the last frames of runs [1] have no label"

    def test_a_failed_label_is_none(self):
        path = trajectory()
        new = labelled(path[[2, 5]]).with_info(status=["ok", "unconverged"])
        assert OracleForce(0.03).judge(state(path, new)).outcome == "go on"

    def test_a_label_of_an_earlier_iteration_counts(self):
        path = trajectory()
        earlier = labelled(path[[5]], 0.01)
        new = labelled(path[[2]], 0.01)
        dataset = Configurations.concatenate([earlier, new])
        verdict = OracleForce(0.03).judge(state(path, new, dataset=dataset))
        assert verdict.outcome == "converged"

    def test_predicted_forces_are_not_believed(self):
        path = trajectory()
        assert OracleForce(0.03).judge(state(path, NOTHING)).outcome == "go on"

    def test_goes_on_without_simulations(self):
        assert OracleForce(0.03).judge(state(NOTHING, NOTHING)).outcome == "go on"


class TestAgreement:
    def test_small_differences_are_agreement(self):
        path = trajectory()
        new = labelled(path[[2, 5]], 0.05, energy=8 * 0.001, fixed_force=0.0)
        assert Agreement(0.002, 0.01).judge(state(path, new)).outcome == "converged"

    @pytest.mark.parametrize(("energy", "force"), [(0.1, 0.0), (0.0, 5.0)])
    def test_large_differences_are_not(self, energy, force):
        path = trajectory()
        new = labelled(path[[2, 5]], force, energy=energy, fixed_force=0.0)
        assert Agreement(0.002, 0.01).judge(state(path, new)).outcome == "go on"

    def test_missing_predictions_are_not(self):
        path = frames(3)
        assert Agreement().judge(state(path, labelled(path))).outcome == "go on"


@pytest.mark.parametrize(("iteration", "outcome"), [(2, "go on"), (3, "exhausted")])
def test_iterations(iteration, outcome):
    assert Iterations(3).judge(state(NOTHING, NOTHING, iteration=iteration)).outcome == outcome


@pytest.mark.parametrize(("n", "outcome"), [(9, "go on"), (10, "exhausted"), (12, "exhausted")])
def test_labels(n, outcome):
    assert Labels(10).judge(state(NOTHING, NOTHING, n_labels=n)).outcome == outcome


def test_convergence_counts_more_than_exhaustion():
    path = trajectory()
    done = state(path, labelled(path[[2, 5]]), iteration=5)
    assert decide([Iterations(5), OracleForce(0.03)], done).outcome == "converged"
    assert decide([Iterations(5), Labels(50)], done).outcome == "exhausted"
    verdict = decide([Iterations(6), Labels(50)], done)
    assert verdict.outcome == "go on"
    assert verdict.reason == "iteration 5 of 6; label 2 of 50"


def test_stops_from_options():
    found = parse([{"name": "oracle_force", "fmax": 0.03}, {"name": "iterations", "n": 25}])
    assert found == [OracleForce(0.03), Iterations(25)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([{"name": "oracle_force"}], "nothing ends a campaign"),
        ([], "nothing ends a campaign"),
        ({"name": "iterations"}, "expected a list"),
        ("iterations", "expected a list"),
        ([{"name": "labels"}], "'n' is missing"),
        ([{"name": "label", "n": 3}], "did you mean 'labels'"),
        ([{"name": "iterations", "n": 0}], "expected n above 0"),
        ([{"name": "iterations"}, {"name": "oracle_force", "fmax": -1}], "expected fmax above 0"),
    ],
)
def test_wrong_options_are_explained(values, words):
    with pytest.raises(ValueError, match=words):
        parse(values)


def test_every_installed_stop_gives_a_verdict():
    path = trajectory()
    now = state(path, labelled(path[[2, 5]]))
    needed = {"labels": {"n": 3}, "size": {"n": 3}, "all": {"of": [{"name": "oracle_force"}]}}
    for name in plugins.names("stops"):
        options = needed.get(name, {})
        stop = plugins.make("stops", {"name": name, **options})
        assert stop.judge(now).reason


def test_labels_left():
    assert labels_left([Iterations(3)], 7) is None
    assert labels_left([Labels(10), Labels(8)], 7) == 1
    assert labels_left([Labels(5)], 7) == 0


def test_row_of_the_learning_curve():
    path = trajectory(uncertainty=[0.1, 0.2, 0.3, np.nan, 0.2, 0.2])
    new = labelled(path[[2, 5, 0]], 0.3, energy=0.8, fixed_force=0.0).with_info(
        status=["ok", "ok", "failed"]
    )
    runs = [
        {"converged": True, "steps": 30},
        {"converged": False, "reason": "uncertain", "steps": 10},
    ]
    now = state(path, new, n_labels=7, runs=runs)
    found = row(now)
    assert (found["steps_min"], found["steps_mean"]) == (10, 20)
    assert found["statuses"] == {"failed": 1, "ok": 2}
    assert (found["iteration"], found["labels"], found["learnable"]) == (1, 7, 2)
    assert (found["runs"], found["converged"], found["interrupted"]) == (2, 1, 1)
    assert found["uncertainty_mean"] == pytest.approx(0.2)
    assert found["uncertainty_max"] == 0.3
    assert found["oracle_fmax"] == pytest.approx(0.3)
    assert found["errors"]["energy_mae"] == pytest.approx(0.1)  # 0.8 eV on 8 atoms
    assert found["errors"]["force_max"] == pytest.approx(0.3)
    assert found["errors"]["force_mae"] == pytest.approx(0.3 / 24)
    json.dumps(found, allow_nan=False)


def test_row_of_an_iteration_without_anything():
    found = row(State(0, 0, NOTHING, NOTHING, NOTHING))
    json.dumps(found, allow_nan=False)
    assert found["oracle_fmax"] is None
    assert found["errors"] == {}


def test_final_frames_are_found_with_their_labels():
    path = trajectory()
    finals = state(path, labelled(path[[5]], 0.2)).finals
    assert [final.run for final in finals] == [0, 1]
    assert finals[0].labelled is None
    assert np.isnan(finals[0].fmax)
    assert finals[1].fmax == pytest.approx(0.2)


def ended(*reasons, uncertainty=1.0):
    return [
        {
            "reason": reason,
            "converged": reason == "converged",
            "max_uncertainty": uncertainty,
        }
        for reason in reasons
    ]


def crystal_path(moves="full", pressure_GPa=0.0):
    """Two runs of a crystal whose forces are all zero, each of two frames, its cell moving."""
    frames = [bulk("Cu", cubic=True, a=a) for a in (3.5, 3.6, 3.5, 3.7)]
    path = Configurations.from_ase(frames).with_info(
        run=[0, 0, 1, 1],
        step=[0, 1, 0, 1],
        predicted_energy=np.zeros(4),
        predicted_stress=np.zeros((4, 3, 3)),
    )
    path = path.with_arrays(predicted_forces=np.zeros((16, 3)))
    cell = {"moves": moves, "pressure_GPa": pressure_GPa}
    runs = [{"reason": "converged", "converged": True, "cell": cell}] * 2
    return path, runs


def stressed(frames, *stresses):
    """Give crystals labels without forces, with these stresses (GPa) along the first axis."""
    tensors = np.zeros((len(frames), 3, 3))
    tensors[:, 0, 0] = np.array(stresses) * GPa
    blank = np.zeros((len(frames.numbers), 3))
    return frames.with_labels(np.zeros(len(frames)), blank, tensors).with_info(
        status=["ok"] * len(frames)
    )


def judge(stop, stresses, **options):
    path, runs = crystal_path(**options)
    return stop.judge(state(path, stressed(path[[1, 3]], *stresses), runs=runs))


class TestMovingCells:
    """Where symmetry makes all forces zero, the stress alone says whether a cell is relaxed."""

    def test_converged_when_force_and_stress_are_small(self):
        verdict = judge(OracleForce(0.05, smax_GPa=0.1), (0.02, -0.09))
        assert verdict.outcome == "converged"
        assert "labelled stress 0.09 GPa at the end of run 1 is the largest" in verdict.reason

    @pytest.mark.parametrize("stop", [OracleForce(0.05), Agreement(1.0, 1.0)])
    @pytest.mark.parametrize("stress", [0.9, np.nan])
    def test_goes_on_while_a_stress_is_large_or_unknown(self, stop, stress):
        verdict = judge(stop, (0.0, stress))
        assert verdict.outcome == "go on"
        assert "stress" in verdict.reason

    def test_only_what_moves_counts(self):
        """Of 0.24 GPa along one axis a third is hydrostatic."""
        stop = OracleForce(0.05, smax_GPa=0.1)
        assert judge(stop, (0.24, 0.0), moves="volume").outcome == "converged"
        assert judge(stop, (0.24, 0.0), moves="shape").outcome == "go on"
        assert judge(stop, (0.24, 0.0), moves="fixed").outcome == "converged"

    def test_the_external_pressure_is_no_error_but_its_absence_is(self):
        stop = OracleForce(0.05, smax_GPa=0.1)
        assert judge(stop, (-6.0, -6.0), moves="volume", pressure_GPa=2.0).outcome == "converged"
        assert judge(stop, (0.0, 0.0), moves="volume", pressure_GPa=2.0).outcome == "go on"

    def test_agreement_is_of_predicted_and_labelled_stress(self):
        """The mean of six components, of which one differs."""
        assert judge(Agreement(1.0, 1.0, stress_GPa=0.1), (0.5, 0.5)).outcome == "converged"
        assert judge(Agreement(1.0, 1.0, stress_GPa=0.08), (0.5, 0.5)).outcome == "go on"

    def test_agreement_short_of_the_aim_is_no_convergence(self):
        path, runs = crystal_path()
        runs = [runs[0], {**runs[1], "reason": "strayed", "converged": False}]
        verdict = Agreement().judge(state(path, stressed(path[[1, 3]], 0.0, 0.0), runs=runs))
        assert verdict.outcome == "go on"
        assert verdict.reason == "1 of 2 runs did not reach their aim"

    def test_the_curve_has_the_stress_beside_the_force(self):
        path, runs = crystal_path()
        found = row(state(path, stressed(path[[1, 3]], 0.2, -0.7), runs=runs))
        assert found["oracle_fmax"] == 0.0
        assert found["oracle_smax_GPa"] == pytest.approx(0.7)
        assert found["errors"]["stress_max"] == pytest.approx(0.7 * GPa)
        path, runs = crystal_path("fixed")
        found = row(state(path, stressed(path[[1, 3]], 0.2, -0.7), runs=runs))
        assert found["oracle_smax_GPa"] is None

    def test_the_best_end_has_small_force_and_stress(self):
        path, runs = crystal_path()
        finals = state(path, stressed(path[[1, 3]], 2.0, 1.0), runs=runs).finals
        area = (3.6**3 / 4) ** (2 / 3), (3.7**3 / 4) ** (2 / 3)
        assert [final.drive for final in finals] == pytest.approx(
            [2.0 * GPa * area[0], 1.0 * GPa * area[1]]
        )

    def test_a_moving_cell_is_never_taken_for_a_fixed_one(self):
        path, _ = crystal_path()
        with pytest.raises(ValueError, match="run 0 moves the cell, and 'runs' have no result"):
            OracleForce().judge(state(path, stressed(path[[1, 3]], 0.0, 0.0), runs=[]))

    def test_known_ends_that_are_relaxed_need_no_label(self):
        path, runs = crystal_path()
        stops = [OracleForce(0.05, smax_GPa=0.1), Iterations(3)]
        assert are_met_by(stops, runs, path, stressed(path[[1, 3]], 0.05, 0.05))
        assert not are_met_by(stops, runs, path, stressed(path[[1, 3]], 0.05, 0.5))
        assert not are_met_by(stops, runs, path, stressed(path[[1]], 0.05))


class TestUninterrupted:
    def test_converged_when_no_guard_ended_a_run(self):
        verdict = Uninterrupted().judge(
            state(NOTHING, NOTHING, runs=ended("converged", "converged"))
        )
        assert verdict.outcome == "converged"
        assert verdict.reason == "none of 2 simulations was interrupted"

    def test_goes_on_when_one_ran_out_of_steps(self):
        runs = ended("converged", "max_steps")
        verdict = Uninterrupted().judge(state(NOTHING, NOTHING, runs=runs))
        assert verdict.outcome == "go on"
        assert verdict.reason == "1 of 2 simulations did not reach their aim"

    @pytest.mark.parametrize("reason", ["uncertain", "strayed", "unphysical"])
    def test_goes_on_when_one_did(self, reason):
        verdict = Uninterrupted().judge(state(NOTHING, NOTHING, runs=ended("converged", reason)))
        assert verdict.outcome == "go on"
        assert verdict.reason == "1 of 2 simulations were interrupted"

    @pytest.mark.parametrize(
        ("uncertainty", "outcome"), [(1.9, "converged"), (2.0, "go on"), (None, "go on")]
    )
    def test_a_threshold_counts_as_well(self, uncertainty, outcome):
        runs = ended("converged", uncertainty=uncertainty)
        verdict = Uninterrupted(threshold=2.0).judge(state(NOTHING, NOTHING, runs=runs))
        assert verdict.outcome == outcome

    def test_goes_on_without_simulations(self):
        assert Uninterrupted().judge(state(NOTHING, NOTHING)).outcome == "go on"


def test_no_label_is_wanted_when_simulations_went_well():
    stops = [Uninterrupted(), Iterations(1), Labels(1)]
    assert are_met_by(stops, ended("converged"))
    assert not are_met_by(stops, ended("converged", "uncertain"))
    assert not are_met_by([OracleForce(), Iterations(1)], ended("converged"))


@pytest.mark.parametrize(("n", "outcome"), [(2, "converged"), (3, "converged"), (4, "go on")])
def test_size_counts_what_can_be_learned_from(n, outcome):
    dataset = frames(5).with_info(status=["ok", "failed", "ok", "ok", "unconverged"])
    state = State(1, 5, NOTHING, NOTHING, dataset)
    assert Size(n).judge(state).outcome == outcome


@pytest.mark.parametrize(
    ("scores", "outcome"), [((), "go on"), ((0.5, 1.6), "go on"), ((0.9, 1.0), "converged")]
)
def test_informativeness_is_the_mean_score_of_what_was_chosen(scores, outcome):
    state = State(1, 5, NOTHING, NOTHING, NOTHING, scores=scores)
    assert Informativeness().judge(state).outcome == outcome
    assert are_worth_labels([Informativeness(), Size(9)], scores) == (outcome == "go on")


def test_everything_is_worth_a_label_where_nobody_asks():
    assert are_worth_labels([Size(9)], (1e-9,))


def test_structures_left():
    assert structures_left([Size(9), Size(7), Labels(3)], 5) == 2
    assert structures_left([Size(9)], 12) == 0
    assert structures_left([Labels(3)], 5) is None


@dataclass(frozen=True)
class Cost(Stop):
    """A stop as a user writes it: it judges, and says that it bounds campaigns."""

    price: float
    budget: float

    bounds: ClassVar[bool] = True

    def judge(self, state):
        paid = self.price * state.n_labels
        return Verdict("exhausted" if paid >= self.budget else "go on", f"paid {paid:g}")


@dataclass(frozen=True)
class Enough(Stop):
    """The same of structures to learn from, and as convergence."""

    n: int

    bounds: ClassVar[bool] = True

    def judge(self, state):
        return Verdict("converged" if state.n_learnable >= self.n else "go on", "")


@dataclass(frozen=True)
class Batches(Stop):
    """A stop that says itself what it allows."""

    bounds: ClassVar[bool] = True

    def judge(self, state):
        return Verdict("go on", "")

    def allowance(self, state):
        return Allowance(labels=8 - state.n_labels % 8)


@pytest.mark.parametrize(
    ("stop", "n_labels", "n_learnable", "allowed"),
    [
        (Labels(5), 3, 2, Allowance(labels=2)),
        (Cost(1.0, 5.0), 3, 2, Allowance(labels=2)),
        (Cost(0.3, 1.0), 0, 0, Allowance(labels=4)),
        (Cost(1.0, 5.0), 7, 7, Allowance(0, 0, 0)),
        (Size(5), 3, 2, Allowance(structures=3)),
        (Enough(5), 3, 2, Allowance(structures=3)),
        (Iterations(5), 3, 2, Allowance(iterations=5)),
        (OracleForce(), 3, 2, Allowance()),
        (Batches(), 3, 2, Allowance(labels=5)),
    ],
)
def test_a_stop_of_a_users_allows_as_much_as_one_of_ours(stop, n_labels, n_learnable, allowed):
    assert stop.allowance(State.ahead(n_labels=n_labels, foreseen=n_learnable)) == allowed


def test_several_stops_allow_what_the_strictest_allows():
    state = State.ahead(n_labels=3, foreseen=2)
    stops = [Iterations(1), Labels(9), Cost(1.0, 5.0), Enough(4), Size(8)]
    assert allowance(stops, state) == Allowance(labels=2, structures=2, iterations=1)
    assert allowance([OracleForce()], state) == Allowance()


def test_structures_without_a_good_label_are_not_counted_as_known():
    known = labelled(frames(3)).with_info(status=["ok", "failed", "ok"])
    assert State.ahead(dataset=known).n_learnable == 2


@pytest.mark.parametrize(
    ("measure", "cell", "refused"),
    [("force_std", "full", True), ("force_std", "fixed", False), ("energy_std", "full", False)],
)
def test_a_threshold_that_cannot_see_the_cell_is_refused(measure, cell, refused):
    """In a crystal whose forces are zero by symmetry it would be met at once."""
    measure, cell = plugins.make("uncertainties", {"name": measure}), MovingCell(cell)
    stop = Uninterrupted(threshold=0.5)
    Uninterrupted().check_cell(measure, cell)
    Uninterrupted(threshold=0.5).check_cell(None, cell)
    if not refused:
        stop.check_cell(measure, cell)
        return
    said = (
        r"'force_std' is of forces alone.*guard\.uncertainty, such as 'energy_std' "
        r"\(in eV/atom\), for 'threshold'"
    )
    with pytest.raises(ValueError, match=said):
        stop.check_cell(measure, cell)


@dataclass(frozen=True)
class Mistaken(Stop):
    bounds: ClassVar[bool] = True

    def judge(self, state):
        return state.nothing_of_this_name


@pytest.mark.parametrize("ask", [decide, lambda stops, state: labels_left(stops, 3)])
def test_a_mistake_in_a_stop_names_the_stop(ask):
    with pytest.raises(PluginError, match="stop 'Mistaken' failed: AttributeError: 'State' object"):
        ask([Iterations(9), Mistaken()], State.ahead())


def test_each_image_of_a_run_has_an_end():
    """Two images that move together in one run, the second of which has a larger force."""
    path = trajectory(1, 6).with_info(image=[0, 1] * 3)
    new = Configurations.concatenate([labelled(path[[4]], 0.1), labelled(path[[5]], 0.2)])
    finals = state(path, new).finals
    assert [(final.run, final.image) for final in finals] == [(0, 0), (0, 1)]
    assert [final.fmax for final in finals] == pytest.approx([0.1, 0.2])
    verdict = OracleForce(fmax=0.15).judge(state(path, new))
    assert verdict.outcome == "go on"
    assert "force 0.2 eV/Å at the end of run 0, image 1 is not below 0.15" in verdict.reason
    assert OracleForce(fmax=0.3).judge(state(path, new)).outcome == "converged"
    reason = OracleForce().judge(state(path, labelled(path[[4]], 0.0))).reason
    assert reason == "the last frames of runs [0] have no label"


def path_state(labels, converged=True, stationary=(2, 0, 4), energy=0.0, forces=0.0):
    """A band of five images after its last step; ``labels`` of these images."""
    path = trajectory(1, 5).with_info(image=range(5), step=[7] * 5)
    new = [labelled(path[[i]], forces, energy) for i in labels]
    run = {"converged": converged, "stationary": list(stationary)}
    return state(path, Configurations.concatenate(new or [NOTHING]), runs=[run])


def test_only_stationary_images_of_a_path_are_judged():
    found = path_state([0, 2, 4])
    assert [final.image for final in found.finals] == [0, 2, 4]
    assert [final.image for final in found.ends] == [0, 1, 2, 3, 4]
    assert OracleForce().judge(found).outcome == "converged"
    assert OracleForce().judge(path_state([0, 4])).outcome == "go on"
    large = OracleForce(fmax=0.1).judge(path_state([0, 2, 4], forces=0.2))
    assert large.outcome == "go on"


def test_a_path_that_has_not_come_to_its_saddle_is_not_converged():
    verdict = OracleForce().judge(path_state([0, 4], converged=False, stationary=(0, 4)))
    assert (verdict.outcome, verdict.reason) == (
        "go on", "runs [0] did not come to all stationary points",
    )  # fmt: skip


class TestBarrier:
    def test_energies_agree(self):
        assert Barrier(0.01).judge(path_state([0, 2, 4], energy=0.009)).outcome == "converged"

    def test_energies_differ(self):
        verdict = Barrier(0.01).judge(path_state([0, 2, 4], energy=0.02))
        assert verdict.outcome == "go on"
        assert verdict.reason == "energy error 0.02 eV at the end of run 0, above 0.01"

    def test_it_wants_labels_and_runs_that_converged(self):
        assert Barrier().judge(path_state([0, 4])).reason.endswith("image 2 has no label")
        assert Barrier().judge(path_state([0, 2, 4], converged=False)).outcome == "go on"
        with pytest.raises(ValueError, match="energy above 0"):
            Barrier(0.0)


class TestAll:
    BOTH = ({"name": "oracle_force", "fmax": 0.05}, {"name": "barrier", "energy": 0.01})

    @pytest.mark.parametrize(
        ("energy", "force", "outcome"),
        [
            (0.0, 0.0, "converged"),
            (0.02, 0.0, "go on"),
            (0.0, 0.1, "go on"),
            (0.02, 0.1, "go on"),
        ],
    )
    def test_each_of_them_must_be_content(self, energy, force, outcome):
        now = path_state([0, 2, 4], energy=energy, forces=force)
        verdict = All(self.BOTH).judge(now)
        assert verdict.outcome == outcome
        assert ("energy error 0.02" in verdict.reason) == (energy == 0.02)
        assert ("force 0.1 eV" in verdict.reason) == (force == 0.1)

    def test_it_looks_at_what_they_look_at(self):
        assert All(self.BOTH).looks_at == {"ends"}
        assert All([{"name": "uninterrupted"}, *self.BOTH]).looks_at == {"ends", "runs"}
        now = path_state([0, 2, 4])
        assert are_met_by([All(self.BOTH)], now.runs, now.trajectory, now.dataset)

    @pytest.mark.parametrize(
        ("of", "problem"),
        [
            ([], "one stop or more"),
            ([{"name": "oracle_force", "fmx": 1}], r"of\[0\]: unknown option 'fmx'"),
            ([{"name": "iterations"}], r"\['iterations'\] end every campaign"),
        ],
    )
    def test_what_it_cannot_be_made_of_is_refused(self, of, problem):
        with pytest.raises(ValueError, match=problem):
            parse([{"name": "all", "of": of}, {"name": "iterations", "n": 3}])

    def test_a_pool_has_no_simulations_to_judge(self):
        with pytest.raises(ValueError, match="a pool has none"):
            All(self.BOTH).check_simulation(None)


def test_forces_at_the_ends_are_not_asked_of_simulations_that_do_not_relax():
    relax, md = (plugins.make("simulations", {"name": name}) for name in ("relax", "md"))
    OracleForce().check_simulation(relax)
    with pytest.raises(ValueError, match="wants simulations that relax, and 'md' does not"):
        OracleForce().check_simulation(md)


@pytest.mark.parametrize(
    ("options", "stop", "why"),
    [
        ({"name": "relax", "fmax": 0.1}, {}, "labelled forces below 0.05 eV/Å, .* 'fmax' of 0.05"),
        ({"name": "neb", "fmax": 0.1}, {}, "predicted forces below 0.1 eV/Å"),
        ({"name": "neb", "fmax": 0.01, "fmax_ends": 0.07}, {}, "predicted forces below 0.07 eV/Å"),
        ({"name": "saddle", "fmax": 0.1}, {}, "forces below 0.1 eV/Å"),
        (
            {"name": "relax", "cell": "full", "smax_GPa": 0.1},
            {"smax_GPa": 0.01},
            "labelled stresses below 0.01 GPa, and simulations are over with predicted stresses "
            "below 0.1 GPa: give the simulation a 'smax_GPa' of 0.01 or less",
        ),
    ],
)
def test_labels_nearer_to_equilibrium_than_simulations_go_are_not_asked_for(options, stop, why):
    """Such a campaign pays the same label again and again until its budget is spent."""
    simulation = plugins.make("simulations", options)
    for one in (OracleForce(**stop), All(({"name": "oracle_force", **stop},))):
        with pytest.raises(ValueError, match=why):
            one.check_simulation(simulation)


@pytest.mark.parametrize("options", [{"fmax": 0.05}, {"fmax": 0.01, "smax_GPa": 9.0}])
def test_a_stop_may_want_what_simulations_reach(options):
    OracleForce().check_simulation(plugins.make("simulations", {"name": "relax", **options}))


class TestAccuracy:
    @pytest.mark.parametrize(
        ("options", "outcome"),
        [
            ({"force": 0.013}, "converged"),
            ({"force": 0.012}, "go on"),
            ({"force": 0.013, "energy": 0.11}, "converged"),
            ({"force": 0.013, "energy": 0.09}, "go on"),
            ({"force": 0.013, "least": 3}, "go on"),
        ],
    )
    def test_errors_of_the_new_labels_are_below_the_limits(self, options, outcome):
        """One of 24 components is off by 0.3 eV/Å, the energy of each of 8 atoms by 0.1 eV."""
        path = trajectory()
        new = labelled(path[[1, 2]], 0.3, energy=0.8, fixed_force=0.0)
        assert Accuracy(**options).judge(state(path, new)).outcome == outcome

    def test_nothing_new_says_nothing(self):
        assert Accuracy().judge(state(trajectory(), NOTHING)).outcome == "go on"

    def test_limits_that_nothing_meets_are_refused(self):
        with pytest.raises(ValueError, match="force above 0"):
            Accuracy(force=0.0)
