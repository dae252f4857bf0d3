"""Calibration of expected errors: known distributions, other patients, weights of nodules, files, mistakes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bundle.errors import InputError
from bundle.inferers import Calibration, LinearInferer, ObservedSlices, calibrate, read_calibrations
from bundle.inferers.calibration.fit import coverage_of, promised, weighted_quantile
from bundle.inferers.registry import METHODS

LEVELS = (0.5, 0.8, 0.9, 0.95)


def nodules(draw, count=12, seed=0, wrong_by=3.0):
    """Residuals of a known distribution and raw errors that are too small by a factor."""
    rng = np.random.default_rng(seed)
    residuals, errors = [], []
    for i in range(count):
        spread = np.exp(rng.normal(-4, 0.6, (20 + i, 15, 14))).astype(np.float32)
        residuals.append(spread * draw(rng, spread.shape))
        errors.append(spread / wrong_by)
    return residuals, errors


@pytest.mark.parametrize("name", ["norm", "laplace"])
def test_known_distributions_give_their_own_mean_and_quantiles(name):
    law = getattr(stats, name)
    residuals, errors = nodules(lambda rng, shape: law.rvs(size=shape, random_state=rng))
    found = calibrate(residuals, errors)
    mean = law.expect(np.abs)
    assert found.scale == pytest.approx(3 * mean, rel=0.02)
    for level, multiplier in found.intervals.items():
        assert multiplier * mean == pytest.approx(law.ppf((1 + level) / 2), rel=0.03)
    # the expected error is right in the mean
    assert np.mean([found.scale * e.mean() for e in errors]) == pytest.approx(
        np.mean([np.abs(r).mean() for r in residuals])
    )


@pytest.mark.parametrize("name", ["norm", "laplace", "t"])
def test_what_one_half_of_the_nodules_gives_covers_the_other(name):
    law = stats.t(4) if name == "t" else getattr(stats, name)
    residuals, errors = nodules(lambda rng, shape: law.rvs(size=shape, random_state=rng), count=16)
    found = calibrate(residuals[::2], errors[::2])
    others = [
        [
            np.mean(np.abs(r.ravel()) < found.scale * q * e.ravel())
            for r, e in zip(residuals[1::2], errors[1::2], strict=True)
        ]
        for q in found.multipliers
    ]
    np.testing.assert_allclose(np.mean(others, axis=1), LEVELS, atol=0.01)
    np.testing.assert_allclose(coverage_of(residuals[1::2], errors[1::2], found), np.mean(others, axis=1), atol=1e-6)


def test_each_nodule_counts_alike_whatever_its_size():
    rng = np.random.default_rng(1)
    small, large = rng.normal(0, 1, 1_000), rng.normal(0, 10, 100_000)
    found = calibrate([small, large], [np.ones(1_000), np.ones(100_000)])
    twice = calibrate([np.tile(small, 7), large, np.array([])], [np.ones(7_000), np.ones(100_000), np.array([])])
    assert twice.scale == pytest.approx(found.scale)
    np.testing.assert_allclose(twice.multipliers, found.multipliers)
    # the mixture of equal parts, not that of the voxels
    half = found.multipliers[0] * found.scale
    assert np.mean([np.mean(np.abs(small) <= half), np.mean(np.abs(large) <= half)]) == pytest.approx(0.5, abs=1e-3)


def test_a_level_is_that_of_the_patients_and_of_one_more_of_whom_nothing_is_known():
    """Against its definition: the next patient's voxels, of equal weight, put beyond everything."""
    rng = np.random.default_rng(5)
    names = ["a", "a", "b", "c", *"defghijklmnopqrstu"]
    off = [rng.laplace(0, rng.uniform(0.5, 2), 200 + 10 * i) for i in range(len(names))]
    raw = [np.ones(len(o)) for o in off]
    found = calibrate(off, raw, patients=names)
    patients = sorted(set(names))
    ratios = np.concatenate([np.abs(o) / found.scale for o in off] + [np.array([np.inf])])
    shares = [np.full(len(o), 1 / len(o) / names.count(name)) for o, name in zip(off, names, strict=True)]
    wanted = weighted_quantile(ratios, np.concatenate([*shares, np.ones(1)]), LEVELS)
    np.testing.assert_allclose(found.multipliers, wanted)
    assert len(patients) == 21
    assert found.scale == calibrate(off, raw).scale
    # 18 patients are too few for 95 %: all that was seen, rather than no bound
    few = calibrate(off[:19], raw[:19], patients=names[:19])
    assert few.multipliers[3] == pytest.approx(np.abs(np.concatenate(off[:19])).max() / few.scale)


