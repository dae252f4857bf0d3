"""Fill the gap by ordinary kriging: the best linear guess, given how intensity varies with distance.

Vocabulary: the *variogram* of a volume is half the mean squared difference of two voxels, as a function of their
distance in mm. Between thick slices it can't be measured along z, but within the observed slices it can: so it is
measured there, a model is fitted to it, and a distance along z counts as a part (``z_scale``) of one in plane. Kriging
weights follow from the geometry and the variogram alone: all voxels of a target slice share one small linear system,
and a slice is a convolution of its observed neighbours.

Source: Matheron, "Principles of geostatistics", Economic Geology 58 (1963) 1246-1266; stable variogram model and
ordinary kriging as in Chiles and Delfiner, *Geostatistics* (2nd ed., 2012), sections 2.5 and 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image
from bundle.inferers.interpolation.splines import linear_weights
from bundle.profile import block_kriging_weights, profile_nodes
from bundle.slices import ObservedSlices, Reconstruction, bracket, held, observed_index

# in-plane directions in which differences are taken, in voxels
_DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1))


@dataclass(frozen=True)
class Variogram:
    """The stable model, ``nugget + sill (1 - exp(-(h / range_mm) ** power))`` for h > 0 and 0 at h = 0.

    Attributes:
        nugget: variance of noise that no distance explains, normalised intensity squared.
        sill: variance of the rest.
        range_mm: distance in mm at which 63 % of the sill is reached.
        power: above 0, below 2; 1 is the exponential model.

    Example:
        >>> Variogram(0.5, 2.0, 4.0, 1.0)(np.array([0.0, 4.0])).round(3)
        array([0.   , 1.764])
    """

    nugget: float
    sill: float
    range_mm: float
    power: float

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Half the expected squared difference at distances in mm."""
        rise = self.sill * -np.expm1(-((distance / self.range_mm) ** self.power))
        return np.where(distance > 0, self.nugget + rise, 0.0)


# where nothing varies in plane, any variogram without noise does
FLAT = Variogram(0.0, 1.0, 5.0, 1.0)


