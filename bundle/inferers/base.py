"""What every way of filling the gap has in common: what it is given, what it gives, one call signature.

An *image method* reconstructs intensities, a *mask method* a mask (for the other words see :mod:`bundle.slices`).
No inferer is ever handed an unobserved slice, so none can leak into a result.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.inferers import Inferer

from bundle.errors import InputError
from bundle.inferers.calibration.intervals import Calibration
from bundle.inferers.consistency import agreed
from bundle.progress import Progress
from bundle.slices import ObservedSlices, Reconstruction
from bundle.transforms.hu import to_hu
from bundle.units import check_binary, check_unit


class SliceInferer(Inferer):
    """Base of all methods: implement :meth:`reconstruct`, get MONAI's inferer call for free.

    Attributes:
        kind: ``"image"`` (reads ``observed.image``, gives ``image``) or ``"mask"`` (reads ``observed.mask``, gives
            ``mask``).
        reads_image: whether a mask method also reads ``observed.image``, where there is one.
        in_plane: whether a voxel depends on its neighbours in plane, so that a large volume that is worked through in
            tiles needs an overlap.
        gives_error: whether a reconstruction says how far it may be off, as ``Reconstruction.error``.
        sample: whether what it gives is one of many possible, drawn by the seed: for measuring texture, so that it is
            not compared with the truth voxel by voxel.
        calibration: what makes the method's raw error an expected error, see :meth:`expected_error`. None: it is
            taken as it is, and there are no intervals.
        on_progress: told how far a method is that takes its time; None: nobody is.

    Example:
        >>> from bundle.inferers import LinearInferer
        >>> LinearInferer()(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    kind: Literal["image", "mask"] = "image"
    reads_image: bool = False
    in_plane: bool = False
    gives_error: bool = False
    sample: bool = False
    calibration: Calibration | None = None
    on_progress: Progress | None = None

    @abstractmethod
    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Fill the gap.

        Args:
            observed: the slices that were kept and the places where slices are wanted.

        Raises:
            InputError: the observed slices are too few for the method and for all of its fallbacks.
        """

    def complete(self, observed: ObservedSlices) -> Reconstruction:
        """Fill the gap, and where observed slices are averages over a thickness, agree with them.

        Args and raises as :meth:`reconstruct`; without a thickness it is the same.

        Example:
            >>> from bundle.inferers import LinearInferer
            >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.5, 2.5]), np.arange(4.0), thickness_mm=2.0)
            >>> LinearInferer().complete(seen).image.round(6).ravel().tolist()
            [1.0, 1.0, 1.0, 1.0]
        """
        return agreed(self.reconstruct(observed), observed)

    def __call__(
        self,
        inputs: torch.Tensor | np.ndarray,
        network: Any = None,
        *,
        positions: Sequence[float] | np.ndarray | None = None,
        targets: Sequence[float] | np.ndarray | None = None,
        spacing: tuple[float, float] = (1.0, 1.0),
        mask: torch.Tensor | np.ndarray | None = None,
        image: torch.Tensor | np.ndarray | None = None,
        seed: int = 0,
    ) -> torch.Tensor | np.ndarray:
        """Reconstruct from a plain array or tensor, as MONAI calls an inferer.

        Args:
            inputs: (..., X, Y, K) observed slices, normalised to [0, 1]; for a mask method the observed
                masks. Leading axes, such as batch and channel, are reconstructed one by one.
            network: passed to inferers that fit or apply one; ignored by the others.
            positions: (K,) mm; None: 0, 1, 2, ...
            targets: (Z,) mm; None: every fifth of a gap, 0, 0.2, 0.4, ... up to the last position.
            spacing: in-plane spacing (x, y) in mm.
            mask: (..., X, Y, K) observed masks, for image methods that use both.
            image: (..., X, Y, K) observed slices, normalised to [0, 1], for mask methods that use both.
            seed: seeds whatever is random in the method.

        Returns:
            (..., X, Y, Z), an array for an array and a tensor for a tensor (same device, float32).
        """
        array = inputs.detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs)
        if array.ndim < 3:
            raise InputError(f"the observed slices have shape {array.shape}, expected (..., X, Y, K)")
        where = np.arange(array.shape[-1]) if positions is None else np.asarray(positions)
        wanted = _between(where) if targets is None else np.asarray(list(targets))
        other = mask if self.kind == "image" else image
        others: Any = itertools.repeat(None)
        if other is not None:
            others = other.detach().cpu().numpy() if isinstance(other, torch.Tensor) else np.asarray(other)
            others = np.broadcast_to(others, array.shape).reshape(-1, *array.shape[-3:])
        results = []
        for volume, companion in zip(array.reshape(-1, *array.shape[-3:]), others, strict=False):
            intensity, drawn = (volume, companion) if self.kind == "image" else (companion, volume)
            if drawn is not None:
                check_binary("the observed mask", drawn)
            observed = ObservedSlices(
                image=intensity,
                mask=None if drawn is None else drawn > 0,
                positions=where.astype(float),
                targets=wanted.astype(float),
                spacing=spacing,
                seed=seed,
            )
            results.append(self._run(observed, network))
        out = np.stack(results).reshape(*array.shape[:-1], len(wanted)).astype(np.float32)
        return torch.as_tensor(out, device=inputs.device) if isinstance(inputs, torch.Tensor) else out

    def outside(self, observed: ObservedSlices) -> list[str]:
        """A sentence for each side of the geometry that the method has not seen; [] from one that learned nothing.

        Example:
            >>> from bundle.inferers import LinearInferer
            >>> LinearInferer().outside(ObservedSlices(None, None, np.arange(2.0), np.arange(2.0)))
            []
        """
        return []

    def unclipped(self) -> SliceInferer | None:
        """The same method for intensities outside of [0, 1] too; None: it knows the window alone.

        Example:
            >>> from bundle.inferers import LinearInferer
            >>> LinearInferer().unclipped()(np.array([[[0.0, 3.0]]]), targets=[0.5]).item()
            1.5
        """
        return None

    def calibrate(self, name: str, calibrations: Mapping[str, Calibration]) -> None:
        """Take the calibration that the method has in a file of them; without one it stays as it is.

        Example:
            >>> from bundle.inferers import LinearInferer
            >>> method = LinearInferer()
            >>> method.calibrate("ours", {"ours": Calibration(0.5, (0.9,), (2.0,))})
            >>> method.calibration.scale
            0.5
        """
        self.calibration = calibrations.get(name, self.calibration)

    def expected_error(self, raw: np.ndarray, observed: ObservedSlices, image: np.ndarray | None = None) -> np.ndarray:
        """What a method gives as ``Reconstruction.error``: its raw error times the calibration's scale.

        The one place where the scale is applied.

        Args:
            raw: (X, Y, Z) the method's own estimate at the targets, normalised, 0 or more.
            observed: what was reconstructed from.
            image: (X, Y, Z) the reconstruction, normalised, for factors by intensity; None: without them.

        Returns:
            (X, Y, Z) float32, a new array; 0 at the observed slices.

        Example:
            >>> from bundle.inferers import LinearInferer
            >>> seen = ObservedSlices(np.zeros((1, 1, 2)), None, np.array([0.0, 2.0]), np.arange(3.0))
            >>> method = LinearInferer()
            >>> method.calibration = Calibration(0.5, (0.9,), (2.0,))
            >>> method.expected_error(np.full((1, 1, 3), 0.5), seen).ravel().tolist()
            [0.0, 0.25, 0.0]
        """
        scale: np.ndarray | float = 1.0
        if self.calibration is not None:
            hu, thick = None if image is None else to_hu(image), observed.thickness_mm > 0
            scale = self.calibration.scale_at(observed.gaps, observed.beyond, hu, thick)
        error = (np.asarray(raw) * scale).astype(np.float32)
        error[..., observed.seen] = 0
        return error

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        """One volume; inferers that take a network override this."""
        result = self.complete(observed)
        volume = result.image if self.kind == "image" else result.mask
        assert volume is not None
        return volume


def _between(positions: np.ndarray) -> np.ndarray:
    """Four places between each two positions, and the positions themselves (the study's stride of 5)."""
    steps = np.arange(5 * (len(positions) - 1) + 1) / 5
    return np.interp(steps, np.arange(len(positions)), positions)


def checked_image(observed: ObservedSlices, method: str, normalised: bool = True) -> np.ndarray:
    """The observed image in float64, if there is one and it can be computed with.

    Args:
        observed: the slices that were kept.
        method: named in the error.
        normalised: whether the method reads normalised brightness alone.

    Raises:
        InputError: there is no image, it holds nan or infinite values, or ones far outside of 0 to 1.

    Example:
        >>> checked_image(ObservedSlices(np.ones((1, 1, 2), "f4"), None, np.arange(2.0), np.arange(2.0)), "x").dtype
        dtype('float64')
    """
    if observed.image is None:
        raise InputError(f"{method} needs the observed image and got none: give one")
    bad = np.count_nonzero(~np.isfinite(observed.image))
    if bad:
        raise InputError(f"{bad} observed voxel(s) are nan or infinite: repair the image before {method}")
    if normalised:
        check_unit("the observed image", observed.image)
    return np.asarray(observed.image, dtype=np.float64)


def checked_image_method(given: SliceInferer | Callable[[], SliceInferer]) -> SliceInferer:
    """A method that another one looks at, or what makes it, if it gives images.

    Raises:
        InputError: it gives masks.

    Example:
        >>> from bundle.inferers import LinearInferer
        >>> type(checked_image_method(LinearInferer)).__name__
        'LinearInferer'
    """
    method = given if isinstance(given, SliceInferer) else given()
    if not isinstance(method, SliceInferer) or method.kind != "image":
        raise InputError(f"{type(method).__name__} gives no image: give an image method, such as pchip")
    return method
