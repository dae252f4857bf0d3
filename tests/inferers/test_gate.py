"""The gate against a loop over voxels, and what flow, kriging and gate have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from bundle.data import open_source
from bundle.errors import InputError
from bundle.inferers import (
    CubicInferer,
    DenseInferer,
    FlowInferer,
    GateInferer,
    KrigingInferer,
    ObservedSlices,
    PchipInferer,
)
from bundle.inferers.interpolation.gate import DENSITIES_HU, WEIGHTS, gate
from bundle.metrics.radiometric import psnr
from bundle.metrics.regions import slice_region, slice_sets
from bundle.study.case import prepare
from bundle.transforms import CropWithMargind, Decimate, to_unit

ALL = [FlowInferer, KrigingInferer, GateInferer]


def random_slices(seed: int, count: int, shape=(9, 7), dtype=np.float64) -> ObservedSlices:
    """Uneven positions; targets at all of them, between them, and 3 mm beyond the ends."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.uniform(0.5, 8.0, count)) - 7
    between = rng.uniform(positions[0] - 3, positions[-1] + 3, 12)
    targets = rng.permutation(np.concatenate([positions, between]))
    spacing = tuple(rng.uniform(0.5, 1.5, 2))
    return ObservedSlices(rng.random((*shape, count)).astype(dtype), None, positions, targets, spacing, seed)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6), dtype=st.sampled_from([np.float32, np.float64]))
@pytest.mark.parametrize("method", ALL)
def test_observed_slices_exactly_ends_held_range_kept_and_the_same_twice(method, seed, count, dtype):
    seen = random_slices(seed, count, dtype=dtype)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    out = method().reconstruct(seen).image
    assert out.shape == (9, 7, count + 12)
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1
    for z, target in enumerate(seen.targets):
        for k in np.flatnonzero(seen.positions == np.clip(target, seen.positions[0], seen.positions[-1])):
            np.testing.assert_array_equal(out[..., z], seen.image[..., k])
    np.testing.assert_array_equal(method().reconstruct(seen).image, out)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("method", ALL)
def test_each_target_is_made_by_itself(method):
    """Whatever other slices are wanted, and in whatever order."""
    seen = random_slices(4, 5)
    whole = method().reconstruct(seen).image
    for z in (0, 5, 11):
        one = ObservedSlices(seen.image, None, seen.positions, seen.targets[z : z + 1], seen.spacing)
        np.testing.assert_allclose(method().reconstruct(one).image[..., 0], whole[..., z], atol=1e-12)


@pytest.mark.parametrize("method", ALL)
def test_mirrored_slices_give_mirrored_results(method):
    seen = random_slices(5, 4, shape=(14, 12))
    plain = method().reconstruct(seen).image
    turned = ObservedSlices(
        seen.image.swapaxes(0, 1)[::-1], None, seen.positions, seen.targets, (seen.spacing[1], seen.spacing[0])
    )
    made = method().reconstruct(turned).image
    # TV-L1 rounds its pyramid differently along the axes
    assert np.abs(made - plain.swapaxes(0, 1)[::-1]).mean() < 0.02


