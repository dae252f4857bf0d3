"""Masks whose sections are as large as a sphere's: exact spheres, ends, ellipsoids against Eq. 3, any masks at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bundle.errors import InputError
from bundle.inferers import ObservedSlices, SphereDistanceInferer, morphological, signed_distance, sphere_distance
from bundle.inferers.masks.distance import signed_depth
from bundle.inferers.masks.sphere import ALONE, sphere_depth, sphere_squares
from bundle.metrics.geometric import dice_score, hausdorff_mm


def ellipsoid(axes, centre=(0.0, 0.0, 0.0), spacing=(0.7, 0.7, 1.0), half=(17, 17, 15)) -> np.ndarray:
    """Voxels whose centres are inside; the middle voxel is at 0."""
    x, y, z = (np.arange(-n, n + 1) * s for n, s in zip(half, spacing, strict=True))
    place = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    return np.sum(((place - centre) / axes) ** 2, axis=-1) < 1


def random_masks(seed: int, count: int, shape=(12, 11)) -> np.ndarray:
    """Ellipses and their unions; some slices are empty, some full."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    masks = []
    for _ in range(count):
        a = np.hypot((x - rng.uniform(0, 12)) / rng.uniform(0.4, 1), y - rng.uniform(0, 11)) < rng.uniform(-2, 6)
        b = np.hypot(x - rng.uniform(0, 12), y - rng.uniform(0, 11)) < rng.uniform(-2, 4)
        masks.append(rng.choice(3) * (a | b) > 0 if rng.random() < 0.95 else np.ones(shape, bool))
    return np.stack(masks, axis=-1)


@settings(max_examples=60, deadline=None)
@given(
    radius=st.floats(2, 30),
    last=st.floats(0, 0.95),
    gap=st.floats(0.5, 8),
    where=st.integers(0, 100).map(lambda n: n / 100),
    up=st.booleans(),
)
def test_two_sections_of_a_sphere_give_the_sphere(radius, last, gap, where, up):
    at = last * radius  # the last section, above the middle
    before = at - gap
    square = lambda z: radius**2 - z**2  # noqa: E731
    if square(before) <= 0:
        return
    assert sphere_depth(square(at), square(before), gap) == pytest.approx(radius - at, rel=1e-6, abs=1e-6)
    z = before + where * gap
    # a third section tells that it is a sphere
    behind = [before - gap] if square(before - gap) > 0 else []
    positions, target = np.array([*behind, before, at]), z
    if not up:
        positions, target = -positions[::-1], -target
    squares = square(positions)
    line, share = np.interp(target, positions, squares), 1.0 if len(squares) > 2 else ALONE
    found = sphere_squares(squares, positions, np.array([target]))[0]
    if gap**2 * share <= 4 * line:
        assert found == pytest.approx(line + share * (square(z) - line), rel=1e-6)
    else:  # far apart and small: at most twice the line
        assert line <= found <= 2 * line + 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), gap=st.floats(1, 8), thin=st.floats(0.4, 1.2))
def test_between_the_sections_of_a_pillar_is_the_pillar(seed, gap, thin):
    section = random_masks(seed, 1)[..., 0]
    positions = np.arange(4) * gap
    targets = np.concatenate([positions, np.arange(0, 3 * gap, thin)])
    made = sphere_distance(np.repeat(section[..., None], 4, axis=-1), positions, targets, (0.7, 0.7))
    assert np.array_equal(made, np.repeat(section[..., None], len(targets), axis=-1))


@pytest.mark.parametrize("radius", [5.0, 7.0, 10.0])
def test_the_volume_of_a_ball(radius):
    """Over every first slice. Ends are blunt, as where they lie is uncertain: of a ball they hold too much."""
    spacing = (0.6, 0.6, 1.0)
    truth = ellipsoid((radius,) * 3, centre=(0.13, -0.21, 0.3), spacing=spacing, half=(22, 22, 18))
    z = np.arange(truth.shape[2]) * spacing[2]
    whole, between = [], []
    for first in range(4):
        kept = np.arange(first, len(z), 4)
        made = sphere_distance(truth[..., kept], z[kept], z, spacing[:2])
        met = kept[truth[..., kept].any(axis=(0, 1))]
        inner = slice(met[0], met[-1] + 1)
        whole.append(made.sum() / truth.sum())
        between.append(made[..., inner].sum() / truth[..., inner].sum())
    np.testing.assert_allclose(between, 1, atol=0.02)
    assert np.mean(whole) == pytest.approx(1.015, abs=0.02)


