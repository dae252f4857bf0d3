"""Radiomic features against IBSI's published values, features counted out by hand, and what they depend on."""

import functools
import importlib.metadata
import itertools

import numpy as np
import pytest
from helpers.ibsi_phantom import EXCESS_KURTOSIS, INSIDE, PHANTOM, SPACING, VALUES
from scipy.ndimage import gaussian_filter, label
from scipy.stats import kurtosis

from bundle.errors import InputError
from bundle.metrics import RadiomicsEvaluator, Truth
from bundle.metrics.radiomics import library
from bundle.metrics.radiomics.evaluator import resampled
from bundle.metrics.radiomics.features import CLASSES, COUNTING, FEATURES, NUMBERED
from bundle.metrics.radiomics.library import compute_features

pytest.importorskip("fastrad")
NOT_IBSI = {("firstorder", "total_energy"), ("firstorder", "kurtosis"), ("glcm", "mcc")}
DIRECTIONS = [d for d in itertools.product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]


@functools.cache
def phantom():
    return compute_features(PHANTOM, PHANTOM, INSIDE, SPACING, 1.0)


def noise(shape=(9, 8, 7), seed=0, smooth=0.0):
    """HU with a mask that is no box."""
    rng = np.random.default_rng(seed)
    hu = gaussian_filter(rng.normal(0, 1, shape), smooth)
    return -200 + 120 * hu / hu.std(), rng.random(shape) < 0.8


def features(hu, mask=None, origin=-1000.0):
    levels = np.floor((hu - origin) / 25) + 1
    return compute_features(hu, levels, np.ones(hu.shape, bool) if mask is None else mask, (1.0, 1.0, 1.0), 25.0)


@pytest.mark.parametrize("feature", VALUES, ids=":".join)
def test_the_phantom_has_the_values_that_ibsi_published(feature):
    value = VALUES[feature]
    # published to three digits
    half = 0.5 * 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    assert phantom()[feature] == pytest.approx(value, abs=1.001 * half)


def test_what_pyradiomics_defines_otherwise_and_what_ibsi_has_not():
    found = phantom()
    assert set(FEATURES) - set(VALUES) == NOT_IBSI
    assert found["firstorder", "kurtosis"] - 3 == pytest.approx(EXCESS_KURTOSIS, abs=5e-4)
    assert found["firstorder", "total_energy"] == 8 * found["firstorder", "energy"]


def test_there_are_93_features_of_six_classes():
    assert len(FEATURES) == len(set(FEATURES)) == 93
    assert [sum(group == name for group, _ in FEATURES) for name in CLASSES] == [18, 24, 16, 16, 14, 5]


def test_first_order_is_numpys():
    hu, mask = noise()
    mask[tuple(np.argwhere(mask)[0])] &= mask.sum() % 2 == 0  # an even number: the median is between two
    inside, found = hu[mask], features(hu, mask)
    by_hand = {
        "mean": inside.mean(), "median": np.median(inside), "variance": inside.var(), "range": np.ptp(inside),
        "10th_percentile": np.percentile(inside, 10), "energy": (inside**2).sum(),
        "kurtosis": kurtosis(inside, fisher=False), "mean_absolute_deviation": abs(inside - inside.mean()).mean(),
    }  # fmt: skip
    for name, value in by_hand.items():
        assert found["firstorder", name] == pytest.approx(value, rel=1e-6), name


def levels_inside(hu, mask):
    return {tuple(at): np.floor((hu[tuple(at)] + 1000) / 25) + 1 for at in np.argwhere(mask)}


def step(at, direction, times=1):
    return tuple(a + times * d for a, d in zip(at, direction, strict=True))


def test_co_occurrence_by_hand():
    hu, mask = noise((5, 4, 4))
    levels, contrast, average = levels_inside(hu, mask), [], []
    for direction in DIRECTIONS:
        pairs = [(a, levels[to]) for at, a in levels.items() if (to := step(at, direction)) in levels]
        contrast.append(np.mean([(a - b) ** 2 for a, b in pairs]))
        average.append(np.mean([(a + b) / 2 for a, b in pairs]))
    found = features(hu, mask)
    assert found["glcm", "contrast"] == pytest.approx(np.mean(contrast))
    assert found["glcm", "joint_average"] == pytest.approx(np.mean(average))


def test_run_lengths_by_hand():
    hu, mask = noise((5, 5, 4), smooth=1.0)
    levels, emphasis = levels_inside(hu, mask), []
    for direction in DIRECTIONS:
        starts = [at for at, level in levels.items() if levels.get(step(at, direction, -1)) != level]
        runs = [
            next(n for n in itertools.count(1) if levels.get(step(at, direction, n)) != levels[at]) for at in starts
        ]
        assert sum(runs) == mask.sum()
        emphasis.append(np.mean(np.square(runs)))
    assert features(hu, mask)["glrlm", "long_run_emphasis"] == pytest.approx(np.mean(emphasis))


def test_zones_by_hand():
    hu, mask = noise((7, 7, 6), smooth=1.0)
    levels = np.floor((hu + 1000) / 25) + 1
    zones = []
    for level in np.unique(levels[mask]):
        parts, _ = label((levels == level) & mask, np.ones((3, 3, 3)))
        zones += np.bincount(parts.ravel())[1:].tolist()
    found = features(hu, mask)
    assert found["glszm", "zone_percentage"] == pytest.approx(len(zones) / mask.sum())
    assert found["glszm", "large_area_emphasis"] == pytest.approx(np.mean(np.square(zones)))