def empirical_variogram(
    image: np.ndarray, spacing: tuple[float, float], max_mm: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """Measure half the mean squared difference within the slices, along x, y and both diagonals.

    Args:
        image: (X, Y, K) observed slices, any unit.
        spacing: in-plane spacing (x, y) in mm.
        max_mm: largest distance.

    Returns:
        distance: (L,) mm, not sorted; empty for slices of one voxel, or of voxels larger than ``max_mm``.
        value: (L,) unit of the image, squared.

    Example:
        >>> empirical_variogram(np.arange(3.0).reshape(3, 1, 1), (2.0, 1.0))
        (array([2., 4.]), array([0.5, 2. ]))
    """
    size_x, size_y, _ = image.shape
    distances, values = [], []
    for ux, uy in _DIRECTIONS:
        # a falling diagonal is a rising one of the mirrored slice
        turned = image[:, ::-1] if uy < 0 else image
        step = float(np.hypot(ux * spacing[0], uy * spacing[1]))
        for n in range(1, int(max_mm / step + 1e-9) + 1):
            dx, dy = n * ux, n * abs(uy)
            if dx >= size_x or dy >= size_y:
                break
            difference = turned[dx:, dy:] - turned[: size_x - dx, : size_y - dy]
            distances.append(n * step)
            values.append(0.5 * float(np.mean(np.square(difference))))
    return np.array(distances), np.array(values)


def fit_variogram(distance: np.ndarray, value: np.ndarray) -> Variogram | None:
    """Fit the stable model by least squares, short distances weighted more (by 1 / distance).

    Args:
        distance: (L,) mm, above 0.
        value: (L,) measured there.

    Returns:
        the model; None if there is nothing to fit it to: no distances, or no variation.

    Example:
        >>> h = np.arange(1.0, 11.0)
        >>> fitted = fit_variogram(h, Variogram(0.1, 1.0, 3.0, 1.0)(h))
        >>> round(fitted.range_mm, 2), round(fitted.power, 2)
        (3.0, 1.0)
    """
    scale = float(value.max()) if len(value) else 0.0
    if scale < np.finfo(float).tiny ** 0.5:
        return None
    weight = 1 / np.sqrt(distance)

    def of(parameters: np.ndarray) -> Variogram:
        nugget, sill, log_range, power = (float(p) for p in parameters)
        return Variogram(nugget * scale, sill * scale, float(np.exp(log_range)), power)

    found = least_squares(
        lambda parameters: weight * (of(parameters)(distance) - value) / scale,
        x0=[0.01, 1.0, np.log(4.0), 1.0],
        # beyond these the model is a straight line or a constant over the distances that matter
        bounds=([0.0, 1e-3, np.log(0.3), 0.3], [1.0, 10.0, np.log(100.0), 1.95]),
    )
    return of(found.x)


def kriging_weights(
    variogram: Variogram, spacing: tuple[float, float], offsets: np.ndarray, half: int = 2, z_scale: float = 0.7
) -> np.ndarray:
    """Weights of ordinary kriging for one voxel from its neighbours in several slices.

    They minimise the expected squared error among all weights of sum 1.

    Args:
        variogram: as a function of distance in mm.
        spacing: in-plane spacing (x, y) in mm.
        offsets: (S,) mm along z from the voxel to each slice; none is 0.
        half: neighbours on either side in plane.
        z_scale: a mm along z counts as so many in plane.

    Returns:
        (2 half + 1, 2 half + 1, S) weights, sum 1; some may be negative.

    Example:
        >>> kriging_weights(FLAT, (1.0, 1.0), np.array([-1.0, 1.0]), half=0).ravel()
        array([0.5, 0.5])
    """
    steps = np.arange(-half, half + 1)
    grid = np.meshgrid(steps * spacing[0], steps * spacing[1], np.asarray(offsets) * z_scale, indexing="ij")
    points = np.stack([axis.ravel() for axis in grid], axis=1)
    count = len(points)
    # the last row and column hold the sum of the weights at 1 (a Lagrange multiplier)
    system, right = np.ones((count + 1, count + 1)), np.ones(count + 1)
    scale = variogram.nugget + variogram.sill
    system[:count, :count] = variogram(np.linalg.norm(points[:, None] - points, axis=2)) / scale
    system[count, count] = 0.0
    right[:count] = variogram(np.linalg.norm(points, axis=1)) / scale
    weights = np.linalg.solve(system, right)[:count]
    return weights.reshape(len(steps), len(steps), len(offsets))


def krige(
    image: np.ndarray,
    positions: np.ndarray,
    targets: np.ndarray,
    spacing: tuple[float, float],
    variogram: Variogram,
    half: int = 2,
    z_scale: float = 0.7,
) -> np.ndarray:
    """Krige every voxel of every target slice from the two observed slices on either side.

    Args:
        image: (X, Y, K) observed slices; beyond their border the border voxel is repeated.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm; beyond the ends the end slice is held.
        spacing: in-plane spacing (x, y) in mm.
        variogram: see :func:`fit_variogram`.
        half: neighbours on either side in plane; 2 makes 5 x 5 in each slice.
        z_scale: a mm along z counts as so many in plane.

    Returns:
        (X, Y, Z) float64; at an observed position that slice, exactly. May leave the range of the data.

    Example:
        >>> krige(np.array([[[0.0, 1.0]]]), np.array([0.0, 4.0]), np.array([2.0]), (1.0, 1.0), FLAT).round(9)
        array([[[0.5]]])
    """
    image = np.asarray(image, dtype=np.float64)
    targets = held(positions, targets)
    lower, upper, _ = bracket(positions, targets)
    out = image @ linear_weights(positions, targets).T  # which is that slice at observed positions
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="edge")
    known: dict[tuple[float, ...], np.ndarray] = {}
    for z in np.flatnonzero(observed_index(positions, targets) < 0):
        near = slice(max(lower[z] - 1, 0), upper[z] + 2)
        offsets = positions[near] - targets[z]
        key = tuple(np.round(offsets, 9))
        if key not in known:
            known[key] = kriging_weights(variogram, spacing, offsets, half, z_scale)
        total = np.zeros(image.shape[:2])
        for i, j in np.ndindex(known[key].shape[:2]):
            total += padded[i : i + image.shape[0], j : j + image.shape[1], near] @ known[key][i, j]
        out[..., z] = total
    return out