def test_a_section_has_the_area_that_is_asked_for():
    """Against a brute-force search of all levels of the same distances, of outlines without symmetry."""
    rng = np.random.default_rng(1)
    blobs = np.repeat(gaussian_filter(rng.standard_normal((30, 28, 1)), (3, 3, 0)) > 0.02, 2, axis=2)
    positions, targets = np.array([0.0, 5.0]), np.array([2.0])
    squares = blobs.sum(axis=(0, 1)) * 0.49 / np.pi
    wanted = round(float(sphere_squares(squares, positions, targets)[0] * np.pi / 0.49))
    made = sphere_distance(blobs, positions, targets, (0.7, 0.7))[..., 0]
    field = 0.6 * signed_depth(blobs[..., 0], (0.7, 0.7)) + 0.4 * signed_depth(blobs[..., 1], (0.7, 0.7))
    rings = [np.count_nonzero(field >= level) for level in np.unique(field)]
    assert abs(made.sum() - wanted) <= 1 < min(abs(ring - wanted) for ring in rings)
    # no voxel is left out that is deeper, by more than the half pixels of both outlines, than one that is in
    assert field[~made].max() <= field[made].min() + 0.7


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6), beyond=st.sampled_from(["half", "hold", "empty"]))
def test_squares_of_any_sections(seed, count, beyond):
    rng = np.random.default_rng(seed)
    squares = np.maximum(rng.uniform(-10, 40, count), 0)
    # to a hundredth of a mm: a target that is nearly a slice, or nearly half-way, is taken to be just that
    positions = (np.cumsum(rng.uniform(0.3, 8, count)) - 5).round(2)
    targets = np.unique(np.concatenate([positions, rng.uniform(positions[0] - 9, positions[-1] + 9, 40).round(2)]))
    out = sphere_squares(squares, positions, targets, beyond)
    assert np.all(out >= 0)
    assert np.array_equal(out[np.isin(targets, positions)], squares)
    for k in range(count - 1):
        inside = (targets > positions[k]) & (targets < positions[k + 1])
        low, up, gap = squares[k], squares[k + 1], positions[k + 1] - positions[k]
        found, at = out[inside], (targets[inside] - positions[k]) / gap
        if low > 0 and up > 0:
            line = low + at * (up - low)
            assert np.all((found >= line - 1e-9) & (found <= 2 * line + 1e-9))
        elif low > 0 or up > 0:  # falls from the section, to nothing at two thirds of the gap at most
            far = at if low > 0 else (1 - at)[::-1]
            falling = found if low > 0 else found[::-1]
            assert np.all(np.diff(falling) <= 1e-9)
            assert np.all(falling <= max(low, up))
            assert not np.any(falling[far >= 2 / 3])
        else:
            assert not np.any(found)
    for end, gap, past in (
        (0, positions[1] - positions[0], positions[0] - targets),
        (-1, positions[-1] - positions[-2], targets - positions[-1]),
    ):
        outside = past > 0
        if beyond == "hold":
            assert np.all(out[outside] == squares[end])
        else:
            assert not np.any(out[outside & (past >= gap / 2 * (beyond == "half"))])
            assert np.all(out[outside] <= squares[end])
    # mirrored along z
    mirrored = sphere_squares(squares[::-1], -positions[::-1], -targets[::-1], beyond)[::-1]
    np.testing.assert_allclose(mirrored, out, rtol=1e-6, atol=1e-9)
    # any unit of length
    np.testing.assert_allclose(
        sphere_squares(squares * 9, positions * 3, targets * 3, beyond), out * 9, rtol=1e-6, atol=1e-9
    )


