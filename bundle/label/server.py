"""The three parts that MONAI Label calls, in its order: prepare the request, infer, prepare the answer.

MONAI Label's ``BundleInferTask`` reads them from ``configs/inference.json`` by name: ``pre_transforms``, ``inferer``
and ``post_transforms``. Whatever a client got wrong reaches it as one sentence with HTTP status 400, and the server
goes on. The request travels from part to part in the meta of the image.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from bundle.data.notes import add_notes, notes_of
from bundle.data.parts import sizes_of
from bundle.errors import InputError, mistake_behind
from bundle.inferers import DenseInferer, SliceInferer
from bundle.label.mask import carry_labels, onto_full_grid, threshold_nodule
from bundle.label.request import INT16_HU, Request, holds, read_request
from bundle.progress import Progress
from bundle.transforms import CropRegiond, slice_positions
from bundle.transforms.region import as_voxel

log = logging.getLogger(__name__)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a client's mistake into what the web server answers with status 400.

    Raises:
        HTTPException: starlette's, for an :class:`InputError`; that itself where starlette is not installed.
    """
    try:
        yield
    except Exception as fault:
        mistake = mistake_behind(fault)
        if mistake is None:
            raise
        # what are options on the command line are parameters of a request
        told = re.sub(r"--(?=\w)", "", str(mistake))
        log.warning("request refused: %s", told)
        try:
            from starlette.exceptions import HTTPException
        except ImportError:
            raise mistake from None
        raise HTTPException(status_code=400, detail=told) from None


class PrepareRequest:
    """Check a request, load its image and mask, cut the region.

    Args:
        preprocessing: the bundle's own, with a :class:`CropRegiond` in it.
        methods: what can be asked for.

    Example:
        >>> from bundle.data import LoadVolumed
        >>> prepare = PrepareRequest(Compose([LoadVolumed("image"), CropRegiond("image")]), ["pchip"])
        >>> prepare({"image": "scan.nii.gz", "center": "10, 20, -30", "size_mm": 40})  # doctest: +SKIP
    """

    def __init__(self, preprocessing: Compose, methods: Sequence[str]) -> None:
        self.preprocessing = preprocessing
        self.methods = list(methods)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The request's data, ``image`` the region as (C, X, Y, Z) MetaTensor."""
        with one_sentence():
            request = read_request(data, self.methods)
            if request.answer == "mask" and request.mask is None and request.center is None:
                raise InputError(
                    "neither a mask nor a centre says where the nodule is: draw it on at least 2 slices and submit "
                    "that label, or give center"
                )
            item: dict[Hashable, Any] = {"image": request.image, "size_mm": request.size_mm}
            if request.center is not None:
                item |= {"center": request.center, "center_unit": request.center_unit}
            if request.mask is not None and (request.answer == "mask" or request.center is None):
                item["mask"] = request.mask
            source: dict[str, Any] = {}
            for transform in self.preprocessing.transforms:
                if isinstance(transform, CropRegiond):
                    source = _source_of(item["image"], transform.box(item)[0], request)
                item = transform(item)
            out = {**data, "image": item["image"]}
            out["image"].meta.update(source, request=request)
            log.info("region of %s voxels for %s", tuple(out["image"].shape[1:]), asdict(request))
            return out


def _source_of(volume: MetaTensor, start: np.ndarray, request: Request) -> dict[str, Any]:
    """What brings a region back onto the grid of its file, and where in it the centre is, as meta."""
    affine = np.asarray(volume.affine, dtype=float)
    centre = None
    if request.center is not None:
        centre = as_voxel(volume, np.array(request.center), request.center_unit) - start
    return {
        "region_centre": centre,
        "source_start": np.asarray(start),
        "source_shape": tuple(volume.shape[1:]),
        "source_affine": affine,
        "source_stored_affine": np.asarray(volume.meta.get("original_affine", affine), dtype=float).reshape(4, 4),
    }