@given(st.integers(1, 200))
def test_what_must_be_held_of_k_patients(patients):
    levels = promised(LEVELS, patients)
    assert levels == sorted(levels)
    for level, held in zip(LEVELS, levels, strict=True):
        assert held == 1.0 or held * patients == pytest.approx(level * (patients + 1))
        assert (held == 1.0) == (patients <= level / (1 - level) + 1e-6)


def test_a_level_holds_on_the_next_patient_where_patients_differ():
    rng = np.random.default_rng(6)
    held, plain = [], []
    for _ in range(200):
        spread = np.exp(rng.normal(0, 0.5, 13))
        off = [rng.normal(0, s, 400) for s in spread]
        raw = [np.ones(400)] * 13
        for found, parts in ((calibrate(off[1:], raw[1:], patients=list("bcdefghijklm")), held),
                             (calibrate(off[1:], raw[1:]), plain)):  # fmt: skip
            parts.append(coverage_of(off[:1], raw[:1], found)[:3])
    assert np.all(np.mean(held, axis=0) >= np.array(LEVELS[:3]))
    assert np.mean(plain, axis=0)[2] < np.mean(held, axis=0)[2]


@pytest.mark.parametrize("power", [0.7, -0.4, 0.0])
def test_the_scale_follows_the_gap_as_errors_do(power):
    rng = np.random.default_rng(2)
    gaps = [gap for gap in (1.5, 3.0, 5.0, 8.0) for _ in range(6)]
    raw = [rng.uniform(0.5, 2, 4_000) * rng.uniform(0.9, 1.1) for _ in gaps]
    off = [0.1 * (gap / 3) ** power * rng.laplace(0, values) for gap, values in zip(gaps, raw, strict=True)]
    found = calibrate(off, raw, gaps_mm=gaps)
    assert found.gap_power == pytest.approx(power, abs=0.06)
    assert found.scale == pytest.approx(0.1, rel=0.05)
    assert calibrate(off, raw).gap_power == calibrate(off, raw, gaps_mm=[2.0] * len(gaps)).gap_power == 0
    for gap in set(gaps):
        part = [i for i, width in enumerate(gaps) if width == gap]
        held = coverage_of([off[i] for i in part], [raw[i] for i in part], found, [gap] * len(part))
        np.testing.assert_allclose(held, LEVELS, atol=0.03)
    # what an inferer makes of it, in gaps of 8 and of 2 mm
    observed = ObservedSlices(np.zeros((1, 1, 3)), None, np.array([0.0, 8.0, 10.0]), np.array([-1.0, 4, 8.5, 12]))
    method = LinearInferer()
    method.calibration = found
    wanted = found.scale * (np.array([8.0, 8.0, 2.0, 2.0]) / 3) ** found.gap_power
    np.testing.assert_allclose(method.expected_error(np.ones((1, 1, 4)), observed)[0, 0], wanted, rtol=1e-6)


def test_beyond_the_observed_slices_there_is_another_scale():
    rng = np.random.default_rng(4)
    raw = [rng.uniform(0.5, 2, 6_000) for _ in range(8)]
    beyond = [rng.random(6_000) < (0.2 if i else 0.0) for i in range(8)]  # the first nodule has none there
    off = [0.1 * np.where(b, 2.5, 1.0) * rng.normal(0, r) for r, b in zip(raw, beyond, strict=True)]
    found = calibrate(off, raw, beyond=beyond)
    assert found.beyond == pytest.approx(2.5, rel=0.05)
    for which in (True, False):
        parts = [(o[b == which], r[b == which]) for o, r, b in zip(off, raw, beyond, strict=True)]
        held = coverage_of(*zip(*parts, strict=True), found, beyond=[np.array(which)] * 8)
        np.testing.assert_allclose(held, LEVELS, atol=0.015)
    assert calibrate(off, raw).beyond == 1
    observed = ObservedSlices(np.zeros((1, 1, 2)), None, np.array([0.0, 3.0]), np.array([-1.0, 0, 1, 3, 4.5]))
    assert observed.beyond.tolist() == [True, False, False, False, True]
    method = LinearInferer()
    method.calibration = Calibration(0.5, (0.9,), (2.0,), beyond=2.0)
    assert method.expected_error(np.ones((1, 1, 5)), observed)[0, 0].tolist() == [1, 0, 0.5, 0, 1]


