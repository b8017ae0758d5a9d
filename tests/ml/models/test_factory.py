import pytest
import torch

from aiida_mlal.ml import plugins
from aiida_mlal.ml.models.bpnn import BPNN
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.morse import Morse
from aiida_mlal.ml.models.registry import from_config
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.training.options import LossOptions, TrainingOptions

BPNN_OPTIONS = {"architecture": "bpnn", "hidden": [3]}


def weights(potential):
    return torch.cat([weight.detach().flatten() for weight in potential.parameters()])


def build(values, seed=0, elements=("C", "Cu")):
    return ModelOptions.parse(values).build(elements, seed)


def test_an_architecture_alone_is_that_potential():
    potential = build({**BPNN_OPTIONS, "cutoff": 4.5})
    assert isinstance(potential, BPNN)
    assert potential.options.hidden == (3,)
    assert potential.cutoff == 4.5


def test_a_prior_makes_a_sum_and_an_ensemble_a_committee():
    potential = build({**BPNN_OPTIONS, "prior": {"architecture": "morse"}, "ensemble": 3})
    assert isinstance(potential, Sum)
    prior, learner = potential.terms
    assert isinstance(prior, Morse)
    assert isinstance(learner, Ensemble)
    assert [type(member) for member in learner.members] == [BPNN] * 3


def test_members_begin_with_weights_of_their_own():
    members = build({**BPNN_OPTIONS, "ensemble": 4}).members
    found = {tuple(weights(member).tolist()) for member in members}
    assert len(found) == 4


def test_a_member_does_not_depend_on_how_many_there_are():
    few, many = (build({**BPNN_OPTIONS, "ensemble": n}).members for n in (2, 4))
    for one, other in zip(few, many):
        assert torch.equal(weights(one), weights(other))


def test_the_weights_of_a_seed_do_not_depend_on_what_was_drawn_before():
    first = build(BPNN_OPTIONS, seed=5)
    torch.rand(3)
    assert torch.equal(weights(build(BPNN_OPTIONS, seed=5)), weights(first))
    assert not torch.equal(weights(build(BPNN_OPTIONS, seed=6)), weights(first))


def test_repeats_with_neighbouring_seeds_share_no_members():
    one, other = (build({**BPNN_OPTIONS, "ensemble": 3}, seed).members for seed in (0, 1))
    found = {tuple(weights(member).tolist()) for member in (*one, *other)}
    assert len(found) == 6


def test_what_is_trained_has_weights_and_a_prior_has_none():
    morse = {"architecture": "morse"}
    assert ModelOptions.parse(BPNN_OPTIONS).learner() == "bpnn"
    assert ModelOptions.parse({**BPNN_OPTIONS, "prior": morse}).learner() == "bpnn"
    for model, message in (
        (morse, r"^model: 'morse' has no weights to be trained.*\['bpnn', 'gmnn', 'gp', 'mtp'\]"),
        ({**morse, "prior": {"architecture": "zbl"}}, "^model: 'morse' on 'zbl' has no weights"),
        (
            {**BPNN_OPTIONS, "prior": {"architecture": "mtp"}},
            r"^model\.prior: expected an .* one of \['ase', 'chgnet', 'morse', 'second_moment', "
            r"'sevennet', 'zbl'\], got 'mtp'",
        ),
        ({**BPNN_OPTIONS, "prior": BPNN_OPTIONS}, r"^model\.prior: expected .* got 'bpnn'"),
    ):
        with pytest.raises(ValueError, match=message):
            ModelOptions.parse(model).learner()


NEEDED = {"ase": {"calculator": {"name": "emt"}}}
"""Options without a default."""


@pytest.mark.parametrize("name", plugins.names("models"))
def test_models_say_whether_they_have_weights(name):
    kind = plugins.find("models", name)
    if kind.Options is not None:
        potential = single({"architecture": name, **NEEDED.get(name, {})}, ["C", "Cu"], seed=0)
        assert bool(list(potential.parameters())) == kind.is_learned