class ServedInferer(DenseInferer):
    """A :class:`bundle.inferers.DenseInferer` that also serves requests.

    For an image that :class:`PrepareRequest` prepared it logs its progress, gives up after the request's
    ``max_seconds``, and gives a mask where one was asked for. Any other image it makes dense, as its base does.
    """

    def __call__(self, inputs: torch.Tensor, network: Any = None, *args: Any, **kwargs: Any) -> MetaTensor:
        """(1, C, X, Y, K) to (1, 1, X, Y, Z) HU, or (1, 1, X, Y, K) labels for the answer "mask"."""
        request = inputs.meta.get("request") if isinstance(inputs, MetaTensor) else None
        if not isinstance(request, Request):
            return super().__call__(inputs, network, *args, **kwargs)
        with one_sentence():
            if request.answer == "mask":
                return self._mask(inputs, request)
            self.progress, self.on_progress = False, _watch(request)
            self.rounded = False  # a client may ask for fractions of a HU
            return super().__call__(inputs, network, *args, **kwargs)

    def _mask(self, inputs: torch.Tensor, request: Request) -> MetaTensor:
        volume = inputs[0]
        assert isinstance(volume, MetaTensor)
        data, affine = volume.as_tensor().cpu().numpy(), np.asarray(volume.affine, dtype=float)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if len(data) > 1:
            made = self.methods[request.method]
            method = made if isinstance(made, SliceInferer) else made()
            in_plane = (float(spacing[0]), float(spacing[1]))
            mask, notes = carry_labels(data[1], slice_positions(volume), in_plane, method, data[0])
            add_notes(volume, notes)
        else:
            centre = np.asarray(volume.meta["region_centre"])
            mask = threshold_nodule(data[0], centre, spacing, request.threshold_hu, np.array(request.size_mm))
        volume.meta["nodules"] = json.dumps(sizes_of(mask, spacing))
        answer = torch.from_numpy(mask.astype(np.float32))[None, None]
        return MetaTensor(answer, affine=volume.affine, meta=volume.meta)


def _watch(request: Request) -> Progress:
    """Log every tenth of the way, and stop where the time is over."""
    started, told = time.monotonic(), [0]

    def on_progress(done: float, total: float, words: str = "") -> None:
        part, seconds = done / total, time.monotonic() - started
        if int(part * 10) > told[0]:
            told[0] = int(part * 10)
            log.info("%s: %d %% after %.1f s", request.method, told[0] * 10, seconds)
        if seconds > request.max_seconds and part < 1:
            raise InputError(
                f"{request.method} was {part:.0%} through after max_seconds {request.max_seconds:g}: "
                "ask for fewer epochs, a smaller size_mm or more time"
            )

    return on_progress


def _method_of(request: Request, meta: Mapping[str, Any]) -> str:
    """What made the answer; of "auto" what it chose."""
    if request.answer == "mask":
        return request.method if request.mask else "threshold"
    made = meta.get("method", request.method)
    return str(made[0] if isinstance(made, list) else made)


class PrepareAnswer:
    """Bring what was inferred into the form in which MONAI Label writes it: grid, number format, what is in it.

    Args:
        measurements: measures the nodules of (2, X, Y, Z) HU and labels, as JSON can hold it
            (:meth:`bundle.study.measure.Measurements.nodules`); None: they are not measured.
    """

    def __init__(self, measurements: Callable[[MetaTensor], Any] | None = None) -> None:
        self.measurements = measurements

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The data, ``pred`` (1, X, Y, Z) float32 HU on the dense grid, or uint8 on the source's full grid."""
        with one_sentence():
            out = dict(data)
            pred: MetaTensor = out["pred"]
            meta = pred.meta
            request: Request = meta["request"]
            volume, affine = pred.as_tensor()[0].cpu().numpy(), np.asarray(pred.affine, dtype=float)
            measured = None
            if request.answer == "mask" and self.measurements is not None:
                region = out["image"]
                both = torch.stack([region.as_tensor()[0].cpu(), pred.as_tensor()[0].cpu()])
                measured = self.measurements(MetaTensor(both, affine=region.affine, meta=region.meta))
            if request.answer == "mask":
                labels = volume.astype(np.uint8 if volume.max() < 256 else np.uint16)
                full = onto_full_grid(
                    labels, meta["source_start"], meta["source_shape"], meta["source_affine"],
                    meta["source_stored_affine"],
                )  # fmt: skip
                volume, affine = full, meta["source_stored_affine"]
            if request.answer == "mask" and not holds(request.result_dtype, volume.max()):
                raise InputError(f"result_dtype {request.result_dtype} can't hold label {volume.max()}: ask for uint16")
            if request.answer == "image" and np.dtype(request.result_dtype).kind == "i":
                # MONAI Label would cut fractions off, which is half a HU darker
                volume = np.rint(volume).clip(*INT16_HU)
            out["pred"] = MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(affine))
            # MONAI Label resizes the answer to the shape of the image and writes it with the image's first affine
            out["image"] = MetaTensor(torch.zeros(1, 1, 1, 1), affine=torch.from_numpy(affine))
            out["image"].meta.update(spatial_shape=volume.shape, original_affine=affine)
            out["result_dtype"] = request.result_dtype
            if not out.get("result_extension") and Path(request.image).is_dir():
                out["result_extension"] = ".nii.gz"
            out["result"] = {
                "answer": request.answer,
                "method": _method_of(request, meta),
                "notes": notes_of(pred),
                "voxels_in_mask": int((volume > 0).sum()) if request.answer == "mask" else None,
                "nodules": json.loads(meta.get("nodules", "null")) if request.answer == "mask" else None,
                "measurements": measured,
            }
            return out
