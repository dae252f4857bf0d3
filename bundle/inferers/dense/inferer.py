"""A dense volume from a thick or widely spaced one, as MONAI's evaluators and MONAI Label call an inferer.

Every slice of the input is an observed slice. Where the slices lie is read from what travels with the tensor: its
affine, and ``meta["slice_positions"]`` where they are unevenly spaced. In and out are HU, all of them: a method that
knows the window of the study alone is completed outside of it (:mod:`bundle.inferers.dense.range`). An observed slice
whose plane is on the new grid is in the result as it was. A mask may hold several nodules, each with its own label.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from bundle.data import gaps_in_words
from bundle.data.notes import notes_of
from bundle.data.parts import sizes_of
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.inferers.calibration.intervals import read_calibrations
from bundle.inferers.dense.auto import AUTO, choose
from bundle.inferers.dense.batch import as_batch, item_of
from bundle.inferers.dense.grid import checked_thickness, dense_targets, grid_notes
from bundle.inferers.dense.range import all_hu, beyond_scanner, finish
from bundle.inferers.dense.seams import even_bends, without_seams
from bundle.inferers.dense.tiles import Blend, column_tile, tiles
from bundle.inferers.implicit.inferer import ImplicitInferer
from bundle.inferers.interpolation.splines import PchipInferer
from bundle.inferers.learned.sample import NOTE, SampleInferer
from bundle.inferers.masks.parts import carry_parts
from bundle.inferers.names import chosen_names
from bundle.options.kinds import whole
from bundle.profile import checked_profile
from bundle.progress import Progress, ProgressBars
from bundle.slices import ObservedSlices, observed_index
from bundle.transforms import HU_RANGE, slice_positions, to_unit
from bundle.units import whole_hu

log = logging.getLogger(__name__)


class DenseInferer(Inferer):
    """Fill in slices at a wanted spacing with any method of the bundle.

    Args:
        methods: what can be chosen from, by name: inferers, or what makes one when it is wanted.
        method: name of the chosen one, or ``"auto"``: see :mod:`bundle.inferers.dense.auto`.
        slice_spacing: mm between the new slices; None: the pixel spacing along x.
        seed: of whatever is random in the method.
        tile: a larger volume is worked through in tiles of at most so many voxels in x and y; bounds the memory.
        overlap: voxels over which neighbouring tiles are blended, of a method that looks around in plane.
        keep_observed: put observed slices into the result as they are, where they are planes: a thick one among thin
            ones would be a band. False: not those either, whose noise shows (:mod:`bundle.inferers.dense.seams`). Of
            thick slices a method that looks around in plane leaves no seams in any case, others where this is False.
        calibration: file of calibrations, by which expected errors are right in size; None: they are the method's own.
        from_network: fits start from a copy of the network that it is called with; False: from a new one, seeded.
        progress: show a progress bar.
        thickness_mm: of the slices, each an average over it; None: ``meta["slice_thickness"]``, as of DICOM; 0: planes.
        slice_profile: how a slice weighs its thickness, see :mod:`bundle.profile`.
        with_image: a mask method also gives the brightness under its mask, by PCHIP, as ``meta["dense_image"]``.
        rounded: a method that treats each voxel column by itself gives int16, as files do: half the memory of float32.

    Attributes:
        on_progress: told how many tiles are done, in parts too while a method is fitted to one; None: the bar is.
        notes: what the method had to say about the last volume, such as a fallback that was taken.

    Example:
        >>> from bundle.inferers import LinearInferer
        >>> thick = MetaTensor(torch.rand(1, 1, 8, 8, 3), affine=torch.diag(torch.tensor([1.0, 1, 5, 1]))[None])
        >>> dense = DenseInferer({"linear": LinearInferer()}, "linear", progress=False)(thick)
        >>> tuple(dense.shape), torch.diagonal(dense.affine[0]).tolist()
        ((1, 1, 8, 8, 11), [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        methods: Mapping[str, SliceInferer | Callable[[], SliceInferer]],
        method: str = "pchip",
        slice_spacing: float | None = None,
        seed: int = 0,
        tile: int = 128,
        overlap: int = 16,
        keep_observed: bool = True,
        from_network: bool = False,
        progress: bool = True,
        calibration: str | None = None,
        thickness_mm: float | None = None,
        slice_profile: str = "trapezoid",
        with_image: bool = False,
        rounded: bool = False,
    ) -> None:
        self.methods = methods
        self.method = method
        self.slice_spacing = slice_spacing
        self.seed = seed
        self.tile = whole(1).value("tile", tile)
        self.overlap = whole(0).value("overlap", overlap)
        self.keep_observed = keep_observed
        self.from_network = from_network
        self.progress = progress
        self.thickness_mm = thickness_mm
        self.slice_profile = checked_profile(slice_profile)
        self.with_image = with_image
        self.rounded = rounded
        self.calibration = calibration
        self.on_progress: Progress | None = None
        self.notes: list[str] = []

    def __call__(self, inputs: torch.Tensor, network: Any = None, *args: Any, **kwargs: Any) -> MetaTensor:
        """Reconstruct a batch.

        Args:
            inputs: (B, C, X, Y, K) MetaTensor: channel 0 HU, channel 1, for mask methods, a label map; slices along
                the last axis. All of a batch have the slices of the first.
            network: see ``from_network``.

        Returns:
            (B, 1, X, Y, Z) MetaTensor, float32 HU (int16: see ``rounded``), or labels from a mask method: the first
            slice where the input's first is, the last not beyond its last. ``meta["content"]`` is ``"hu"`` or
            ``"mask"``; ``meta["expected_error"]`` (X, Y, Z) the expected absolute error in HU, of a method that gives
            it; ``meta["notes"]`` the input's notes and the method's; ``meta["nodules"]``, JSON, the sizes of a mask's
            parts.

        Raises:
            InputError: an unknown method, a spacing of 0 or less, no affine, another number of axes, fewer than two
                slices, or a mask method without a mask.
        """
        if not isinstance(inputs, MetaTensor) or inputs.ndim != 5:
            raise InputError(
                f"a {type(inputs).__name__} of shape {tuple(inputs.shape)} can't be made dense: "
                "expected a MetaTensor (B, 1, X, Y, K), whose affine says where the slices are"
            )
        results = [self._one(item_of(inputs, i), network) for i in range(len(inputs))]
        if len({tuple(r.shape) for r in results}) > 1:
            raise InputError("volumes of different spacing can't be one batch: use a batch size of 1")
        batched = inputs.affine.ndim == 3
        meta = {**inputs.meta, **as_batch(results[0].meta, batched)}
        out = MetaTensor(
            # of one volume no copy, which would be as large as all else together
            results[0].as_tensor()[None] if len(results) == 1 else torch.stack([r.as_tensor() for r in results]),
            affine=torch.stack([r.affine for r in results]) if batched else results[0].affine,
            meta={k: v for k, v in meta.items() if k != "affine"},
        )
        out.is_batch = batched
        return out

    def _chosen(self, observed: ObservedSlices) -> tuple[str, SliceInferer]:
        """The method by its name, with its calibration."""
        name = chosen_names([self.method], [AUTO, *self.methods], "method")[0]
        if name == AUTO:
            name, reason = choose(self.methods, observed)
            self._note([reason])
        made = self.methods[name]
        method = made if isinstance(made, SliceInferer) else made()
        if self.calibration is not None:
            method.calibrate(name, read_calibrations(self.calibration))
        return name, method

    def _one(self, volume: MetaTensor, network: Any) -> MetaTensor:
        """(C, X, Y, K) to (1, X, Y, Z)."""
        affine = volume.affine.double().cpu().numpy()
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        step = float(spacing[0]) if self.slice_spacing is None else self.slice_spacing
        positions = slice_positions(volume)
        targets = dense_targets(positions, step)
        told = volume.meta.get("slice_thickness") or None if self.thickness_mm is None else self.thickness_mm
        template = ObservedSlices(
            None, None, positions, targets, (float(spacing[0]), float(spacing[1])), self.seed,
            thickness_mm=checked_thickness(0.0 if told is None else told), profile=self.slice_profile,
        )  # fmt: skip
        self.notes = []
        name, method = self._chosen(template)
        if method.kind == "image":
            self._note(grid_notes(spacing, positions, step, template.thickness_mm, told is not None))
        gaps = gaps_in_words(positions)
        log.info("%s: %d slices %s mm apart to %d at %.4g mm", name, len(positions), gaps, len(targets), step)
        data = volume.as_tensor().detach().cpu().numpy()
        if method.kind == "mask" and len(data) < 2:
            raise InputError(f"--method {name} fills in a mask, and there is none: give one by --mask")
        padding = volume.meta.get("padding_hu")
        keeps = self.keep_observed and not template.thickness_mm
        kept = observed_index(positions, targets) if keeps else np.full(len(targets), -1)
        finishing = partial(finish, kept=kept, places=template, padding=padding)
        error, image = None, None
        if method.kind == "mask":
            if method.reads_image:
                template = dataclasses.replace(template, image=to_unit(data[0].astype(np.float64)))
            dense = self._carried(data[1], template, method, name)
            if self.with_image:  # the brightness under the mask
                image, _ = self._tiled(data[0], template, PchipInferer(), "pchip", None, padding, finishing)
        else:
            dense, error = self._tiled(data[0], template, method, name, network, padding, finishing)
            if error is not None:
                error *= HU_RANGE
                error[..., kept >= 0] = 0
            self._note(beyond_scanner(dense, data[0]))
        new = affine * [1, 1, step / spacing[2], 1]
        meta = {
            "method": name,
            "sample": NOTE if method.sample else "",
            "content": "hu" if method.kind == "image" else "mask",
            "slice_positions": targets,
            "observed_positions": positions,
            "observed_kept": keeps,
            "spatial_shape": np.array(dense.shape),
            "original_affine": new,
            "notes": "\n".join(dict.fromkeys([*notes_of(volume), *self.notes])),
            "nodules": json.dumps(sizes_of(dense, [*spacing[:2], step]) if method.kind == "mask" else None),
        } | {key: value for key, value in (("expected_error", error), ("dense_image", image)) if value is not None}
        return MetaTensor(torch.from_numpy(dense)[None], affine=torch.from_numpy(new), meta=meta)

    def _carried(self, labels: np.ndarray, template: ObservedSlices, method: SliceInferer, name: str) -> np.ndarray:
        """Each nodule of a label map by itself; (X, Y, Z) float32 labels."""

        def carry(mask: np.ndarray) -> np.ndarray:
            result = method.reconstruct(dataclasses.replace(template, mask=mask))
            assert result.mask is not None
            self._note(result.notes)
            return result.mask

        with ProgressBars("tile", keep=True, show=self.progress) as bars:
            told = self.on_progress or bars(name)
            made = carry_parts(labels, template.spacing, carry)
            told(1, 1, "")
        return made.astype(np.float32)

    def _note(self, notes: Sequence[str]) -> None:
        for note in [note for note in notes if note not in self.notes]:
            self.notes.append(note)
            log.info(note)

    def _tiled(
        self,
        data: np.ndarray,
        template: ObservedSlices,
        method: SliceInferer,
        name: str,
        network: Any,
        padding: float | None,
        finishing: Callable[[np.ndarray, np.ndarray], None],
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the method tile by tile; (X, Y, Z) HU and its expected error, normalised."""
        overlap = min(self.overlap, self.tile // 2) if method.in_plane else 0
        tile = self.tile if method.in_plane else column_tile(self.tile, len(template.targets))
        parts = tiles(data.shape[:2], tile, overlap)
        mean = method.prior if isinstance(method, SampleInferer) else method
        # seams are seen in the whole volume alone, and tiles are blended before they are rounded
        joined = method.in_plane or not self.keep_observed
        rounded = self.rounded and not joined
        blend = Blend((*data.shape[:2], len(template.targets)), parts, overlap, np.int16 if rounded else np.float32)
        errors, all_give_errors = None, True
        with ProgressBars("tile", keep=True, show=self.progress) as bars:
            told = self.on_progress or bars(name)
            for number, part in enumerate(parts):
                method.on_progress = partial(_within, told, number, len(parts))
                seen = dataclasses.replace(template, seed=template.seed + number)
                hu = data[part].astype(np.float64)
                result = all_hu(self._started(mean, network), hu, seen, padding)
                assert result.image is not None
                made = result.image
                if rounded:
                    made = np.array(made, dtype=np.float32)
                    finishing(made, data[part])
                    made = whole_hu(f"what {name} made", made)
                blend.add(part, made)
                all_give_errors &= result.error is not None
                if result.error is not None:
                    # the blend of two values is off by no more than the blend of their errors
                    errors = Blend(blend.volume.shape, parts, overlap) if errors is None else errors
                    errors.add(part, result.error)
                self._note(result.notes)
                told(number + 1, len(parts), "")
            method.on_progress = None
        # a map with holes would look sure where nothing is known
        error = errors.volume if errors is not None and all_give_errors else None
        if joined and template.thickness_mm and (evened := even_bends(blend.volume, template)):
            self._note([evened.note])
        if isinstance(method, SampleInferer):  # of the whole: where tiles are blended, two would be smoother than one
            whole = dataclasses.replace(template, image=to_unit(data, clip=False))
            blend.volume[...], error = method.drawn(blend.volume, error, whole), None
            self._note([NOTE])
        if not rounded:
            if not self.keep_observed and not template.thickness_mm:
                without_seams(blend.volume, observed_index(template.positions, template.targets) >= 0)
            finishing(blend.volume, data)
        return blend.volume, error

    def _started(self, method: SliceInferer, network: Any) -> SliceInferer:
        """The method; its fits start from a copy of the network if that is asked for."""
        if self.from_network and network is not None and isinstance(method, ImplicitInferer):
            method = copy.copy(method)
            method.network = lambda: copy.deepcopy(network)
        return method


def _within(told: Progress, tile: int, tiles: int, done: float, total: float, words: str) -> None:
    """A part of a tile is done; the tile itself is over when its slices are there."""
    told(tile + min(done / total, 0.999), tiles, words)
