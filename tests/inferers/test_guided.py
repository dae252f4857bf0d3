"""Outlines guided by brightness: the contrast, what it moves and what it can't, notes, MONAI's call, the label tool."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from bundle.errors import InputError
from bundle.inferers import (
    DenseInferer,
    GuidedDistanceInferer,
    LinearInferer,
    ObservedSlices,
    PchipInferer,
    SignedDistanceInferer,
    SphereDistanceInferer,
    sphere_distance,
    tissue_contrast,
)
from bundle.label import carry_mask
from bundle.metrics.geometric import dice_score
from bundle.transforms import to_hu

SPACING = (0.7, 0.7)


def leaning_nodule(count: int = 21) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube whose section goes to and fro along x between observed slices, where masks alone can't see it.

    Returns:
        normalised image and mask (X, Y, Z), positions in mm.
    """
    z = np.arange(count) * 1.0
    x, y = np.meshgrid(np.arange(32) * 0.7, np.arange(24) * 0.7, indexing="ij")
    centre = 11 + 2 * np.sin(2 * np.pi * z / 5)
    mask = np.hypot(x[..., None] - centre, (y - 8)[..., None]) < 5
    return np.where(mask, 0.7, 0.1), mask, z


def observed(image, mask, z, stride=5, **options) -> ObservedSlices:
    return ObservedSlices(image[..., ::stride], mask[..., ::stride], z[::stride], z, SPACING, **options)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_contrast_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    seen, masks = rng.uniform(0, 1, (9, 8, 3)), rng.random((9, 8, 3)) < 0.3
    masks[..., 2] = False  # a slice without mask tells nothing of what is around the nodule
    inside, around = [], []
    for k in range(2):
        place = np.argwhere(masks[..., k]) * [0.9, 1.4]
        for i, j in np.ndindex(9, 8):
            if masks[i, j, k]:
                inside.append(seen[i, j, k])
            elif len(place) and np.linalg.norm(place - [i * 0.9, j * 1.4], axis=1).min() < 4:
                around.append(seen[i, j, k])
    image = rng.uniform(0, 1, (9, 8, 5))
    found = tissue_contrast(image, seen, masks, (0.9, 1.4))
    nodule, lung = (np.median(v) if v else np.nan for v in (inside, around))
    if not nodule > lung:
        assert found is None
        return
    steepness = 2 / max(nodule - lung, 1 / 7)
    np.testing.assert_allclose(found, np.clip((image - (nodule + lung) / 2) * steepness, -1, 1), atol=1e-12)


def test_contrast_where_there_is_none():
    image, mask = np.full((6, 6, 2), 0.4), np.zeros((6, 6, 2), bool)
    assert tissue_contrast(image, image, mask) is None  # no nodule
    assert tissue_contrast(image, image, ~mask) is None  # nothing around it
    mask[2:4, 2:4] = True
    assert tissue_contrast(image, image, mask) is None  # no difference
    assert tissue_contrast(image, np.where(mask, 0.2, 0.4), mask) is None  # a hole


def test_the_brightness_moves_outlines_to_where_the_nodule_is():
    image, mask, z = leaning_nodule()
    seen = observed(image, mask, z)
    blind = SphereDistanceInferer().reconstruct(seen).mask
    scores = [dice_score(GuidedDistanceInferer(weight_mm=w).reconstruct(seen, image).mask, mask) for w in (0, 0.5, 1)]
    assert scores[0] == dice_score(blind, mask)
    assert scores[0] + 0.01 < scores[1] < scores[2] - 0.01
    # sections are as large as without it
    guided = GuidedDistanceInferer().reconstruct(seen, image).mask
    np.testing.assert_allclose(guided.sum(axis=(0, 1)), blind.sum(axis=(0, 1)), atol=8)
    # what PCHIP makes of the observed slices knows of no lean: nothing to be gained, nothing lost
    guided = GuidedDistanceInferer().reconstruct(seen).mask
    assert dice_score(guided, mask) > scores[0] - 0.01


def test_a_vessel_is_not_let_in():
    image, mask, z = leaning_nodule()
    mask[...] = mask[..., :1]
    image = np.where(mask, 0.7, 0.1)
    image[:, 11:13] = 0.7  # through the nodule and far beyond it
    made = GuidedDistanceInferer().reconstruct(observed(image, mask, z)).mask
    assert np.count_nonzero(made & ~mask) <= 0.02 * np.count_nonzero(mask)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 5), weight=st.floats(0, 1.5))
def test_what_holds_for_any_input(seed, count, weight):
    rng = np.random.default_rng(seed)
    masks = rng.random((10, 9, count)) < rng.uniform(0, 1, count)
    image = rng.uniform(0, 1, masks.shape)
    positions = np.concatenate([[0.0], np.cumsum(rng.integers(1, 9, count - 1))])
    targets = np.arange(-6.0, positions[-1] + 7)
    method = GuidedDistanceInferer(weight_mm=weight)
    made = method.reconstruct(ObservedSlices(image, masks, positions, targets, SPACING))
    alone = sphere_distance(masks, positions, targets, SPACING)
    assert np.array_equal(made.mask[..., np.isin(targets, positions)], masks)
    assert not made.mask[..., ~alone.any(axis=(0, 1))].any()  # the brightness adds no section
    again = method.reconstruct(ObservedSlices(image, masks, positions + 32, targets + 32, SPACING, seed=5))
    assert np.array_equal(again.mask, made.mask)
    mirrored = method.reconstruct(ObservedSlices(image[::-1], masks[::-1], positions, targets, SPACING))
    assert np.array_equal(mirrored.mask, made.mask[::-1])
    if weight == 0:
        assert np.array_equal(made.mask, alone)