def test_parsing_leaves_the_options_alone():
    values = {**BPNN_OPTIONS, "ensemble": 2, "prior": {"architecture": "morse"}}
    before = dict(values)
    ModelOptions.parse(values)
    assert values == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("bpnn", "^model: expected a mapping of options, got 'bpnn'"),
        (
            {},
            r"^model: option 'architecture' is missing, choose from \['ase', 'bpnn', 'chgnet'",
        ),
        ({"architecture": "bpn"}, "^model: unknown model 'bpn', did you mean 'bpnn'"),
        ({"architecture": None}, "^model: unknown model None"),
        ({"architecture": "sum"}, r"^model: .*'prior' and 'ensemble', choose from \['ase', 'bpnn'"),
        ({"architecture": "ensemble"}, "^model: the architecture 'ensemble' comes of"),
        ({**BPNN_OPTIONS, "widths": [3]}, "^model: unknown option 'widths'"),
        ({**BPNN_OPTIONS, "hidden": [3.5]}, r"^model.hidden\[0\]: expected int"),
        ({**BPNN_OPTIONS, "hidden": [0]}, "^model: expected widths of hidden layers above 0"),
        ({**BPNN_OPTIONS, "descriptor": {"g2_eta": []}}, "^model.descriptor: unknown .*'g2_etas'"),
        ({**BPNN_OPTIONS, "cutoff": 0}, r"^model\.cutoff: expected a cutoff above 0 Å .* got 0"),
        ({**BPNN_OPTIONS, "cutoff": 500}, r"^model\.cutoff: .* not above 100 Å, got 500"),
        (
            {**BPNN_OPTIONS, "prior": {"architecture": "morse", "cutoff": 1e9}},
            r"^model\.prior\.cutoff: .* not above 100 Å",
        ),
        ({**BPNN_OPTIONS, "ensemble": 0}, "^model.ensemble: expected a number of members above 0"),
        ({**BPNN_OPTIONS, "ensemble": True}, "^model.ensemble: .*got True"),
        ({**BPNN_OPTIONS, "ensemble": 2.0}, "^model.ensemble: .*got 2.0"),
        ({**BPNN_OPTIONS, "prior": "morse"}, "^model.prior: expected a mapping .*'morse'"),
        ({**BPNN_OPTIONS, "prior": {"cutoff": 3.0}}, "^model.prior: option 'architecture' is"),
        (
            {**BPNN_OPTIONS, "prior": {"architecture": "morse", "mixing": "max"}},
            "^model.prior.mixing: unknown choice 'max'",
        ),
    ],
)
def test_messages_say_where_and_what(values, message):
    with pytest.raises(ValueError, match=message):
        ModelOptions.parse(values)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([], "expected one or more different elements, got"),
        (["Cu", "Cu"], r"different elements, got \['Cu', 'Cu'\]"),
        (["Cu", "Xx"], r"\['Xx'\] are no chemical elements"),
        (["X"], r"\['X'\] are no chemical elements"),
    ],
)
def test_wrong_elements_are_refused(elements, message):
    with pytest.raises(ValueError, match=message):
        single(BPNN_OPTIONS, elements, seed=0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_must_reach_somewhere(cutoff):
    with pytest.raises(ValueError, match=r"expected a (cutoff above 0 Å|finite number)"):
        single({**BPNN_OPTIONS, "cutoff": cutoff}, ["Cu"], seed=0)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "unknown model None"),
        ({"architecture": "bpn"}, "unknown model 'bpn', did you mean 'bpnn'"),
        ({"architecture": "bpnn"}, "the configuration of a 'bpnn' lacks 'elements'"),
        ({"architecture": "sum"}, "the configuration of a 'sum' lacks 'terms'"),
        ({"architecture": "sum", "terms": []}, "expected one or more potentials"),
        ({"architecture": "ensemble", "members": []}, "expected one or more potentials"),
    ],
)
def test_descriptions_that_describe_nothing_are_refused(description, message):
    with pytest.raises(ValueError, match=message):
        from_config(description)


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        ({"architecture": "mtp"}, "variable_projection"),
        ({"architecture": "bpnn"}, "levenberg_marquardt"),
        ({"architecture": "gmnn"}, "adam"),
        ({"architecture": "bpnn", "prior": {"architecture": "morse"}}, "levenberg_marquardt"),
        ({"architecture": "mtp", "ensemble": 3}, "variable_projection"),
    ],
)
def test_how_a_model_is_trained_follows_from_its_architecture(model, optimizer):
    options = ModelOptions.parse(model)
    assert options.training({}).optimizer["name"] == optimizer
    other = options.training({"optimizer": {"name": "lbfgs"}, "epochs": 7})
    assert (other.optimizer, other.epochs) == ({"name": "lbfgs"}, 7)


def test_moment_tensor_potentials_learn_stresses_as_in_mlip():
    loss = ModelOptions.parse({"architecture": "mtp"}).training({"epochs": 3}).loss
    assert loss == LossOptions(1.0, 0.01, 0.001, "vibrations")


def test_a_model_of_others_declares_its_own_training(monkeypatch):
    monkeypatch.setattr(BPNN, "usual_training", {"epochs": 3, "loss": {"energy": 5.0}})
    options = ModelOptions.parse({"architecture": "bpnn"}).training({})
    assert (options.epochs, options.loss.energy) == (3, 5.0)
    monkeypatch.setattr(BPNN, "usual_training", {})
    assert ModelOptions.parse({"architecture": "bpnn"}).training({}) == TrainingOptions()


@pytest.mark.parametrize(
    ("architecture", "optimizer", "why"),
    [
        ("gp", "adam", "of the model 'gp' are solved for: choose the optimizer 'marginal_like"),
        ("gp", "lbfgs", "'lbfgs' changes weights by derivatives"),
        ("gp", "levenberg_marquardt", "'levenberg_marquardt' changes weights by derivatives"),
        ("gp", "variable_projection", "linear in some of their weights, such as 'mtp'"),
        ("bpnn", "variable_projection", "linear in some of their weights, such as 'mtp'"),
        ("gmnn", "marginal_likelihood", r"has no Gaussian process, models that have are \['gp'"),
    ],
)
def test_an_optimizer_that_cannot_train_a_model_is_refused(architecture, optimizer, why):
    model = ModelOptions.parse({"architecture": architecture})
    with pytest.raises(ValueError, match=rf"^training\.optimizer: .*{why}"):
        model.training({"optimizer": {"name": optimizer}})


@pytest.mark.parametrize("architecture", ["bpnn", "mtp", "gmnn", "gp"])
def test_the_usual_optimizer_can_train_its_model(architecture):
    assert ModelOptions.parse({"architecture": architecture}).training({}).optimizer["name"]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("architecture", ["bpnn", "mtp", "gmnn"])
def test_models_with_derivatives_have_a_choice(architecture, optimizer):
    model = ModelOptions.parse({"architecture": architecture, "prior": {"architecture": "zbl"}})
    assert model.training({"optimizer": {"name": optimizer}}).optimizer["name"] == optimizer


@pytest.mark.parametrize("architecture", ["morse", "zbl", "gp"])
def test_an_ensemble_whose_members_would_be_the_same_is_refused(architecture):
    with pytest.raises(ValueError, match=f"members of an ensemble of '{architecture}' would all"):
        ModelOptions.parse({"architecture": architecture, "ensemble": 2})