def test_gaps_that_are_none_are_refused():
    for gaps in ([1.0, 2.0], [0.0], [-1.0]):
        with pytest.raises(InputError, match="not one width in mm for each of 1 nodules"):
            calibrate([np.ones(3)], [np.ones(3)], gaps_mm=gaps)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 6)), min_size=1, max_size=20),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4),
)
def test_weighted_quantile_is_that_of_repeated_values(pairs, levels):
    values, weights = (np.array(v) for v in zip(*pairs, strict=True))
    repeated = np.sort(np.repeat(values, weights))
    wanted = [repeated[int(np.ceil(level * len(repeated) - 1e-9)) - 1] for level in levels]
    np.testing.assert_array_equal(weighted_quantile(values, weights.astype(float), levels), wanted)


@pytest.mark.parametrize(
    ("residuals", "errors", "sentence"),
    [
        ([np.ones(3)], [np.array([1.0, -0.1, 1.0])], "negative or not finite in 1 voxels"),
        ([np.ones(3)], [np.array([1.0, np.nan, 1.0])], "negative or not finite in 1 voxels"),
        ([np.array([np.inf])], [np.ones(1)], "residuals hold nan or infinite"),
        ([np.ones(3)], [np.zeros(3)], "0 throughout"),
        ([np.ones(4)], [np.array([1.0, 1, 1, 0])], r"expected error is 0 in 25\.0% of the voxels"),
        ([np.ones(3)], [np.ones(2)], r"shape \(3,\) have errors of shape \(2,\)"),
        ([np.ones(3)], [], "give both for each nodule"),
        ([], [], "no voxel to calibrate with"),
    ],
)
def test_what_can_t_be_calibrated_is_told_in_one_sentence(residuals, errors, sentence):
    with pytest.raises(InputError, match=sentence) as told:
        calibrate(residuals, errors)
    assert "\n" not in str(told.value)


def write(path, **entry):
    path.write_text(json.dumps({"methods": {"ours": {"scale": 2.0, "multipliers": {"0.9": 2.1, "0.5": 0.8}} | entry}}))
    return path


def test_a_file_is_read_back(tmp_path):
    path = write(tmp_path / "u.json", gap_power=0.4, beyond=1.5)
    assert read_calibrations(path) == {"ours": Calibration(2.0, (0.5, 0.9), (0.8, 2.1), 0.4, 1.5)}


@pytest.mark.parametrize(
    "entry",
    [
        {"scale": -1.0},
        {"scale": float("nan")},
        {"scale": "much"},
        {"multipliers": {}},
        {"multipliers": {"0.5": 2.0, "0.9": 1.0}},
        {"multipliers": {"90": 1.0}},
        {"multipliers": {"0.9": -1.0}},
        {"multipliers": [1.0]},
        {"gap_power": 9.0},
        {"gap_power": float("nan")},
        {"beyond": 0.0},
    ],
)
def test_a_broken_file_is_told_in_one_sentence(tmp_path, entry):
    path = write(tmp_path / "u.json", **entry)
    with pytest.raises(InputError, match=r"u\.json is no calibration") as told:
        read_calibrations(path)
    assert "\n" not in str(told.value)


def test_an_absent_file_and_one_that_is_no_json(tmp_path):
    with pytest.raises(InputError, match=r"does not exist: make it by configs/calibrate\.json"):
        read_calibrations(tmp_path / "none.json")
    (tmp_path / "u.json").write_text("{")
    with pytest.raises(InputError, match="is no calibration as configs"):
        read_calibrations(tmp_path / "u.json")


