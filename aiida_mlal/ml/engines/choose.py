"""Which engine evaluates a potential."""

from aiida_mlal.ml.engines.base import Engine, EngineName
from aiida_mlal.ml.engines.numba import NumbaEngine, kernels_of
from aiida_mlal.ml.engines.torch import TorchEngine
from aiida_mlal.ml.models.base import Potential


def choose(
    potential: Potential,
    name: EngineName = "auto",
    skin: float = 0.5,
    threads: int = 1,
    gradients: bool = False,
) -> Engine:
    """Return the engine of a name; ``auto`` takes kernels where there are such.

    Parameters
    ----------
    potential
        With the weights that it has now.
    name
        ``torch``, ``numba`` (kernels on the CPU), or ``auto``.
    skin
        How much farther than the cutoff neighbours are looked for, in Å.
    threads
        Among how many threads kernels divide the atoms, which changes no result.
    gradients
        Whether derivatives of atomic energies by the parameters will be asked for.

    Raises
    ------
    ValueError
        If kernels are asked for that are not there, or lack these derivatives.
    """
    kernels = None if name == "torch" else kernels_of(potential, skin, threads)
    if kernels is not None and (kernels.has_gradients or not gradients):
        return NumbaEngine(potential, kernels, skin)
    if name == "numba":
        what = "no kernels" if kernels is None else "no kernels with derivatives by parameters"
        raise ValueError(
            f"the engine 'numba' has {what} for {potential.config()['architecture']!r} on the "
            f"device {potential.device.type!r}; choose 'auto' or 'torch'"
        )
    return TorchEngine(potential, skin)
