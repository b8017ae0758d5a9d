"""What ``gmnn_vs_apax.py`` runs in the environment of apax: answers with the time of each request.

A request is a line of JSON, ``{"name": ..., "calls": n}``; the answer is CPU seconds per call.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import optax
from apax.nn.builder import GMNNBuilder
from apax.train.loss import Loss, LossCollection
from apax.train.trainer import make_step_fns
from clu import metrics
from flax.training.train_state import TrainState


def model(case: dict, data: dict[str, np.ndarray]):
    config = {
        "basis": {
            "name": "gaussian",
            "n_basis": case["n_basis"],
            "r_min": 0.5,
            "r_max": case["cutoff"],
            "spacing": "linear",
        },
        "nn": case["hidden"],
        "w_init": "normal",
        "b_init": "zeros",
        "activation_fn": "variance_preserving_swish",
        "use_ntk": True,
        "ensemble": None,
        "property_heads": [],
        "empirical_corrections": [],
        "calc_stress": False,
        "descriptor_dtype": case["dtype"],
        "readout_dtype": case["dtype"],
        "scale_shift_dtype": "fp64",
        "n_radial": case["n_radial"],
        "n_contr": 8,
        "emb_init": "uniform",
    }
    built = GMNNBuilder(config).build_energy_derivative_model(init_box=data["box"][0])
    arguments = [data[k] for k in ("positions", "numbers", "idx", "box", "offsets")]
    weights = built.init(jax.random.PRNGKey(0), *(a[0] for a in arguments))
    return weights, jax.vmap(built.apply, in_axes=(None, 0, 0, 0, 0, 0)), arguments


def evaluation(case: dict, data: dict[str, np.ndarray]) -> Callable[[], None]:
    """Energy and forces of all structures, their neighbours given; displaced at each call."""
    weights, apply, arguments = model(case, data)
    compiled = jax.jit(lambda *a: apply(weights, *a))
    shifts = np.random.default_rng(0).normal(scale=1e-3, size=(16, *arguments[0].shape))
    calls = 0

    def call() -> None:
        nonlocal calls
        found = compiled(arguments[0] + shifts[calls % 16], *arguments[1:])
        np.asarray(found["forces"])
        calls += 1

    return call


def training(case: dict, data: dict[str, np.ndarray]) -> Callable[[], None]:
    """An epoch: the batches of a random order, with apax's own training step."""
    weights, apply, arguments = model(case, data)
    state = TrainState.create(apply_fn=apply, params=weights, tx=optax.amsgrad(1e-3))
    loss = LossCollection([Loss("energy", "mse", 1.0), Loss("forces", "mse", 4.0)])

    none = metrics.Collection.create()
    step, _ = make_step_fns(loss, none, apply, is_ensemble=False)
    names = ("positions", "numbers", "idx", "box", "offsets")
    n, size = len(arguments[0]), case["batch_size"]
    rng = np.random.default_rng(0)
    n_atoms = np.full(n, arguments[0].shape[1])

    def call() -> None:
        nonlocal state
        order = rng.permutation(n)
        for start in range(0, n, size):
            part = order[start : start + size]
            inputs = {k: jnp.asarray(a[part]) for k, a in zip(names, arguments)}
            inputs["n_atoms"] = jnp.asarray(n_atoms[part])
            labels = {k: jnp.asarray(data[k][part]) for k in ("energy", "forces")}
            carry, value = step((state, none.empty()), (inputs, labels))
            state = carry[0]
        float(value)

    return call


def main() -> None:
    cases = json.loads(sys.stdin.readline())
    calls = {}
    for name, case in cases.items():
        data = dict(np.load(case["data"]))
        make = training if case["batch_size"] else evaluation
        calls[name] = make(case, data)
        calls[name]()
    print(json.dumps({name: version(name) for name in ("apax", "jax")}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        call = calls[request["name"]]
        begin = time.process_time()
        for _ in range(request["calls"]):
            call()
        print(json.dumps((time.process_time() - begin) / request["calls"]), flush=True)


if __name__ == "__main__":
    main()
