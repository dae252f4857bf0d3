"""The window of observed slices around a target: the input of slice synthesis, and PCHIP through it.

Vocabulary: a *window* is the four observed slices nearest to a *target* place, two below and two above it. Their
*offsets* are their places relative to the target in mm, below 0 for the lower two and above 0 for the upper two.
Near the end of a scan a slice of the window may be missing, then it is *not valid* and a copy of its neighbour:
the outermost one at the last gap, both of one side beyond the last slice.
"""

from __future__ import annotations

import torch

# one channel each: four slices; then, constant over the plane, four offsets, four times valid or not, and the
# pixel size along x and along y
WINDOW_CHANNELS = 14


def slice_window(
    slices: torch.Tensor, offsets: torch.Tensor, valid: torch.Tensor, spacing: torch.Tensor
) -> torch.Tensor:
    """Put a window and its geometry into one tensor, the input of :class:`bundle.networks.SliceSynthesisNet`.

    Args:
        slices: (B, 4, X, Y) normalised to [0, 1], ascending along z.
        offsets: (B, 4) mm relative to the target, ascending; anything where a slice is not valid.
        valid: (B, 4) 1 where a slice exists, else 0; one of the inner two must exist.
        spacing: (B, 2) pixel size along x and y in mm.

    Returns:
        (B, 14, X, Y).

    Example:
        >>> at = torch.tensor([[-6.0, -1.0, 4.0, 9.0]])
        >>> slice_window(torch.rand(1, 4, 8, 8), at, torch.ones(1, 4), torch.full((1, 2), 0.7)).shape
        torch.Size([1, 14, 8, 8])
    """
    geometry = torch.cat([offsets, valid, spacing], dim=1).to(slices)
    return torch.cat([slices, geometry[:, :, None, None].expand(-1, -1, *slices.shape[2:])], dim=1)


def window_geometry(window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read offsets (B, 4), valid (B, 4) and spacing (B, 2) back from a window (B, 14, X, Y), float32."""
    offsets, valid, spacing = window[:, 4:, 0, 0].float().split((4, 4, 2), dim=1)
    return offsets, valid, spacing


def describe_window(offsets: torch.Tensor, valid: torch.Tensor, spacing: torch.Tensor) -> torch.Tensor:
    """Describe the geometry of a window by 11 numbers of order 1.

    Args:
        offsets: (B, 4) mm.
        valid: (B, 4).
        spacing: (B, 2) mm.

    Returns:
        (B, 11): distances to the inner slices and from these to the outer ones in units of 4 mm, 0 where not
        valid; what is valid; the place in the gap from -1 to 1, 0 beyond the last slice; pixel sizes about 0.7 mm.

    Example:
        >>> describe_window(torch.tensor([[-8.0, -4.0, 4.0, 8.0]]), torch.ones(1, 4), torch.full((1, 2), 0.7))
        tensor([[1., 1., 1., 1., 1., 1., 1., 1., 0., 0., 0.]])
    """
    inner = torch.stack([-offsets[:, 1], offsets[:, 2]], dim=1) * valid[:, 1:3]
    outer = torch.stack([offsets[:, 1] - offsets[:, 0], offsets[:, 3] - offsets[:, 2]], dim=1) * valid[:, ::3]
    both = valid[:, 1] * valid[:, 2]
    place = both * (2 * inner[:, 0] / inner.sum(1).clamp_min(1e-3) - 1)
    return torch.cat([inner / 4, outer / 4, valid, place[:, None], (spacing - 0.7) * 5], dim=1)


def window_base(slices: torch.Tensor, offsets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Interpolate a window at its target by PCHIP, as ``scipy.interpolate.PchipInterpolator`` does.

    Args:
        slices: (B, 4, X, Y), any unit.
        offsets: (B, 4) mm.
        valid: (B, 4); an outer slice that is not valid is left out, as at the end of a scan; where an inner one is
            not, the other one is held.

    Returns:
        (B, X, Y), the unit of ``slices``.

    Example:
        >>> ramp = torch.tensor([-6.0, -1.0, 4.0, 9.0]).view(1, 4, 1, 1)
        >>> window_base(ramp, ramp[:, :, 0, 0], torch.ones(1, 4)).abs().max().item() < 1e-6
        True
    """
    width = (offsets[:, 1:] - offsets[:, :-1]).clamp_min(1e-3)[:, :, None, None]
    below, gap, above = width.unbind(1)
    d_below, d, d_above = ((slices[:, 1:] - slices[:, :-1]) / width).unbind(1)
    exists = (valid > 0.5)[:, :, None, None].unbind(1)
    low = torch.where(exists[0], _slope(d_below, d, below, gap), _edge(d, d_above, gap, above, exists[3]))
    high = torch.where(exists[3], _slope(d, d_above, gap, above), _edge(d, d_below, gap, below, exists[0]))
    f = (-offsets[:, 1, None, None] / gap).clamp(0, 1)
    rise = f * f * (3 - 2 * f)
    bend = f * (1 - f) * gap * ((1 - f) * low - f * high)
    between = slices[:, 1] + rise * (slices[:, 2] - slices[:, 1]) + bend
    held = torch.where(exists[1], slices[:, 1], slices[:, 2])
    return torch.where(exists[1] & exists[2], between, held)


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
