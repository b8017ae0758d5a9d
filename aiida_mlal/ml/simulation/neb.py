"""Nudged elastic bands: the path of least energy between two minima, and the saddle point on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.mep import NEB
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.frames import KEPT
from aiida_mlal.ml.options import check_not_negative, check_positive
from aiida_mlal.ml.simulation import path
from aiida_mlal.ml.simulation.base import CONVERGED, Ending, Image, Simulation, check_pace
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.optimizers import OptimizerMemory, OptimizerName, optimizer_of
from aiida_mlal.ml.simulation.recorder import Recorder
from aiida_mlal.ml.simulation.strained import Strained, largest, strained
from aiida_mlal.ml.simulation.vibrations import modes

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty

Cell = Float[np.ndarray, "3 3"]

BEGIN, END, BAND, CLIMB = range(4)
"""Stages of a run: the first end is relaxed, the last one, then the band, with a climbing image."""


@dataclass(frozen=True)
class Neb(Simulation):
    """Relaxes the ends of paths, then the images between them as a nudged elastic band.

    Tangents are the improved ones of G. Henkelman and H. Jónsson, J. Chem. Phys. 113, 9978 (2000);
    the highest image climbs to the saddle point: G. Henkelman, B. P. Uberuaga and H. Jónsson,
    J. Chem. Phys. 113, 9901 (2000). A run is over as soon as one of its ends can't be relaxed.

    Where the cell moves ends are relaxed with it, and the band is a solid-state one, in which its
    strain counts as a length: D. Sheppard et al., J. Chem. Phys. 136, 074103 (2012).

    Attributes
    ----------
    images
        Number of images of a path, the ends among them.
    given
        How many structures each path takes, in their order: its ends, and images in between.
    interpolation
        Of the images between structures that are given: ``linear`` or ``idpp``.
    minimum_image
        Whether atoms go to their nearest periodic image, rather than to the one that is given.
    any_order
        Whether to accept ends whose atoms would have shorter ways in another order.
    ends
        Whether ends are ``relaxed`` by the potential, or stay as ``given``. Those that are said to
        be relaxed stay in any case (column ``kept``).
    climb
        Whether the highest image climbs to the saddle point.
    climb_below
        Largest force of the band below which it begins to climb, in eV/Å.
    spring
        Constant of the springs between images in eV/Å².
    weakest_spring
        Where springs depend on energies, that at the lower one of the ends; they become stronger
        up to ``spring`` at the highest image: V. Ásgeirsson et al., J. Chem. Theory Comput. 17,
        4929 (2021), equation 10.
    fmax
        Largest force of the band on a free atom that counts as none, in eV/Å: across the path,
        and on the climbing image.
    fmax_ends
        The same of the ends; ``fmax`` without it.
    modes
        Whether the modes at the saddle point are computed, which must have one imaginary one; those
        of the atoms alone where the cell moves.
    cell
        What of the cell moves along the path: nothing, all of it, or its ``volume``.
    smax_GPa
        Where the cell moves: largest component of what of the stress moves it that counts as none,
        of ends and, across the path, of the band.
    optimizer
        Algorithm, as ASE has it.
    max_steps
        After which each end, the band, and the band that climbs, are over.
    maxstep
        Largest movement of an atom in a step in Å.
    every
        Stride of the steps whose frames are kept, with the first and the last ones.
    engine, threads
        What computes, as for ``relax``.
    guard
        What ends a run early. Its ``trust`` is for ends.
    """

    IDENTITY: ClassVar[tuple[str, ...]] = (
        "images", "given", "interpolation", "minimum_image", "ends", "climb", "spring",
        "weakest_spring", "optimizer", "cell",
    )  # fmt: skip

    images: int = 5
    given: int = 2
    interpolation: path.Interpolation = "linear"
    minimum_image: bool = True
    any_order: bool = False
    ends: Literal["relaxed", "given"] = "relaxed"
    climb: bool = True
    climb_below: float = 0.2
    spring: float = 0.1
    weakest_spring: float | None = None
    fmax: float = 0.05
    fmax_ends: float | None = None
    modes: bool = True
    cell: Literal["fixed", "full", "volume"] = "fixed"
    smax_GPa: float = 0.1
    optimizer: OptimizerName = "bfgs"
    max_steps: int = 200
    maxstep: float = 0.2
    every: int = 1
    engine: EngineName = "auto"
    threads: int = 1
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Refuse bands that are none, and limits that cannot be reached."""
        if self.images < 3:
            raise ValueError(
                f"expected images of 3 or more, the ends among them, got {self.images}"
            )
        if not 2 <= self.given <= self.images:
            raise ValueError(
                f"expected 'given' structures from 2, the ends, to {self.images}, all images, got "
                f"{self.given}"
            )
        check_positive(self, "fmax", "climb_below", "spring", "maxstep", "smax_GPa")
        if self.fmax_ends is not None and not self.fmax_ends > 0:
            raise ValueError(f"expected fmax_ends above 0 or null, got {self.fmax_ends}")
        if self.weakest_spring is not None and not 0 < self.weakest_spring <= self.spring:
            raise ValueError(
                f"expected weakest_spring above 0 and up to spring, {self.spring}, or null, got "
                f"{self.weakest_spring}"
            )
        check_not_negative(self, "max_steps")
        check_pace(self.every, self.threads)

    def groups(self, structures: Configurations) -> list[Configurations]:
        """Return the structures of each path, in their order."""
        n = self.given
        if not len(structures) or len(structures) % n:
            raise ValueError(
                f"a path takes {n} structures (option 'given'), its ends"
                f"{'' if n == 2 else ' among them'}, and there are {len(structures)}"
            )
        return path.groups(
            structures, n, "path", self.minimum_image, self.any_order, self.moving_cell
        )

    def minimised(self, structures: Configurations) -> list[Image | None]:
        """Return the ends, unless these stay as they are given."""
        if self.ends == "given":
            return [None] * len(structures)
        between: list[Image | None] = [None] * (self.given - 2)
        return [
            image
            for run in range(len(self.groups(structures)))
            for image in (Image(run, 0), *between, Image(run, self.images - 1))
        ]

    @property
    def moving_cell(self) -> MovingCell:
        """What of the cell moves along the path."""
        return MovingCell(self.cell)

    @property
    def reached(self) -> tuple[float, float]:
        """The larger one of ``fmax`` and, where ends are relaxed, ``fmax_ends``; ``smax_GPa``."""
        ends = self.fmax_ends or 0.0
        fmax = max(self.fmax, 0.0 if self.ends == "given" else ends)
        return fmax, self.smax_GPa if self.moving_cell else 0.0

    def simulate(
        self,
        potential: "Potential",
        start: Configurations,
        measure: "Uncertainty | None",
        record: Recorder,
    ) -> Ending:
        """Relax the ends that have to be, then the band between them."""
        from aiida_mlal.ml.calculator import MLCalculator

        last = self.images - 1
        at = path.image_indices(start, self.images, self.minimum_image)
        given = start.to_ase()
        images = path.interpolated(given, at, "linear", self.minimum_image)
        for atoms in images:
            atoms.calc = MLCalculator(potential, measure, engine=self.engine, threads=self.threads)
        if record.state is not None:
            for atoms, positions, cell in zip(images, record.state.positions, record.state.cells):
                atoms.positions[:], atoms.cell[:] = positions, cell
        kept = KEPT.of(start)[[0, -1]] | (self.ends == "given")
        for stage, image, stays in zip((BEGIN, END), (0, last), kept):
            if stays or record.stage > stage:
                continue
            ending = self._relax(images, image, start.cells[0], stage, record)
            if ending.reason != CONVERGED:
                message = ending.message or f"image {image}, an end of the path, is not relaxed"
                return replace(ending, message=message, stationary=(image, last - image))
        if record.stage < BAND:
            ends = {0: images[0], last: images[last]}
            through = [ends.get(i, atoms) for i, atoms in zip(at, given)]
            between = path.interpolated(through, at, self.interpolation, self.minimum_image)
            for atoms, one in zip(images, between):
                atoms.positions[:], atoms.cell[:] = one.positions, one.cell
        ending, highest = self._band(images, start.cells[0], record)
        if not self.modes or ending.reason != CONVERGED:
            return ending
        top = images[highest].copy()
        top.calc = MLCalculator(potential, engine=self.engine, threads=self.threads)
        found = modes(top, start[0].fixed)
        said = f"image {highest} is {found.said}" if found.said else ""
        return replace(
            ending,
            message="; ".join(filter(None, [ending.message, said])),
            results={**ending.results, "modes": found.as_dict()},
        )

    def _relax(
        self, images: list[Atoms], image: int, reference: Cell, stage: int, record: Recorder
    ) -> Ending:
        """Relax an end."""
        trust = self.guard.trust
        maxstep = self.maxstep if trust is None else min(self.maxstep, trust / 3)
        fmax = self.fmax if self.fmax_ends is None else self.fmax_ends
        atoms, cell = images[image], self.moving_cell

        def is_relaxed() -> bool:
            if not _largest(atoms.get_forces()) < fmax:
                return False
            return not cell or cell.largest(atoms.get_stress(voigt=False)[None])[0] < self.smax_GPa

        moving = strained(atoms, cell, reference)
        return self._follow(images, moving, is_relaxed, self.guard, record, stage, maxstep, [image])

    def _band(self, images: list[Atoms], reference: Cell, record: Recorder) -> tuple[Ending, int]:
        """Relax the band, first without a climbing image; return its highest image too."""
        band = Band(images, self.spring, self.weakest_spring, self.moving_cell, reference)
        guard = replace(self.guard, trust=None)
        fmax = self.climb_below if self.climb else self.fmax
        ending: Ending | None = None
        if record.stage <= BAND:
            ending = self._follow(
                images,
                band,
                lambda: self._is_relaxed(band, fmax),
                guard,
                record,
                BAND,
                self.maxstep,
            )
        if self.climb and (ending is None or ending.reason == CONVERGED):
            band.climb = True
            ending = self._follow(
                images, band, lambda: self._is_relaxed(band, self.fmax),
                guard, record, CLIMB, self.maxstep,
            )  # fmt: skip
        if ending is None:
            raise AssertionError("a band without stages")
        last = len(images) - 1
        if band.energies is None:
            return replace(ending, stationary=(0, last)), 0
        results = band.profile()
        saddle = results["saddle"]
        if ending.reason == CONVERGED and min(results["barrier"], results["barrier_back"]) <= 0:
            ending = replace(
                ending, message="no image between the ends is higher than both of them"
            )
        return replace(ending, results=results, stationary=(saddle, 0, last)), saddle

    def _is_relaxed(self, band: "Band", fmax: float) -> bool:
        return band.largest < fmax and band.largest_stress < self.smax_GPa

    def _follow(
        self,
        images: list[Atoms],
        moving: "Atoms | Strained | Band",
        is_relaxed: Any,
        guard: Guard,
        record: Recorder,
        stage: int,
        maxstep: float,
        seen: Sequence[int] | None = None,
    ) -> Ending:
        leg = record.leg(stage)
        left = self.max_steps - (leg.step - leg.since)
        with optimizer_of(self.optimizer, moving, maxstep) as optimizer:

            def steps() -> Iterator[bool]:
                for _ in optimizer.irun(0.0, left):  # which never finds it relaxed by itself
                    yield is_relaxed()

            memory = OptimizerMemory(optimizer, self.optimizer)
            return follow(steps(), images, guard, record, memory, stage, seen)