def test_a_section_larger_than_the_one_before_it_is_the_largest():
    middles = np.random.default_rng(0).uniform(-1.5, 1.5, 100_000)  # none before it: cut anywhere in 3 mm
    assert sphere_depth(16.0, 0.0, 3.0) ** 2 == pytest.approx(np.mean(16 + middles**2), rel=1e-3)
    assert sphere_depth(16.0, 2.0, 3.0) == 4.0
    assert sphere_depth(16.0, 7.0, 3.0) == 4.0  # just as far: 16 = 7 + 3^2
    assert 0 < sphere_depth(16.0, 16.0, 3.0) < 4.0
    assert sphere_depth(16.0, 400.0, 3.0) < 0.2  # a steep flank ends soon


@pytest.mark.parametrize("stride", [5, 7])
@pytest.mark.parametrize("axes", [(9, 9, 9), (10, 7, 8), (6, 6, 10), (8, 11, 6)])
def test_ellipsoids_come_nearer_than_by_eq_3_and_by_distances_alone(axes, stride):
    spacing = (0.7, 0.7, 1.0)
    found: dict[str, list] = {"eq3": [], "signed": [], "sphere": []}
    for offset in range(stride):
        truth = ellipsoid(axes, centre=(0.3, -0.2, 0.2))
        z = np.arange(truth.shape[2]) * spacing[2]
        kept = np.arange(offset, len(z), stride)
        masks = truth[..., kept]
        made = {
            "eq3": morphological(masks, z[kept], z),
            "signed": signed_distance(masks, z[kept], z, spacing[:2]),
            "sphere": sphere_distance(masks, z[kept], z, spacing[:2]),
        }
        for name, mask in made.items():
            found[name].append((dice_score(mask, truth), hausdorff_mm(mask, truth, spacing)))
    dsc, hd = ({name: np.mean(values, axis=0)[i] for name, values in found.items()} for i in (0, 1))
    assert dsc["sphere"] > dsc["signed"]
    assert dsc["sphere"] > dsc["eq3"] + 0.015
    assert hd["sphere"] < min(hd["eq3"], hd["signed"])


def test_the_area_of_a_ball_between_its_sections():
    spacing = (0.5, 0.5, 0.5)
    truth = ellipsoid((9, 9, 9), spacing=spacing, half=(20, 20, 19))
    z = np.arange(39) * 0.5
    kept = np.array([6, 12, 19, 30])  # uneven, all within the ball
    made = sphere_distance(truth[..., kept], z[kept], z, spacing[:2])
    between = slice(6, 31)
    area, true = (mask[..., between].sum(axis=(0, 1)) for mask in (made, truth))
    assert np.all((area / true > 0.98) & (area / true < 1.1))  # a level takes all voxels that are as deep
    assert area.sum() / true.sum() == pytest.approx(1, abs=0.02)
    assert dice_score(made[..., between], truth[..., between]) > 0.97


def test_discs_that_do_not_overlap_stay_connected_in_size():
    x, y = np.meshgrid(np.arange(30.0), np.arange(20.0), indexing="ij")
    masks = np.stack([np.hypot(x - 8, y - 10) < 4, np.hypot(x - 20, y - 10) < 4], axis=-1)
    positions, targets = np.array([0.0, 4.0]), np.arange(5.0)
    assert not signed_distance(masks, positions, targets)[..., 2].any()  # which the distances alone lose
    area = sphere_distance(masks, positions, targets).sum(axis=(0, 1))
    assert np.all(area >= masks[..., 0].sum())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6), beyond=st.sampled_from(["half", "hold", "empty"]))
