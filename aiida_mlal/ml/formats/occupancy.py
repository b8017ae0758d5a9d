"""Sites of crystals that several elements share, or that are partly empty."""

from collections.abc import Sequence

from ase import Atoms

FULL = 0.01
"""How far from 1 the occupancy of a site may be, where files round it."""


def check_ordered(frames: Sequence[Atoms]) -> None:
    """Refuse structures of a CIF that are averages: ASE fills each site with one element.

    Raises
    ------
    ValueError
        Which names the structure, and the occupancies of a site.
    """
    for i, atoms in enumerate(frames):
        for site in _sites(atoms):
            if len(site) != 1 or not all(_is_full(share) for share in site.values()):
                shares = ", ".join(f"{share} {element}" for element, share in site.items())
                raise ValueError(
                    f"structure {i} has a site that is {shares}: expected sites with one atom "
                    "each; such an average stands for many structures, make one of them first"
                )


def _is_full(share: object) -> bool:
    """Tell if a share is 1; ASE keeps texts as well."""
    return isinstance(share, int | float) and abs(share - 1) <= FULL


def _sites(atoms: Atoms) -> list[dict[str, object]]:
    occupancy = atoms.info.get("occupancy")
    return list(occupancy.values()) if isinstance(occupancy, dict) else []
