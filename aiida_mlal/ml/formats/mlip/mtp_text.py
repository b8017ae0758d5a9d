"""The text of a moment tensor potential, as MLIP-2 and MLIP-3 write it."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from ase.data import chemical_symbols
from jaxtyping import Int

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.descriptors.radial_polynomials import Kind, RadialBasis
from aiida_mlal.ml.formats.numbers import real, whole
from aiida_mlal.ml.models.mtp import MTP, Contraction

MOST_COEFFICIENTS = 10**6
"""Radial coefficients that a potential may have without having them in its file."""


def parse(
    text: str, elements: Sequence[str] | None
) -> tuple[MTP, bool, Int[np.ndarray, " parameters"]]:
    """Read the potential, whether the text has coefficients, and ``parameter_order``.

    Raises
    ------
    ValueError
        For what is no such text, a magnetic potential, and other elements than those of the types.
    """
    values, blocks = _read_text(text)
    if "magnetic_basis_type" in values:
        raise ValueError("this is a magnetic moment tensor potential, which is not supported")
    n = _integer(values, "species_count")
    if not 1 <= n < len(chemical_symbols):
        raise ValueError(f"species_count: expected 1 to {len(chemical_symbols) - 1}, got {n}")
    size = _integer(values, "radial_basis_size", "basis_size")
    kind = _get(values, "radial_basis_type")
    if kind not in get_args(Kind):
        raise ValueError(f"unknown radial_basis_type {kind!r}, choose from {get_args(Kind)}")
    radial = RadialBasis(
        kind,  # type: ignore[arg-type]
        size,
        _float(_get(values, "min_dist", "min_val"), "min_dist"),
        _float(_get(values, "max_dist", "max_val"), "max_dist"),
        _float(values.get("scaling", "1"), "scaling"),
    )
    basis = MomentBasis(
        _rows(values, "alpha_index_basic", 4),
        _rows(values, "alpha_index_times", 4),
        _rows(values, "alpha_moment_mapping", 1),
    )
    for key, count in (
        ("radial_funcs_count", basis.n_radial),
        ("alpha_index_basic_count", len(basis.basic)),
        ("alpha_index_times_count", len(basis.times)),
        ("alpha_moments_count", basis.n_moments),
        ("alpha_scalar_moments", basis.n_scalars),
    ):
        if _integer(values, key) != count:
            raise ValueError(f"{key} is {values[key]}, but the lists of the file have {count}")

    count = n * n * size * basis.n_radial
    radial_coeffs = np.concatenate([rows.ravel() for _, rows in blocks] or [np.zeros(0)])
    if count > MOST_COEFFICIENTS and len(radial_coeffs) != count:
        raise ValueError(f"the potential would have {count} radial_coeffs")
    types = _types(n, [label for label, _ in blocks], values.get("potential_tag", ""), elements)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # coefficients of a file that has none
        potential = MTP(types, Contraction(basis, radial, None, tuple(types)))
    order = parameter_order(potential, types)
    given = [bool(blocks), "species_coeffs" in values, "moment_coeffs" in values]
    if not any(given):
        return potential, False, order
    if not all(given):
        raise ValueError("expected radial_coeffs, species_coeffs and moment_coeffs, or none")
    parts = {
        "radial_coeffs": (radial_coeffs, count),
        "species_coeffs": (_rows(values, "species_coeffs", 1, float), n),
        "moment_coeffs": (_rows(values, "moment_coeffs", 1, float), basis.n_scalars),
    }
    for name, (numbers, count) in parts.items():
        if len(numbers) != count:
            raise ValueError(f"expected {count} {name}, got {len(numbers)}")
    coefficients = np.concatenate([numbers for numbers, _ in parts.values()])
    if not np.isfinite(coefficients).all():
        raise ValueError("the file holds coefficients that are not finite")
    potential.references = dict(zip(types, parts["species_coeffs"][0].tolist()))
    potential.set_coefficients(torch.tensor(coefficients[order]))
    return potential, True, order


def _read_text(text: str) -> tuple[dict[str, str], list[tuple[str, np.ndarray]]]:
    """Read ``key = value`` lines, and label and radial coefficients of each pair of species."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or lines[0] != "MTP":
        raise ValueError("expected MTP as first line")
    values: dict[str, str] = {}
    blocks: list[tuple[str, list[list[float]]]] = []
    for line in lines[1:]:
        key, equals, value = (part.strip() for part in line.partition("="))
        if equals and re.fullmatch(r"\w+", key):
            if key == "scaling" and key in values:  # of the potential and of its radial basis
                value = repr(_float(values[key], key) * _float(value, key))
            values[key] = value
        elif re.fullmatch(r"\d+-\d+", line):
            blocks.append((line, []))
        elif line.startswith("{") and blocks:
            _check_braces("radial_coeffs", line.rstrip(","))
            words = line.strip("{},").split(",")
            blocks[-1][1].append([_float(x, "radial_coeffs") for x in words])
        elif line and line != "radial_coeffs":
            raise ValueError(f"cannot read the line {line[:60]!r}")
    if values.get("version") != "1.1.0":
        raise ValueError(f"expected version 1.1.0, got {values.get('version')}")
    try:
        return values, [(label, np.array(rows)) for label, rows in blocks]
    except ValueError as error:
        raise ValueError("rows of radial_coeffs differ in length") from error