def test_what_holds_for_any_masks(seed, count, beyond):
    rng = np.random.default_rng(seed)
    masks = random_masks(seed, count)
    gaps = rng.integers(1, 9, count - 1)
    positions = np.concatenate([[0.0], np.cumsum(gaps)])
    targets = np.arange(-8.0, positions[-1] + 9)
    spacing = (0.5, 0.75)
    made = SphereDistanceInferer(beyond=beyond).reconstruct(ObservedSlices(None, masks, positions, targets, spacing))
    out = made.mask
    assert out.dtype == bool
    assert out.shape == (12, 11, len(targets))
    observed = np.isin(targets, positions)
    assert np.array_equal(out[..., observed], masks)
    met = masks.any(axis=(0, 1))
    assert bool(made.notes) is not met.any()
    counts = out.sum(axis=(0, 1))
    wanted = sphere_squares(masks.sum(axis=(0, 1)) * 0.375 / np.pi, positions, targets, beyond) * np.pi / 0.375
    assert np.all(counts >= np.minimum(np.floor(wanted), masks[..., 0].size))  # no less than a sphere's area
    assert not np.any(counts[wanted < 0.5])
    for z, target in enumerate(targets):
        near = np.searchsorted(positions, target)
        if 0 < near < count and not met[near - 1] and not met[near] and not observed[z]:
            assert counts[z] == 0  # nothing between two empty slices
    # wherever the nodule lies in space, and however the field of view is turned
    moved = sphere_distance(masks, positions + 64, targets + 64, spacing, beyond)
    assert np.array_equal(moved, out)
    assert np.array_equal(sphere_distance(masks[::-1, ::-1], positions, targets, spacing, beyond), out[::-1, ::-1])
    turned = sphere_distance(masks.swapaxes(0, 1), positions, targets, spacing[::-1], beyond)
    assert np.array_equal(turned, out.swapaxes(0, 1))


def test_nothing_past_an_observed_empty_slice():
    ball = ellipsoid((10, 10, 3))
    masks = np.zeros((*ball.shape[:2], 5), bool)
    masks[..., 2] = ball[..., 15]
    positions = np.array([0.0, 6, 7, 16, 20])  # 1 mm to one side, 9 mm to the other
    targets = np.arange(0, 20.01, 0.1)
    met = targets[sphere_distance(masks, positions, targets, (0.7, 0.7)).any(axis=(0, 1))]
    assert met.min() > 7 - 2 / 3 - 1e-9
    assert met.max() < 7 + 6
    assert met.max() > 7 + 5  # a radius of 10 mm goes on for as far as it may


def test_half_a_gap_beyond_the_last_mask():
    ball = ellipsoid((10, 10, 10))
    masks = ball[..., [12, 15, 18]]
    positions, targets = np.array([0.0, 3, 6]), np.arange(-5, 11.01, 0.1)
    met = targets[sphere_distance(masks, positions, targets, (0.7, 0.7)).any(axis=(0, 1))]
    assert -1.5 < met.min() < -1.2
    assert 7.2 < met.max() < 7.5
    below = sphere_distance(masks, positions, np.array([-1.2, -0.6, 0.0]), (0.7, 0.7)).sum(axis=(0, 1))
    assert 0 < below[0] < below[1] <= below[2]
    held = sphere_distance(masks, positions, targets, (0.7, 0.7), beyond="hold")
    assert np.array_equal(held[..., 0], masks[..., 0])


def test_nested_discs_stay_nested():
    x, y = np.meshgrid(np.arange(-20, 21), np.arange(-20, 21), indexing="ij")
    masks = np.stack([np.hypot(x, y) < 6, np.hypot(x, y) < 15], axis=-1)
    out = sphere_distance(masks, np.array([0.0, 8.0]), np.arange(9.0))
    assert np.all(out[masks[..., 0]])
    assert np.all(np.diff(out.sum(axis=(0, 1))) >= 0)


def test_full_and_empty_masks():
    full = np.ones((6, 5, 2), bool)
    assert sphere_distance(full, np.array([0.0, 4.0]), np.arange(5.0)).all()
    assert not sphere_distance(~full, np.array([0.0, 4.0]), np.arange(-3.0, 8.0)).any()
    full[..., 1] = False
    out = sphere_distance(full, np.array([0.0, 4.0]), np.arange(5.0))
    assert out[..., 0].all()
    assert not out[..., 3:].any()


def test_bad_input():
    with pytest.raises(InputError, match="needs the observed masks"):
        SphereDistanceInferer().reconstruct(ObservedSlices(np.zeros((3, 3, 2)), None, np.arange(2.0), np.arange(2.0)))
    with pytest.raises(InputError, match='give "hold", "half" or "empty"'):
        SphereDistanceInferer(beyond="extrapolate")