def krige_blocks(observed: ObservedSlices, image: np.ndarray, neighbours: int = 6) -> np.ndarray:
    """Krige every target along z from the thick slices around it, each the mean over its profile.

    Args:
        observed: positions, targets, thickness and profile.
        image: (X, Y, K) the observed slices.
        neighbours: of each target at most.

    Returns:
        (X, Y, Z), by :func:`bundle.profile.block_kriging_weights`; beyond the ends the covariance decides.

    Example:
        >>> slices = np.array([[[0.0, 1.0]]])
        >>> seen = ObservedSlices(slices, None, np.array([0.0, 4.0]), np.array([2.0]), thickness_mm=4.0)
        >>> krige_blocks(seen, slices).round(9)
        array([[[0.5]]])
    """
    offsets = observed.positions - observed.targets[:, None]
    rank = np.argsort(np.argsort(np.abs(offsets), axis=1), axis=1)
    nodes = profile_nodes(observed.thickness_mm, observed.profile)
    return image @ block_kriging_weights(offsets, rank < neighbours, nodes).T


class KrigingInferer(SliceInferer):
    """Ordinary kriging with a variogram measured in plane on the observed slices of the nodule itself.

    Slices with a thickness are kriged as blocks, along z alone and with one covariance for all nodules
    (:func:`krige_blocks`): what is measured in plane is not averaged over the thickness, so it does not say how
    intensities vary within it.

    Nothing is trained; the only constants are the number of neighbours and ``z_scale``, chosen on 107 nodules of
    LIDC-IDRI patients outside the study's cohort.

    Args:
        half: neighbours on either side in plane; 2 makes 5 x 5 in each of up to 4 slices.
        z_scale: a mm along z counts as so many in plane: smaller trusts the observed slices further away.

    Example:
        >>> volume = np.random.default_rng(0).random((8, 8, 3))
        >>> KrigingInferer()(volume, positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    in_plane = True

    def __init__(self, half: int = 2, z_scale: float = 0.7) -> None:
        super().__init__()
        if half < 0 or not z_scale > 0:
            raise InputError(f"half={half}, z_scale={z_scale}: expected half of 0 or more and z_scale above 0")
        self.half = half
        self.z_scale = z_scale

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Krige the image at every target.

        Args:
            observed: the observed slices; a mask is not looked at.

        Returns:
            ``image`` (X, Y, Z) float64 in [0, 1]; a slice at an observed position is that slice exactly, one beyond
            the ends repeats the end slice. Notes say where there was no variogram, or fewer than 4 slices.

        Raises:
            InputError: there is no image, or it holds nan or infinite values.
        """
        image, notes = checked_image(observed, type(self).__name__), []
        if observed.thickness_mm:
            return Reconstruction(image=krige_blocks(observed, image).clip(0, 1))
        count = image.shape[2]
        if count < 4:
            notes.append(f"{count} observed slices: kriging had so many around each target, not 4")
        variogram = fit_variogram(*empirical_variogram(image, observed.spacing))
        if variogram is None:
            notes.append("the observed slices do not vary in plane: kriging assumed an exponential variogram of 5 mm")
            variogram = FLAT
        dense = krige(image, observed.positions, observed.targets, observed.spacing, variogram, self.half, self.z_scale)
        return Reconstruction(image=dense.clip(0, 1), notes=notes)