def _types(n: int, labels: list[str], tag: str, elements: Sequence[str] | None) -> list[str]:
    """Return the elements in the order of the file."""
    pairs = [tuple(map(int, label.split("-"))) for label in labels]
    numbers = list(dict.fromkeys(pair[0] for pair in pairs))
    if pairs and pairs != [(a, b) for a in numbers for b in numbers]:
        raise ValueError(f"radial_coeffs has the pairs {labels}, which are not all of {numbers}")
    if pairs and len(numbers) != n:
        raise ValueError(f"species_count is {n}, but radial_coeffs has {len(numbers)} species")
    absolute = bool(numbers) and numbers != list(range(n))
    if absolute and not all(0 < z < len(chemical_symbols) for z in numbers):
        raise ValueError(f"the species {numbers} are no atomic numbers")
    words, counted = tag.split(), chemical_symbols[1 : n + 1]
    if absolute:
        named = [chemical_symbols[z] for z in numbers]
    elif len(words) == n and set(words) <= set(chemical_symbols[1:]):
        named = words
    else:
        named = counted
    if elements is None:
        return named
    if named == counted:  # nobody has named them
        if len(elements) != n:
            raise ValueError(f"the potential has {n} species, got the elements {list(elements)}")
        return list(elements)
    missing = sorted(set(elements) - set(named))
    if missing:
        raise ValueError(f"the potential knows {named}, not {missing}")
    return named


def parameter_order(potential: MTP, types: Sequence[str]) -> Int[np.ndarray, " parameters"]:
    """Return the index in a file with these types of each of our parameters."""
    n = len(types)
    row = [list(types).index(element) for element in potential.elements]
    per_pair = potential.basis.n_radial * potential.radial.size
    radial = np.arange(n * n * per_pair).reshape(n, n, per_pair)[np.ix_(row, row)].ravel()
    rest = n * n * per_pair + n
    species = n * n * per_pair + np.array(row)
    return np.concatenate([radial, species, np.arange(rest, rest + potential.basis.n_scalars)])


def to_text(potential: MTP) -> str:
    """Write a potential as a text, with all digits."""
    basis, radial, types = potential.basis, potential.radial, potential.types
    order = np.argsort(parameter_order(potential, types))
    coefficients = potential.coefficients.cpu().double().numpy()[order]
    n, size, n_pairs = len(types), radial.size, len(types) ** 2
    blocks = coefficients[: n_pairs * basis.n_radial * size].reshape(-1, basis.n_radial, size)
    species = coefficients[blocks.size : blocks.size + n]
    lines = ["MTP", "version = 1.1.0", "potential_name = MTP1m"]
    lines += [f"scaling = {_digits(radial.scaling)}", f"species_count = {n}"]
    lines += [f"potential_tag = {' '.join(types)}", f"radial_basis_type = {radial.kind}"]
    lines += [f"\tmin_dist = {_digits(radial.min_dist)}", f"\tmax_dist = {_digits(radial.cutoff)}"]
    lines += [f"\tradial_basis_size = {size}", f"\tradial_funcs_count = {basis.n_radial}"]
    lines.append("\tradial_coeffs")
    for pair, block in enumerate(blocks):
        lines.append(f"\t\t{pair // n}-{pair % n}")
        lines += [f"\t\t\t{_list(map(_digits, row))}" for row in block]
    lines.append(f"alpha_moments_count = {basis.n_moments}")
    for name, rows in (("alpha_index_basic", basis.basic), ("alpha_index_times", basis.times)):
        lines.append(f"{name}_count = {len(rows)}")
        lines.append(f"{name} = {_list(_list(map(str, row)) for row in rows.tolist())}")
    lines.append(f"alpha_scalar_moments = {basis.n_scalars}")
    lines.append(f"alpha_moment_mapping = {_list(map(str, basis.mapping.tolist()))}")
    lines.append(f"species_coeffs = {_list(map(_digits, species))}")
    lines.append(f"moment_coeffs = {_list(map(_digits, coefficients[blocks.size + n :]))}")
    return "\n".join(lines)


def _list(words: Any) -> str:
    return "{" + ", ".join(words) + "}"


def _digits(value: float) -> str:
    return f"{value:.17g}" if abs(value) < 1e15 else f"{value:.16e}"


def _get(values: dict[str, str], *names: str) -> str:
    for name in names:
        if name in values:
            return values[name].split()[0] if values[name].split() else ""
    raise ValueError(f"{names[0]} is missing")


def _integer(values: dict[str, str], *names: str) -> int:
    return whole(_get(values, *names), names[0])


def _float(text: str, name: str) -> float:
    return real(text.split()[0] if text.split() else "", name)


def _check_braces(name: str, text: str) -> None:
    """Refuse a list without its end, of which the last number may have lost digits."""
    whole = text.startswith("{") and text.endswith("}") and text.count("{") == text.count("}")
    if not whole:
        raise ValueError(f"{name}: expected numbers in braces, but the list breaks off")


def _rows(values: dict[str, str], name: str, width: int, dtype: type = int) -> np.ndarray:
    if name not in values:
        raise ValueError(f"{name} is missing")
    _check_braces(name, values[name])
    words = re.sub(r"[{},]", " ", values[name]).split()
    read = real if dtype is float else partial(whole, least=-(10**18))
    numbers: np.ndarray = np.array([read(word, name) for word in words], dtype=dtype)
    if len(numbers) % width:
        raise ValueError(f"{name}: expected rows of {width} numbers")
    return numbers.reshape(-1, width) if width > 1 else numbers
