"""Several nodules in a mask that was drawn on some slices; number formats that hold HU or do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.configs import save
from helpers.nodules import ROOT
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from scipy import ndimage

from bundle.data.parts import parts_of, sizes_of
from bundle.errors import InputError
from bundle.inferers import SignedDistanceInferer
from bundle.label import PrepareAnswer, Request, carry_mask, read_request
from bundle.label.mask import carry_labels

POSITIONS = np.arange(9) * 2.0
SPACING = (0.7, 0.7)


def ball(centre, radius, shape=(60, 40, 9)):
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    away = ((x - centre[0]) * 0.7) ** 2 + ((y - centre[1]) * 0.7) ** 2 + (z * 2.0 - centre[2]) ** 2
    return away < radius**2


def drawn_on(labels, slices):
    out = np.zeros_like(labels)
    out[..., slices] = labels[..., slices]
    return out


def test_each_nodule_comes_back_as_it_does_alone_with_its_own_value():
    one, two, three = ball((14, 20, 6), 6), ball((42, 12, 10), 5), ball((44, 31, 11), 4)
    alone = np.zeros(one.shape, np.uint8)
    labels = 1 * one + 5 * (two | three)
    drawn = drawn_on(labels, [0, 3, 4, 6, 7])
    for value, mask in ((1, one), (5, two), (5, three)):
        alone[carry_mask(drawn_on(mask, [0, 3, 4, 6, 7]), POSITIONS, SPACING, SignedDistanceInferer())] = value
    together, notes = carry_labels(drawn, POSITIONS, SPACING, SignedDistanceInferer())
    np.testing.assert_array_equal(together, alone)
    assert notes == []
    sizes = sizes_of(together, (*SPACING, 2.0))
    assert [(row["label"], row["part"]) for row in sizes] == [(1, 1), (5, 1), (5, 2)]
    assert sum(row["voxels"] for row in sizes) == (alone > 0).sum()
    assert sizes[0]["mm3"] == pytest.approx((alone == 1).sum() * 0.7 * 0.7 * 2)


def test_a_part_on_one_slice_stays_and_is_told_and_alone_it_is_refused():
    labels = drawn_on(2 * ball((14, 20, 6), 6), [1, 4]) + drawn_on(3 * ball((42, 12, 10), 5), [5])
    together, notes = carry_labels(labels, POSITIONS, SPACING, SignedDistanceInferer())
    assert (together == 3).sum() == (labels == 3).sum()
    assert notes == ["a part of label 3 is drawn on one slice alone, of 2 parts: left as it is drawn"]
    with pytest.raises(InputError, match=r"drawn on 1 slice"):
        carry_labels(np.where(labels == 3, 3, 0), POSITIONS, SPACING, SignedDistanceInferer())


def test_parts_on_every_slice_are_scipys_where_neighbouring_outlines_overlap():
    rng = np.random.default_rng(0)
    mask = ndimage.binary_dilation(rng.random((40, 40, 6)) > 0.995, np.ones((5, 5, 3)))
    expected, count = ndimage.label(mask, ndimage.generate_binary_structure(3, 1) | (np.arange(3) == 1)[None, None])
    found = parts_of(mask.astype(int), (100.0, 100.0))  # so wide that nothing is within reach
    assert len(found) == count
    for part in found:
        assert len(np.unique(expected[part.mask])) == 1


def test_an_outline_that_moves_on_belongs_to_the_nearest_one():
    labels = np.zeros((40, 9, 2), int)
    labels[3:6, 4, 0] = labels[8:11, 4, 1] = labels[30:33, 4, 1] = 1
    assert [int(part.mask.sum()) for part in parts_of(labels, (1, 1))] == [6, 3]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "float16", "bool", "complex64", "words"])
def test_a_number_format_that_cannot_hold_hu_is_refused(dtype):
    with pytest.raises(InputError, match=f"HU don't fit into result_dtype {dtype}"):
        read_request({"image": ".", "answer": "image", "result_dtype": dtype}, ["pchip"])


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_hu_are_rounded_for_whole_numbers(dtype):
    request = read_request({"image": ".", "answer": "image", "result_dtype": dtype}, ["pchip"])
    assert isinstance(request, Request)
    pred = MetaTensor(torch.tensor([[[[-850.6, -850.4, 40000.0]]]]), affine=torch.eye(4), meta={"request": request})
    out = PrepareAnswer()({"pred": pred})
    written = out["pred"].numpy().astype(out["result_dtype"])
    expected = [-851, -850, 32767] if dtype.startswith("int") else np.float32([-850.6, -850.4, 40000])
    np.testing.assert_array_equal(written.ravel(), expected)


def test_a_label_that_the_number_format_cannot_hold_is_refused():
    request = read_request({"image": ".", "answer": "mask", "result_dtype": "uint8"}, ["pchip"])
    meta = {"request": request, "source_start": [0, 0, 0], "source_shape": (1, 1, 2)}
    meta |= {"source_affine": np.eye(4), "source_stored_affine": np.eye(4)}
    pred = MetaTensor(torch.tensor([[[[0.0, 300.0]]]]), affine=torch.eye(4), meta=meta)
    with pytest.raises(Exception, match="can't hold label 300") as caught:
        PrepareAnswer()({"pred": pred})
    assert "uint16" in str(caught.value)


def test_a_mask_is_answered_with_its_measurements(tmp_path):
    labels = 1 * ball((14, 20, 8), 5) + 5 * ball((42, 20, 8), 4)
    affine = np.diag([-0.7, -0.7, 2.0, 1.0])
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser.update({"bundle_root": str(ROOT), "device": "cpu"})
    prepare, infer, answer = (
        parser.get_parsed_content(name) for name in ("pre_transforms", "inferer", "post_transforms")
    )
    asked = {
        "image": save(tmp_path / "scan.nii.gz", np.where(labels > 0, 0, -800).astype(np.int16), affine),
        "label": save(tmp_path / "drawn.nii.gz", drawn_on(labels, [2, 4, 6]).astype(np.uint8), affine),
        "method": "sphere_distance",
    }
    data = prepare[0](asked)
    result = answer[0]({**data, "pred": infer(data["image"][None])[0]})["result"]
    measured = json.loads(json.dumps(result["measurements"]))
    assert [one["label"] for one in measured] == [1, 5]
    for one, size in zip(measured, result["nodules"], strict=True):
        assert one["observed"]["volume_mm3"] == pytest.approx(size["mm3"], abs=0.1)
        assert one["observed"]["mean_hu"] == pytest.approx(0, abs=200)
        assert "growth below that cannot be told" in one["sentence"]