@pytest.mark.parametrize("method", ALL)
def test_a_large_volume_in_tiles_has_no_seams(method):
    """Tiles overlap, as a voxel depends on its neighbours in plane: a tiled result is nearly that of the whole."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(96, 40, 4)), (2, 2, 0.5))
    volume = MetaTensor(
        torch.as_tensor(2000 * noise - 500)[None, None], affine=torch.diag(torch.tensor([0.8, 0.8, 4, 1]))
    )
    whole, tiled = (
        DenseInferer({"it": method()}, "it", slice_spacing=1.0, tile=t, progress=False)(volume).numpy()
        for t in (96, 60)
    )
    assert not np.array_equal(whole, tiled)
    seams = np.abs(np.diff(whole - tiled, axis=2))
    assert seams.max() < 0.1 * np.abs(np.diff(whole, axis=2)).max()


@pytest.mark.parametrize("method", ALL)
def test_constants_stay(method):
    seen = ObservedSlices(np.full((8, 8, 3), 0.37), None, np.array([0.0, 2.0, 7.0]), np.linspace(-1, 8, 19))
    np.testing.assert_allclose(method().reconstruct(seen).image, 0.37, atol=1e-12)


@pytest.mark.parametrize("method", ALL)
def test_images_that_cannot_be_used(method):
    positions, targets = np.array([0.0, 5.0]), np.arange(6.0)
    with pytest.raises(InputError, match="needs the observed image and got none"):
        method().reconstruct(ObservedSlices(None, np.ones((4, 4, 2), bool), positions, targets))
    broken = np.zeros((4, 4, 2))
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="1 observed voxel"):
        method().reconstruct(ObservedSlices(broken, None, positions, targets))


def test_gate_equals_a_loop_over_voxels():
    rng = np.random.default_rng(0)
    candidates = rng.random((4, 5, 4, 3))
    made = gate(candidates)
    assert made.shape == (5, 4, 3)
    for index in np.ndindex(5, 4, 3):
        values = candidates[(slice(None), *index)]
        hu = 1400 * values.mean() - 1000
        weights = [np.interp(hu, DENSITIES_HU, column) for column in zip(*WEIGHTS, strict=True)]
        assert made[index] == pytest.approx(np.dot(weights, values), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gate_stays_among_its_candidates(seed):
    candidates = np.random.default_rng(seed).random((4, 6, 5, 2)) ** 2
    made = gate(candidates)
    assert (made >= candidates.min(axis=0) - 1e-12).all()
    assert (made <= candidates.max(axis=0) + 1e-12).all()


def test_gate_picks_by_density():
    """At the first density only the first candidate, at the last only the second; no step anywhere."""
    hu = np.linspace(-1000, 400, 2801)
    first, second = to_unit(hu) - 1e-3, to_unit(hu) + 1e-3
    made = gate([first, second], [-600.0, -200.0], [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(made[hu <= -600], first[hu <= -600])
    np.testing.assert_allclose(made[hu >= -200], second[hu >= -200])
    assert np.abs(np.diff(made)).max() < 1e-3


def test_gate_inferer_mixes_the_four():
    seen = random_slices(7, 5)
    made = [m.reconstruct(seen).image for m in (FlowInferer(), KrigingInferer(), PchipInferer(), CubicInferer("hold"))]
    np.testing.assert_array_equal(GateInferer().reconstruct(seen).image, gate(made).clip(0, 1))
    for i, one in enumerate(made):
        alone = GateInferer([0.0], [np.eye(4)[i]]).reconstruct(seen).image
        np.testing.assert_allclose(alone, one, atol=1e-12)


def test_gate_passes_notes_on_once():
    seen = random_slices(1, 2)
    notes = GateInferer().reconstruct(seen).notes
    assert len(notes) == len(set(notes)) == 4
    assert all("2 observed slices" in note for note in notes)


@pytest.mark.parametrize(
    ("densities", "weights", "words"),
    [
        ([0.0, -500.0], WEIGHTS[:2], "do not ascend"),
        ([], np.zeros((0, 4)), "do not ascend"),
        ([0.0], [[0.5, 0.5]], r"shape \(1, 2\), expected \(1, 4\)"),
        ([0.0], [[0.5, 0.6, 0, 0]], "1 in sum"),
        ([0.0], [[1.5, -0.5, 0, 0]], "0 or more"),
    ],
)
def test_gates_that_are_none(densities, weights, words):
    with pytest.raises(InputError, match=words):
        GateInferer(densities, weights)


@pytest.mark.realdata
def test_better_than_cubic_on_patients_that_nothing_was_chosen_on(real_data):
    """Between observed slices, over the field and in the tumour, mean over ten nodules."""
    source = open_source(datalist=str(real_data / "lidc_thin"))
    kept = [i for i, name in enumerate(source.ids) if int(name[10:14]) % 5 == 0][::3][:10]
    crop, decimate = CropWithMargind(["image", "label"], "label", margin_mm=10.0), Decimate(5, 0, 2)
    methods = {"cubic": CubicInferer(), "flow": FlowInferer(), "kriging": KrigingInferer(), "gate": GateInferer()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for i in kept:
        case = prepare(source[i], crop, decimate)
        chosen = slice_sets(case.mask.shape[2], case.observed)["interpolated"]
        between = slice_region(case.mask.shape, chosen)
        truth = to_unit(case.truth_hu)
        for name, method in methods.items():
            made = method.reconstruct(case.observed_slices()).image
            found[name].append((psnr(made, truth, between), psnr(made, truth, between & case.mask)))
    mean = {name: np.mean(values, axis=0) for name, values in found.items()}
    for name in ("flow", "kriging", "gate"):
        assert (mean[name] > mean["cubic"] + 0.2).all(), mean
    assert mean["gate"].sum() > max(mean["flow"].sum(), mean["kriging"].sum()), mean
