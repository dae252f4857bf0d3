"""The window of observed slices around a target: the input of slice synthesis, and what is interpolated through it.

Vocabulary: a *window* is the six observed slices nearest to a *target* place, three below and three above it, its
*inner* two among them. Their *offsets* are their places relative to the target in mm, at most 0 for the lower three and
at least 0 for the upper three. Near the end of a scan a slice of the window may be missing, then it is *not valid* and
a copy of its neighbour: the outermost ones at the last gap, all of one side beyond the last slice. The *geometry* of a
window is (B, 21): six offsets, six times valid or not, the six weights of block kriging (:mod:`bundle.profile`), the
thickness of the slices in mm (0: planes), and the pixel size along x and along y.
"""

from __future__ import annotations

import torch

# slices of a window, half of them on each side
WINDOW_SLICES = 6
# one channel for each slice; then, constant over the plane, the numbers of the geometry
WINDOW_CHANNELS = 27


def slice_window(slices: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Put a window and its geometry into one tensor, the input of :class:`bundle.networks.SliceSynthesisNet`.

    Args:
        slices: (B, 6, X, Y) normalised to [0, 1], ascending along z.
        geometry: (B, 21), see :func:`window_geometry`.

    Returns:
        (B, 27, X, Y).

    Example:
        >>> slice_window(torch.rand(1, 6, 8, 8), torch.ones(1, 21)).shape
        torch.Size([1, 27, 8, 8])
    """
    return torch.cat([slices, geometry.to(slices)[:, :, None, None].expand(-1, -1, *slices.shape[2:])], dim=1)


def flipped_geometry(geometry: torch.Tensor) -> torch.Tensor:
    """The geometry (B, 21) of windows whose slices are flipped along z.

    Example:
        >>> flipped_geometry(torch.arange(21.0)[None])[0, :6]
        tensor([-5., -4., -3., -2., -1., -0.])
    """
    offsets, valid, weights, constant = geometry.split([6, 6, 6, 3], dim=1)
    return torch.cat([-offsets.flip(1), valid.flip(1), weights.flip(1), constant], dim=1)


def describe_gap(geometry: torch.Tensor) -> torch.Tensor:
    """Describe where the slices of a window lie, whichever its target, by 16 numbers of order 1.

    Args:
        geometry: (B, 21).

    Returns:
        (B, 16): from each slice to the next in units of 4 mm, 0 where one is not valid; what is valid; the thickness
        in units of 4 mm and as a share of the inner gap; pixel sizes about 0.7 mm; which side is missing.

    Example:
        >>> places = torch.tensor([[-10.0, -6, -2, 2, 6, 10]])
        >>> geometry = torch.cat([places, torch.ones(1, 6), torch.zeros(1, 6), torch.tensor([[4.0, 0.7, 0.7]])], dim=1)
        >>> describe_gap(geometry)
        tensor([[1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 0., 0., 0.]])
    """
    offsets, valid, _, thickness, spacing = geometry.split([6, 6, 6, 1, 2], dim=1)
    steps = (offsets[:, 1:] - offsets[:, :-1]) * valid[:, 1:] * valid[:, :-1]
    # a thickness without a gap, beyond the last slice, is compared with the last gap
    gap = torch.where(steps[:, 2:3] > 0, steps[:, 2:3], torch.maximum(steps[:, 1:2], steps[:, 3:4]))
    share = (thickness / gap.clamp_min(0.5)).clamp_max(4)
    return torch.cat(
        [steps / 4, valid, thickness / 4, share, (spacing - 0.7) * 5, valid[:, 2:3] - valid[:, 3:4]], dim=1
    )


def describe_target(geometry: torch.Tensor) -> torch.Tensor:
    """Describe where the target lies in its window, by 25 numbers of order 1.

    Args:
        geometry: (B, 21).

    Returns:
        (B, 25): :func:`describe_gap`; distances to the inner slices in units of 4 mm, 0 where not valid; the place in
        the gap from -1 to 1, 0 beyond the last slice; the weights of kriging.

    Example:
        >>> describe_target(torch.ones(2, 21)).shape
        torch.Size([2, 25])
    """
    offsets, valid, weights = geometry[:, :6], geometry[:, 6:12], geometry[:, 12:18]
    inner = torch.stack([-offsets[:, 2], offsets[:, 3]], dim=1) * valid[:, 2:4]
    both = valid[:, 2] * valid[:, 3]
    place = both * (2 * inner[:, 0] / inner.sum(1).clamp_min(1e-3) - 1)
    return torch.cat([describe_gap(geometry), inner / 4, place[:, None], weights], dim=1)


def window_base(slices: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Interpolate a window at its target by PCHIP, as ``scipy.interpolate.PchipInterpolator`` does.

    Args:
        slices: (B, 6, X, Y), any unit.
        geometry: (B, 21); a slice that is not valid is left out, as at the end of a scan; where an inner one is not,
            the other one is held.

    Returns:
        (B, 1, X, Y), the unit of ``slices``.

    Example:
        >>> ramp = torch.tensor([[-11.0, -6, -1, 4, 9, 14]])
        >>> geometry = torch.cat([ramp, torch.ones(1, 15)], dim=1)
        >>> window_base(ramp.view(1, 6, 1, 1), geometry).abs().max().item() < 1e-6
        True
    """
    near, offsets, valid = slices[:, 1:5], geometry[:, 1:5], geometry[:, 7:11]
    width = (offsets[:, 1:] - offsets[:, :-1]).clamp_min(1e-3)[:, :, None, None]
    below, gap, above = width.unbind(1)
    d_below, d, d_above = ((near[:, 1:] - near[:, :-1]) / width).unbind(1)
    exists = (valid > 0.5)[:, :, None, None].unbind(1)
    low = torch.where(exists[0], _slope(d_below, d, below, gap), _edge(d, d_above, gap, above, exists[3]))
    high = torch.where(exists[3], _slope(d, d_above, gap, above), _edge(d, d_below, gap, below, exists[0]))
    f = (-offsets[:, 1, None, None] / gap).clamp(0, 1)
    rise = f * f * (3 - 2 * f)
    bend = f * (1 - f) * gap * ((1 - f) * low - f * high)
    between = near[:, 1] + rise * (near[:, 2] - near[:, 1]) + bend
    held = torch.where(exists[1], near[:, 1], near[:, 2])
    return torch.where(exists[1] & exists[2], between, held)[:, None]


def _slope(d0: torch.Tensor, d1: torch.Tensor, h0: torch.Tensor, h1: torch.Tensor) -> torch.Tensor:
    """Slope between two pieces (Fritsch and Butland 1984): 0 at an extremum, else a weighted harmonic mean."""
    monotone = d0 * d1 > 0
    w0, w1 = h0 + 2 * h1, 2 * h0 + h1
    safe0, safe1 = torch.where(monotone, d0, 1.0), torch.where(monotone, d1, 1.0)
    return torch.where(monotone, (w0 + w1) / (w0 / safe0 + w1 / safe1), 0.0)


def _edge(d0: torch.Tensor, d1: torch.Tensor, h0: torch.Tensor, h1: torch.Tensor, curved: torch.Tensor) -> torch.Tensor:
    """Slope at the end of the outermost piece (d0, h0): three points and limited, or the line through two."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    slope = torch.where(torch.sign(slope) != torch.sign(d0), 0.0, slope)
    turned = (torch.sign(d0) != torch.sign(d1)) & (slope.abs() > 3 * d0.abs())
    return torch.where(curved, torch.where(turned, 3 * d0, slope), d0)
