"""The active set in files of MLIP-3: binary, behind the text of the potential."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.content import as_text
from aiida_mlal.ml.formats.mlip import cfg
from aiida_mlal.ml.formats.numbers import real, whole
from aiida_mlal.ml.uncertainty.rows import SelectionWeights

HEADER = "#MVS_v1.1"


@dataclass(frozen=True, eq=False)
class SelectionState:
    """The active set that MLIP-3 keeps with a potential.

    Attributes
    ----------
    matrix
        The rows, derivatives by the parameters in the order of ``MTP.parameter_gradients``.
    inverse
        Its inverse.
    weights
        What the rows are.
    links
        For each row, which of the configurations it is from and which of its equations it is,
        as MLIP-3 numbers them: energy, forces, virial, energies of atoms, with weights or without.
        -1 and -1 for a row of the start, which no configuration has replaced.
    configurations
        The structures that own rows.
    """

    matrix: Float[np.ndarray, "parameters parameters"]
    inverse: Float[np.ndarray, "parameters parameters"]
    weights: SelectionWeights = field(default_factory=SelectionWeights)
    links: Int[np.ndarray, "parameters 2"] | None = None
    configurations: Configurations = field(default_factory=Configurations.empty)


def to_bytes(
    selection: SelectionState, order: Int[np.ndarray, " parameters"], types: Sequence[str]
) -> bytes:
    """Return the part of a file behind its potential.

    Parameters
    ----------
    order
        Index in the file of each of our parameters.
    types
        Elements of the types of the file.
    """
    theirs = np.argsort(order)
    n = len(theirs)
    if selection.matrix.shape != (n, n):
        raise ValueError(
            f"the potential has {n} parameters, the active set rows of {selection.matrix.shape[1]}"
        )
    weights = selection.weights
    lines = [
        f"\n{HEADER}",
        f"energy_weight {weights.energy_weight:.16e}",
        f"force_weight {weights.force_weight:.16e}",
        f"stress_weight {weights.stress_weight:.16e}",
        f"site_en_weight {weights.site_en_weight:.16e}",
        f"weight_scaling {weights.weight_scaling}",
        "#",
    ]
    matrices = [selection.matrix[:, theirs], selection.inverse[theirs].T]
    links = np.full((n, 2), -1) if selection.links is None else selection.links
    return b"".join(
        [
            "\n".join(lines).encode(),
            *(np.ascontiguousarray(matrix, "<f8").tobytes() for matrix in matrices),
            b"\n#\n",
            "".join(f"{a} {b}\n" for a, b in links.tolist()).encode(),
            b"#\n",
            cfg.to_text(selection.configurations, types).encode(),
        ]
    )


def parse(
    content: bytes, order: Int[np.ndarray, " parameters"], types: Sequence[str]
) -> SelectionState:
    """Read what ``to_bytes`` or MLIP-3 wrote, without the first ``#``.

    Raises
    ------
    ValueError
        For an active set that is not whole, or of another number of parameters.
    """
    head, mark, content = content.partition(b"#")
    match = re.match(r"MVS_v1\.1\s+(.*)", head.decode("latin-1"), re.DOTALL)
    if not mark or match is None:
        raise ValueError("what follows the potential is not an active set of MLIP-3")
    words = match[1].split()
    given = dict(zip(words[::2], words[1::2]))
    weights = {f: given.get(f) for f in SelectionWeights.__dataclass_fields__}
    if None in weights.values():
        raise ValueError(f"expected the weights {list(weights)} of the active set, got {given}")
    n = len(order)
    size = 8 * n * n
    _, mark, tail = content[2 * size :].partition(b"#")
    rows, rows_end, structures = tail.partition(b"#")
    links = rows.split()
    if not (mark and rows_end and len(links) == 2 * n):
        raise ValueError(
            f"the active set breaks off or is that of another potential than this of {n} parameters"
        )
    matrix, inverse = np.frombuffer(content, "<f8", 2 * n * n).reshape(2, n, n)
    if not np.isfinite(matrix).all() or not np.isfinite(inverse).all():
        raise ValueError("the active set holds numbers that are not finite")
    if not abs(matrix @ inverse.T - np.eye(n)).max() < 1e-2:
        raise ValueError("the second matrix of the active set is not the inverse of the first")
    return SelectionState(
        matrix=matrix[:, order],
        inverse=inverse.T[order],
        weights=SelectionWeights(
            **{key: real(str(v), key) for key, v in weights.items() if key != "weight_scaling"},
            weight_scaling=whole(str(weights["weight_scaling"]), "weight_scaling"),
        ),
        links=np.array(
            [whole(link.decode("latin-1"), "a row of the active set", -1) for link in links]
        ).reshape(n, 2),
        configurations=cfg.parse(as_text(structures), types)[0],
    )
