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
            if len(site) > 1 or abs(sum(site.values()) - 1) > FULL:
                shares = ", ".join(f"{share:g} {element}" for element, share in site.items())
                raise ValueError(
                    f"structure {i} has a site that is {shares}: expected sites with one atom "
                    "each; such an average stands for many structures, make one of them first"
                )


def _sites(atoms: Atoms) -> list[dict[str, float]]:
    occupancy = atoms.info.get("occupancy")
    return list(occupancy.values()) if isinstance(occupancy, dict) else []