def test_the_bundle_s_own_file_is_sound():
    known = read_calibrations()
    assert set(known) <= set(METHODS)
    for calibration in known.values():
        assert calibration.levels == LEVELS


def test_the_scale_is_applied_and_observed_slices_are_sure():
    observed = ObservedSlices(np.zeros((2, 2, 2)), None, np.array([0.0, 1.5]), np.array([0.0, 0.7, 1.5, 2.0]))
    method, raw = LinearInferer(), np.random.default_rng(0).uniform(0.1, 1, (2, 2, 4))
    expected = raw * [0, 1, 0, 1]
    np.testing.assert_allclose(method.expected_error(raw, observed), expected, rtol=1e-6)
    method.calibration = Calibration(1.7, (0.9,), (2.0,))
    np.testing.assert_allclose(method.expected_error(raw, observed), 1.7 * expected, rtol=1e-6)
    assert LinearInferer().calibration is None


def grouped(seed, count=400):
    """Residuals of a method that is three times too sure in tissue, and twice where observed slices are averages."""
    rng = np.random.default_rng(seed)
    residuals, errors, images, gaps, thick = [], [], [], [], []
    for nodule in range(count):
        hu = rng.choice([-900.0, -20.0], 1000)
        averages = bool(nodule % 2)
        sd = 0.02 * np.where(hu > -500, 3, 1) * (2 if averages else 1)
        residuals.append(rng.normal(0, sd))
        errors.append(np.full(len(hu), 0.02))
        images.append(hu)
        gaps.append(rng.choice([2.0, 3.5, 6.0]))
        thick.append(averages)
    return residuals, errors, gaps, images, thick


def test_groups_that_are_too_sure_are_covered_on_others_all_the_same():
    residuals, errors, gaps, images, thick = grouped(0)
    found = calibrate(residuals, errors, (0.9,), gaps, images_hu=images, thick=thick)
    plain = calibrate(residuals, errors, (0.9,), gaps)
    residuals, errors, gaps, images, thick = grouped(1)
    for kind in (False, True):
        for tissue in (False, True):
            held, before = [], []
            for r, e, g, h, t in zip(residuals, errors, gaps, images, thick, strict=True):
                if t == kind:
                    chosen = (h > -500) == tissue
                    held.append(coverage_of([r[chosen]], [e[chosen]], found, [g], None, [h[chosen]], [t])[0])
                    before.append(coverage_of([r[chosen]], [e[chosen]], plain, [g])[0])
            assert np.mean(held) == pytest.approx(0.9, abs=0.04)
            assert abs(np.mean(before) - 0.9) > 0.04 or (kind, tissue) == (True, False)


def test_few_nodules_of_a_group_borrow_from_its_intensity_and_factors_are_refused_if_odd():
    residuals, errors, gaps, images, thick = grouped(0, 14)
    gaps = [3.5] * len(gaps)
    factors = np.asarray(calibrate(residuals, errors, (0.9,), gaps, images_hu=images, thick=thick).factors)
    assert (factors[:, 0] == factors[:, 1]).all()
    # seven reconstructions of a kind: a little over half of the way from no factor to the whole one
    assert factors[0, 1, 3] == pytest.approx(3 ** (7 / 13) * factors[0, 1, 0], rel=0.15)
    with pytest.raises(InputError, match="factors have shape"):
        Calibration(1.0, (0.9,), (2.0,), factors=((1.0,),))


def test_expected_errors_follow_the_intensity():
    method = LinearInferer()
    table = tuple(tuple((1.0, 1.0, 1.0, 4.0) for _ in range(3)) for _ in range(2))
    method.calibration = Calibration(1.0, (0.9,), (2.0,), factors=table)
    seen = ObservedSlices(np.zeros((2, 1, 2)), None, np.array([0.0, 3.0]), np.array([1.0]))
    image = np.array([0.05, 0.9])[:, None, None]  # -930 and 260 HU
    assert method.expected_error(np.full((2, 1, 1), 0.1), seen, image).ravel() == pytest.approx([0.1, 0.4])
    assert method.expected_error(np.full((2, 1, 1), 0.1), seen).ravel() == pytest.approx([0.1, 0.1])