def test_which_features_the_bin_origin_decides():
    hu, mask = noise((12, 11, 10), smooth=0.7)
    here, there = features(hu, mask), features(hu, mask, origin=-1250.0)  # the same bins with other numbers
    moved = {f for f in FEATURES if there[f] != pytest.approx(here[f], rel=1e-6)}
    assert moved == NUMBERED
    assert len(NUMBERED) == 24


def test_which_features_count_voxels():
    hu, mask = (np.pad(volume, 1) for volume in noise(smooth=0.7))
    once, twice = (
        features(hu, mask),
        features(np.tile(hu, (2, 1, 1)), np.tile(mask, (2, 1, 1))),
    )  # apart: the same tissue
    # percentiles lie elsewhere between two voxels
    ratios = {f: twice[f] / once[f] for f in FEATURES if twice[f] != pytest.approx(once[f], rel=0.05)}
    assert ratios.keys() == COUNTING
    assert len(COUNTING) == 11
    fewer = {("ngtdm", "coarseness"), ("ngtdm", "strength")}
    assert all(ratio == pytest.approx(0.5 if f in fewer else 2.0) for f, ratio in ratios.items())


def test_voxels_of_one_gray_level_have_no_texture_and_each_says_why():
    found = features(np.full((6, 6, 6), -30.0))
    without = {feature for feature, value in found.items() if value == library.ALIKE}
    first_order = {("firstorder", "skewness"), ("firstorder", "kurtosis")}
    assert without == {f for f in FEATURES if f[0] != "firstorder"} | first_order
    assert found["firstorder", "mean"] == -30.0


def test_a_voxel_alone_is_in_no_neighbourhood():
    hu, mask = noise((6, 6, 6))
    mask[4:] = False
    before = features(hu, mask)
    hu[5, 5, 5], mask[5, 5, 5] = 390.0, True  # of a level that no other voxel has
    after = features(hu, mask)
    assert {f for f in FEATURES if f[0] == "ngtdm" and after[f] != pytest.approx(before[f])} == set()
    assert not any(isinstance(value, str) for value in after.values())


def test_rows_of_truth_and_reconstruction_are_the_same_measurement():
    hu, mask = noise((20, 20, 12), smooth=1.0)
    truth, evaluator, told = Truth(hu, mask, (0.7, 0.7, 1.0), [0, 11]), RadiomicsEvaluator(), []
    rows = evaluator.truth_rows(truth)
    assert [(r["resampling"], r["class"], r["feature"]) for r in rows] == [
        (where, *feature) for where in ("native", "1 mm") for feature in FEATURES
    ]
    assert {row["reason"] for row in rows} == {None}
    again = evaluator.rows(truth, (hu + 1000) / 1400, lambda *said: told.append(said))
    np.testing.assert_allclose([r["value"] for r in again], [r["value"] for r in rows], rtol=2e-3, atol=1e-3)
    assert told == [(0, 2, "radiomics"), (1, 2, "radiomics")]
    assert evaluator.expected_rows("why")[0] == rows[0] | {"value": pytest.approx(np.nan, nan_ok=True), "reason": "why"}


def test_the_darkest_voxel_as_bin_origin_is_pyradiomics_own():
    hu, mask = noise((9, 9, 6), smooth=1.0)
    mask[:2], hu[0, 0, 0] = False, -999.0  # darker, and outside
    rows = RadiomicsEvaluator(bin_origin=None, spacings_mm=[None]).truth_rows(Truth(hu, mask, (1.0, 1.0, 1.0), [0, 5]))
    found = features(hu.clip(-1000, 400), mask, origin=25 * np.floor(hu[mask].min() / 25))
    np.testing.assert_allclose([row["value"] for row in rows], [found[f] for f in FEATURES])


def test_a_nodule_that_is_too_small_says_so():
    hu, _ = noise((12, 12, 8))
    mask = np.zeros(hu.shape)
    mask[2:8, 2:8, 3:5] = 1
    rows = RadiomicsEvaluator(spacings_mm=[None]).truth_rows(Truth(hu, mask, (1.0, 1.0, 1.0), [0, 7]))
    assert {row["reason"] for row in rows} == {"the nodule has 72 voxels on 2 slices, fewer than 64 on 3"}


def test_resampling_keeps_the_middle_and_a_ramp():
    ramp = np.arange(30.0).reshape(-1, 1, 1) * 0.5 * np.ones((1, 4, 5))  # its place in mm
    made = resampled(ramp, (0.5, 0.5, 2.0), 1.0, order=1)
    assert made.shape == (15, 2, 10)
    np.testing.assert_allclose(made[:, 0, 0], np.arange(15) + 0.25)
    np.testing.assert_allclose(resampled(ramp, (1.0, 1.0, 1.0), 1.0, order=3), ramp, atol=1e-9)


def test_what_is_missing_or_of_another_version_is_one_sentence(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    another = "fastrad 1.2.0 is installed, expected 1.0.0: pip install"
    for found, words in ((absent, "needs fastrad, which is not installed: pip"), (lambda name: "1.2.0", another)):
        library.load_library.cache_clear()
        monkeypatch.setattr(library, "version", found)
        with pytest.raises(InputError, match=words):
            RadiomicsEvaluator()
    monkeypatch.undo()
    library.load_library.cache_clear()


@pytest.mark.parametrize(("given", "words"), [({"bin_width": 0.0}, "bin_width of radiomics is 0.0, expected more"),
                                              ({"spacings_mm": [-1.0]}, "spacings_mm of radiomics is -1.0"),
                                              ({"bin_origin": -500.0}, "expected at most -1000")])  # fmt: skip
def test_settings_that_cannot_be(given, words):
    with pytest.raises(InputError, match=words):
        RadiomicsEvaluator(**given)