class Band(NEB):
    """A nudged elastic band whose springs may depend on the energies of its images.

    Parameters
    ----------
    images
        With a calculator each; the ends do not move.
    spring, weakest_spring
        See ``Neb``.
    cell, reference
        What of the cell of the images moves, and the cell in which displacements are measured.

    Attributes
    ----------
    largest
        The largest force of the band on an atom in eV/Å, when forces were asked for last.
    largest_stress
        The same of the stress in GPa where the cell moves, else 0.
    """

    def __init__(
        self,
        images: list[Atoms],
        spring: float,
        weakest_spring: float | None = None,
        cell: MovingCell = FIXED,
        reference: Cell | None = None,
    ) -> None:
        self._atoms, self._reference = images, images[0].cell.array
        if reference is not None:
            self._reference = reference
        moving = [strained(atoms, cell, self._reference) for atoms in images]
        super().__init__(moving, k=spring, method="improvedtangent")
        self.strongest, self.weakest = spring, weakest_spring
        self.largest = self.largest_stress = np.inf

    def get_forces(self) -> Float[np.ndarray, "moving 3"]:
        """Return the forces of the band on the images between the ends, in eV/Å.

        Where the cell moves there are three more rows for each image, see ``Strained``.
        """
        if self.weakest is not None:
            self.k = self._springs(self.weakest).tolist()
        forces = np.asarray(super().get_forces())
        each = forces.reshape(len(self.images) - 2, -1, 3)
        self.largest, self.largest_stress = largest(each, len(self._atoms[0]), self._reference)
        return forces

    def _springs(self, weakest: float) -> Float[np.ndarray, " springs"]:
        energies = np.array([image.get_potential_energy() for image in self.images])
        low, high = min(energies[0], energies[-1]), energies.max()
        share = np.clip((np.maximum(energies[1:], energies[:-1]) - low) / (high - low), 0.0, 1.0)
        springs: np.ndarray = weakest + share * (self.strongest - weakest)
        return springs

    def profile(self) -> dict[str, Any]:
        """Return the energies along the path, and what they say, as JSON values.

        Returns
        -------
        dict
            ``coordinates`` of the images in Å, in which strains count where the cell moves, and
            motions that cost no energy, such as rotations of a molecule, don't; their ``energies``
            in eV above the first one and ``slopes``, the derivative by the coordinate in eV/Å;
            ``saddle``, which of those between the ends is the highest; ``barrier`` and
            ``barrier_back`` from the first and from the last image to it, in eV;
            ``reaction_energy`` from the first to the last one; ``saddle_fmax`` and ``ends_fmax``,
            the largest forces on a free atom there, and ``band_fmax``, that of the band, in eV/Å.
        """
        energies = np.array([image.get_potential_energy() for image in self.images])
        forces = [image.get_forces() for image in self.images]
        coordinates = path.lengths(self.images)
        saddle = 1 + int(energies[1:-1].argmax())
        return {
            "coordinates": coordinates.tolist(),
            "energies": (energies - energies[0]).tolist(),
            "slopes": self._slopes(forces).tolist(),
            "saddle": saddle,
            "barrier": float(energies[saddle] - energies[0]),
            "barrier_back": float(energies[saddle] - energies[-1]),
            "reaction_energy": float(energies[-1] - energies[0]),
            "saddle_fmax": _largest(self._atoms[saddle].get_forces()),
            "ends_fmax": [_largest(self._atoms[i].get_forces()) for i in (0, -1)],
            "band_fmax": float(self.largest),
        }

    def _slopes(self, forces: Sequence[np.ndarray]) -> Float[np.ndarray, " images"]:
        """Return the derivative of the energy along the path; tangents bisect angles at images."""
        ways = [_unit(way) for way in path.ways(self.images)]
        tangents = zip(forces, [ways[0], *ways], [*ways, ways[-1]])
        return np.array([-np.vdot(force, _unit(a + b)) for force, a, b in tangents])


def _unit(way: np.ndarray) -> np.ndarray:
    """Return a way of length 1, or 0 where it leads nowhere."""
    return way / max(float(np.linalg.norm(way)), 1e-12)


def _largest(forces: np.ndarray) -> float:
    return float(np.linalg.norm(forces.reshape(-1, 3), axis=1).max(initial=0.0))


def saddle_of(run: Mapping[str, Any]) -> int | None:
    """Return the index of the image at the saddle point, from the JSON values of a run."""
    saddle = (run.get("results") or {}).get("saddle")
    return None if saddle is None else int(saddle)
