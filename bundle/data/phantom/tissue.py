"""The lung around a phantom nodule: parenchyma, branching vessels, airways beside the larger ones, a fissure.

Vocabulary: *outward* is the unit vector, in the axial plane, from the lung's centre to the nodule; vessels come
from the hilum, so they run outward on the whole. Everything is drawn on a fine grid (see ``phantom_grid``), in mm
and HU. Branching follows Murray's law (1926): the cubes of two branches' radii add up to the parent's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bundle.data.phantom.grid import FineGrid, correlated_field

SMALLEST_RADIUS_MM = 0.22
STEP_MM = 1.2


def parenchyma(grid: FineGrid, mean_hu: float, rng: np.random.Generator) -> np.ndarray:
    """Air and septa of the lung without its visible vessels, denser towards the back.

    Three scales: regions (12 mm), secondary lobules (4.5 mm) and unresolved small structure (1.3 mm); the
    gradient is the effect of gravity on a patient who lies on the back, about 0.8 HU/mm.

    Args:
        grid: where it is drawn.
        mean_hu: mean density at the centre, e.g. -870.
        rng: source of the texture.

    Returns:
        HU, float32 of ``grid.shape``, between -990 and -500.

    Example:
        >>> grid = FineGrid.around((20, 20, 12), (0.7, 0.7, 1.0))
        >>> bool(abs(parenchyma(grid, -870, np.random.default_rng(0)).mean() + 870) < 25)
        True
    """
    gravity = rng.uniform(0.4, 1.2) * (grid.axis(1) - grid.size_mm[1] / 2)
    hu = mean_hu + gravity + rng.uniform(10, 20) * correlated_field(grid, 12.0, rng)
    lobules = correlated_field(grid, 4.5, rng)
    # septa are thin and bright, lobules wide and dark: skew the field a little
    hu += rng.uniform(10, 18) * (lobules + 0.35 * (lobules**2 - 1))
    hu += rng.uniform(28, 42) * correlated_field(grid, 1.3, rng)
    return np.clip(hu, -990, -500).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _sideways(direction: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random unit vector at a right angle to ``direction``."""
    return _unit(np.cross(direction, rng.standard_normal(3)))


def grow_tree(
    start: np.ndarray,
    direction: np.ndarray,
    radius_mm: float,
    size_mm: np.ndarray,
    rng: np.random.Generator,
    blocked: Callable[[np.ndarray], bool] | None = None,
) -> np.ndarray:
    """One vessel and its branches: a persistent random walk that tapers, and forks by Murray's law.

    Args:
        start: (3,) mm, the root.
        direction: (3,), where the root heads.
        radius_mm: radius at the root; branches end below ``SMALLEST_RADIUS_MM``.
        size_mm: (3,) the box; a branch ends 3 mm outside of it.
        rng: source of the walk.
        blocked: says of a point whether the vessel ends there (a solid nodule); None for nowhere.

    Returns:
        tubes, (N, 8), parents before children.

    Example:
        >>> box = np.array([40.0, 40.0, 40.0])
        >>> tubes = grow_tree(np.zeros(3), np.ones(3), 1.5, box, np.random.default_rng(1))
        >>> tubes.shape[1], bool(tubes[:, 7].max() <= 1.5)
        (8, True)
    """
    tubes: list[np.ndarray] = []
    waiting = [(np.asarray(start, float), _unit(np.asarray(direction, float)), float(radius_mm))]
    while waiting and len(tubes) < 4000:
        here, heading, radius = waiting.pop(0)
        length = (4.0 * radius + 3.0) * rng.uniform(0.6, 1.8)
        bend = 0.03 * rng.standard_normal(3)  # a branch bends one way over its length
        for _ in range(max(1, round(length / STEP_MM))):
            heading = _unit(heading + bend + 0.06 * rng.standard_normal(3))
            there = here + STEP_MM * heading
            thinner = radius * 0.985
            tubes.append(np.concatenate([here, there, [radius, thinner]]))
            here, radius = there, thinner
            if (here < -3).any() or (here > size_mm + 3).any() or (blocked is not None and blocked(here)):
                radius = 0.0
                break
        if radius < SMALLEST_RADIUS_MM:
            continue
        share = rng.uniform(0.35, 0.95)
        large = radius * (1 + share**3) ** (-1 / 3)
        side = _sideways(heading, rng)
        # the thinner branch turns away the more
        for r, angle, sign in ((large, 0.15 + 0.35 * share, 1), (share * large, 1.15 - 0.55 * share, -1)):
            turn = angle * rng.uniform(0.7, 1.3)
            if r >= SMALLEST_RADIUS_MM:
                waiting.append((here, _unit(np.cos(turn) * heading + sign * np.sin(turn) * side), r))
    return np.array(tubes).reshape(-1, 8)