def test_without_brightness_to_look_at_it_says_so():
    image, mask, z = leaning_nodule()
    blind = SphereDistanceInferer().reconstruct(observed(image, mask, z)).mask
    made = GuidedDistanceInferer().reconstruct(ObservedSlices(None, mask[..., ::5], z[::5], z, SPACING))
    assert np.array_equal(made.mask, blind)
    assert made.notes == ["no image was given: the outlines follow the observed masks alone"]
    dark = GuidedDistanceInferer().reconstruct(observed(1 - image, mask, z))
    assert np.array_equal(dark.mask, blind)
    assert "not brighter" in dark.notes[0]
    nothing = GuidedDistanceInferer().reconstruct(observed(image, np.zeros_like(mask), z))
    assert not nothing.mask.any()
    assert nothing.notes == ["no observed slice meets the nodule: the reconstructed mask is empty"]
    assert not GuidedDistanceInferer().reconstruct(observed(image, mask, z)).notes


@pytest.mark.parametrize("image_method", [LinearInferer(), LinearInferer])
def test_any_image_method(image_method):
    image, mask, z = leaning_nodule()
    seen = observed(image, mask, z)
    made = GuidedDistanceInferer(image_method, weight_mm=1.0).reconstruct(seen).mask
    filled = LinearInferer().reconstruct(seen).image
    assert np.array_equal(made, GuidedDistanceInferer(weight_mm=1.0).reconstruct(seen, filled).mask)
    assert isinstance(GuidedDistanceInferer().image_method, PchipInferer)


def test_call_as_monai_does():
    image, mask, z = leaning_nodule()
    where = {"positions": z[::5], "targets": z, "spacing": SPACING}
    expected = GuidedDistanceInferer().reconstruct(observed(image, mask, z)).mask
    array = GuidedDistanceInferer()(mask[..., ::5], image=image[..., ::5], **where)
    assert np.array_equal(array > 0, expected)
    pair = torch.as_tensor(mask[..., ::5])[None, None].float().repeat(2, 1, 1, 1, 1)
    bright = torch.as_tensor(image[..., ::5])
    batch = GuidedDistanceInferer()(pair, image=bright, **where)
    assert batch.shape == (2, 1, *mask.shape)
    assert np.array_equal(batch[1, 0].numpy() > 0, expected)
    alone = GuidedDistanceInferer()(mask[..., ::5], **where)
    assert np.array_equal(alone, SphereDistanceInferer()(mask[..., ::5], image=image[..., ::5], **where))


def test_a_dense_volume_is_guided_by_its_image():
    image, mask, z = leaning_nodule()
    image = np.roll(image, 3, axis=0)  # the mask is drawn beside it
    both = np.stack([to_hu(image[..., ::5]), mask[..., ::5]])
    volume = MetaTensor(torch.as_tensor(both)[None].float(), affine=torch.diag(torch.tensor([0.7, 0.7, 5, 1])).double())
    guided = GuidedDistanceInferer(weight_mm=1)
    dense = DenseInferer({"guided": guided}, "guided", slice_spacing=1.0, progress=False)(volume)
    expected = guided.reconstruct(observed(image, mask, z)).mask
    assert np.array_equal(dense[0, 0].numpy() > 0, expected)
    assert not np.array_equal(expected, SphereDistanceInferer().reconstruct(observed(image, mask, z)).mask)


def test_a_drawn_mask_is_carried_by_the_image_of_every_slice():
    image, mask, z = leaning_nodule()
    drawn = np.zeros_like(mask)
    drawn[..., [0, 5, 10, 20]] = mask[..., [0, 5, 10, 20]]
    hu, method = to_hu(image), GuidedDistanceInferer(weight_mm=1.0)
    guided = carry_mask(drawn, z, SPACING, method, hu)
    assert dice_score(guided, mask) > dice_score(carry_mask(drawn, z, SPACING, method), mask) + 0.02
    assert np.array_equal(guided[..., [0, 5, 10, 20]], mask[..., [0, 5, 10, 20]])
    plain = SignedDistanceInferer()
    assert np.array_equal(carry_mask(drawn, z, SPACING, plain, hu), carry_mask(drawn, z, SPACING, plain))


def test_bad_input():
    image, mask, z = leaning_nodule()
    with pytest.raises(InputError, match="weight_mm=-1"):
        GuidedDistanceInferer(weight_mm=-1)
    with pytest.raises(InputError, match="SignedDistanceInferer gives no image"):
        GuidedDistanceInferer(SignedDistanceInferer)
    with pytest.raises(InputError, match='give "hold", "half" or "empty"'):
        GuidedDistanceInferer(beyond="grow")
    with pytest.raises(InputError, match="needs the observed masks"):
        GuidedDistanceInferer().reconstruct(ObservedSlices(image, None, z, z))
    image[3, 4, 5] = np.nan
    with pytest.raises(InputError, match=r"1 observed voxel\(s\) are nan"):
        GuidedDistanceInferer().reconstruct(observed(image, mask, z))
