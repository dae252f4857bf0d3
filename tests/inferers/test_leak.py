"""No method sees an unobserved slice: replacing them all by noise changes nothing that any method gives."""

import numpy as np
import pytest
import torch
from helpers.nodules import ROOT, small_nodule
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from bundle.inferers import METHODS
from bundle.study.case import prepare, reconstruct


def item_of(hu: np.ndarray, mask: np.ndarray) -> dict:
    tensors = [MetaTensor(torch.as_tensor(a)[None], affine=torch.eye(4).double()) for a in (hu.astype("f4"), mask)]
    return {"image": tensors[0], "label": tensors[1], "nodule_id": "n", "spacing": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [2, 1])
def test_noise_in_the_unobserved_slices_changes_nothing(method, axis):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "study.json")
    parser.update({"epochs": 2, "axis": axis, "device": "cpu", "margin_mm": None, "bundle_root": str(ROOT)})
    for name in ("hash_grid", "fourier"):
        parser.update({f"inferers#{name}": {"options": {"epochs": 2}}})
    crop, decimate = (parser.get_parsed_content(name) for name in ("crop", "decimate"))
    hu, mask = small_nodule()
    rng = np.random.default_rng(0)
    noise, holes = rng.integers(-1000, 400, hu.shape), rng.integers(0, 2, hu.shape).astype(np.uint8)
    observed = np.zeros(hu.shape[axis], bool)
    observed[::5] = True
    keep = observed.reshape([-1 if i == axis else 1 for i in range(3)])
    results = []
    for image, label in ((hu, mask), (np.where(keep, hu, noise), np.where(keep, mask, holes))):
        case = prepare(item_of(image, label), crop, decimate)
        made, _ = reconstruct(case, parser.get_parsed_content("inferers")[method](), seed=3)
        results.append(made)
    assert (results[0].error is not None) is METHODS[method].make.gives_error
    for name in ("image", "mask", "error"):
        one, other = (getattr(made, name) for made in results)
        assert (one is None) is (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