def vessels_and_airways(
    grid: FineGrid,
    outward: np.ndarray,
    rng: np.random.Generator,
    blocked: Callable[[np.ndarray], bool] | None = None,
    roots_per_ml: float = 0.35,
) -> tuple[np.ndarray, np.ndarray]:
    """The vessels that cross a box of lung, and the airways that run beside the larger of them.

    Args:
        grid: its size is the box.
        outward: (3,) see the module's vocabulary.
        rng: source of the trees.
        blocked: passed to :func:`grow_tree`.
        roots_per_ml: vessels that enter, per ml of lung.

    Returns:
        vessels: tubes (N, 8).
        airways: tubes (M, 8) of the outer radius; the wall is about a fifth of it.

    Example:
        >>> grid = FineGrid.around((40, 40, 30), (0.7, 0.7, 1.0))
        >>> vessels, airways = vessels_and_airways(grid, np.array([1.0, 0, 0]), np.random.default_rng(0))
        >>> len(vessels) > 100, airways.shape[1]
        (True, 8)
    """
    size = grid.size_mm
    count = max(4, rng.poisson(roots_per_ml * float(np.prod(size)) / 1000))
    vessels, airways = [], []
    for _ in range(count):
        # enter through the hilar side or, as the lung is wide, from any other
        heading = _unit(outward + rng.normal(0, 0.8, 3))
        through = rng.uniform(0.1, 0.9, 3) * size
        back = np.where(heading > 0, through / np.maximum(heading, 1e-3), (through - size) / np.minimum(heading, -1e-3))
        start = through - heading * min(float(back.min()), 25.0)
        radius = float(np.clip(rng.lognormal(np.log(0.8), 0.5), 0.35, 2.8))
        if blocked is not None and blocked(start):
            continue
        tree = grow_tree(start, heading, radius, size, rng, blocked)
        vessels.append(tree)
        wide = tree[tree[:, 7] > 1.05]
        if len(wide) and rng.random() < 0.4:  # arteries have a bronchus at their side, veins have none
            side = _sideways(heading, rng)
            beside = wide.copy()
            beside[:, 6:] *= rng.uniform(1.0, 1.35)
            gap = wide[:, 6] + beside[:, 6] + 0.1
            beside[:, :3] += gap[:, None] * side
            beside[:, 3:6] += gap[:, None] * side
            if blocked is not None:
                beside = beside[[not blocked(p) for p in beside[:, :3]]]
            airways.append(beside)
    none = np.zeros((0, 8))
    return np.concatenate([none, *vessels]), np.concatenate([none, *airways])


def fissure(grid: FineGrid, rng: np.random.Generator) -> np.ndarray:
    """Occupancy of an interlobar fissure: an oblique, slightly wavy sheet about 0.5 mm thick.

    Returns:
        float32 of ``grid.shape``.

    Example:
        >>> grid = FineGrid.around((20, 20, 20), (0.7, 0.7, 1.0))
        >>> bool(0 < fissure(grid, np.random.default_rng(0)).mean() < 0.1)
        True
    """
    normal = _unit(np.array([0.4 * rng.standard_normal(), rng.uniform(0.4, 1), rng.uniform(-1, 1)]))
    centre = grid.size_mm * (0.5 + rng.uniform(-0.35, 0.35, 3))
    height = sum((grid.axis(i) - centre[i]) * normal[i] for i in range(3))
    height = height + 1.5 * correlated_field(grid, 25.0, rng)
    return np.clip(0.25 - np.abs(height) + np.mean(grid.spacing) / 2, 0, np.mean(grid.spacing)).astype(
        np.float32
    ) / np.float32(np.mean(grid.spacing))
