"""What computes many structures: torch, or what a model names for the device of its weights."""

from pathlib import Path

import pytest
import torch
from ase.build import bulk

import aiida_mlal.ml.models
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.backends import Backend
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.gmnn_prepared import GMNNBackend
from aiida_mlal.ml.models.gp_prepared import GPBackend
from aiida_mlal.ml.models.mtp_prepared import MTPBackend
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.models.zbl import ZBL

MODELS = Path(aiida_mlal.ml.models.__file__).parent


def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return Configurations.from_ase([atoms])


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.py")), ids=lambda path: path.stem)
def test_no_model_looks_at_devices(path):
    text = path.read_text()
    asks = [word for word in (".is_cuda", "device.type", '"cpu"', "'numba'") if word in text]
    allowed = {"backends": ["device.type"]}.get(path.stem, [])
    if "backends = MappingProxyType" in text:  # where a model registers them
        allowed = ['"cpu"']
    assert asks == allowed


@pytest.mark.parametrize(
    ("architecture", "backend", "predicting"),
    [
        ("mtp", MTPBackend, "numba"),
        ("gmnn", GMNNBackend, "numba"),
        ("gp", GPBackend, "torch"),
        ("bpnn", Backend, "torch"),
        ("morse", Backend, "torch"),
    ],
)
def test_models_name_their_backends(architecture, backend, predicting):
    potential = single({"architecture": architecture}, ["Cu"], 0)
    assert type(potential.backend) is backend
    assert potential.engines == (predicting,)


def test_without_kernels_for_a_precision_torch_computes():
    potential = single({"architecture": "mtp", "level": 2}, ["Cu"], 0).float()
    assert type(potential.backend) is Backend
    assert potential.engines == ("torch",)
    assert type(potential.prepare(potential.graph(crystal()))) is Prepared


class Doubled(Backend):
    """Predicts twice what the definition says, so that it shows who predicts."""

    name = "doubled"

    def interaction(self, graph):
        prediction = super().interaction(graph)
        return prediction + prediction


class Watched(ZBL):
    backends = {"cpu": f"{__name__}:Doubled"}  # noqa: RUF012


def test_a_backend_predicts_unless_weights_are_learned():
    options, structures = ZBL.Options(cutoff=4.0, switch=3.0), crystal()
    plain, watched = ZBL(["Cu"], options), Watched(["Cu"], options)
    graph = plain.graph(structures)
    once = plain(graph).energies
    assert once.item() > 0
    assert watched.engines == ("doubled",)
    torch.testing.assert_close(watched(graph).energies, 2 * once)
    torch.testing.assert_close(watched.prepare(graph).predict(watched).energies, 2 * once)
    watched.learned = torch.nn.Parameter(torch.ones(1))
    torch.testing.assert_close(watched(graph).energies, once)
    with torch.no_grad():
        torch.testing.assert_close(watched(graph).energies, 2 * once)
