import dataclasses

import numpy as np
import pytest
import torch
from helpers.observed import observed, sampled, voxel_places, waves
from scipy.interpolate import CubicHermiteSpline

from bundle.engines import plan
from bundle.errors import InputError
from bundle.inferers import (
    CubicInferer,
    EnsembleOptions,
    LinearInferer,
    MillimetreSirenInferer,
    NoduleField,
    ObservedSlices,
)
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import MillimetreFrame
from bundle.inferers.implicit.millimetre import RAW_ERROR, member_seed
from bundle.networks import Siren

QUICK = EnsembleOptions(epochs=3, members=3, hidden_features=16)


def inferer(raw_error=RAW_ERROR, **changes):
    return MillimetreSirenInferer(dataclasses.replace(QUICK, **changes), "cpu", raw_error)


def test_result_has_the_wanted_shape_range_and_record():
    result = inferer().reconstruct(observed())
    for volume in (result.image, result.error):
        assert volume.shape == (20, 18, 14)
        assert np.isfinite(volume).all()
        assert (volume.min(), volume.max()) >= (0, 0)
    assert result.image.max() <= 1
    assert {name: len(curve) for name, curve in result.history.items()} == {"loss": 3, "lr": 3}
    assert result.history["lr"] == pytest.approx([1e-3, 0.75e-3, 0.25e-3])  # half a cosine, on its way to zero
    assert result.timings["steps"] == 3 * 3 * -(-20 * 18 * 3 // 256)


def test_observed_slices_are_exact_and_without_error():
    seen = observed()
    result = inferer().reconstruct(seen)
    assert np.array_equal(result.image[..., ::5], seen.image)
    assert not result.error[..., ::5].any()
    hidden = np.setdiff1d(np.arange(14), np.arange(0, 14, 5))
    assert (result.error[..., hidden] > 0).all()


def test_the_seed_alone_settles_the_result():
    torch.manual_seed(1)
    first = inferer().reconstruct(observed())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        second = inferer().reconstruct(observed())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.error, second.error)
    assert first.history == second.history
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    other = inferer().reconstruct(dataclasses.replace(observed(), seed=5))
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("limit", [1, 4])
def test_many_are_as_each_alone(limit, monkeypatch):
    many = [observed(seed=0), observed(seed=1, shape=(12, 14, 11)), observed(seed=2)]
    alone = [inferer().reconstruct(one) for one in many]
    monkeypatch.setattr(plan, "stack_limit", lambda *args: limit)
    for one, result in zip(alone, inferer().reconstruct_many(many), strict=True):
        assert np.array_equal(one.image, result.image)
        assert np.array_equal(one.error, result.error)
        assert one.history == result.history


def test_a_slice_does_not_depend_on_the_other_targets():
    whole = inferer().reconstruct(observed())
    some = np.array([20.0, 3.0, 3.1])
    part = inferer().reconstruct(observed(targets=some))
    np.testing.assert_allclose(part.image[..., 1], whole.image[..., 2], atol=1e-6)
    assert np.abs(part.image[..., 2] - part.image[..., 1]).max() < 0.02


def test_members_differ_and_their_mean_is_the_result():
    seen = observed()
    field = inferer().fit(seen)
    place = voxel_places((20, 18), seen.spacing, np.array([4.5, 9.0]))
    each = np.stack(
        [fit.network(field.frame(place)).detach().numpy()[:, 0] for _, fit in field.members]
    ).astype(float)  # fmt: skip
    mean, spread = field._members(field.frame(place))
    np.testing.assert_allclose(mean, each.mean(0), atol=2e-6)
    np.testing.assert_allclose(spread, each.std(0, ddof=1), atol=2e-6)
    assert spread.min() > 0
    assert not inferer(members=1).fit(seen)._members(field.frame(place))[1].any()


def test_the_state_is_the_networks():
    seen = observed()
    state = inferer().reconstruct(seen).state
    field = inferer().fit(seen)
    for member in range(3):
        network = Siren(hidden_features=16, hidden_layers=2, omega_0=10.0, dropout=0.0)
        network.load_state_dict({n.split(".", 1)[1]: t for n, t in state.items() if n.startswith(f"{member}.")})
        place = field.frame(np.random.default_rng(0).uniform(0, 10, (50, 3)))
        assert torch.equal(network(place), field.members[member][1].network(place))


def test_the_function_is_continuous_and_agrees_with_the_slices():
    seen = observed()
    method = inferer(epochs=10)
    field = method.fit(seen)
    image = method.reconstruct(seen).image
    on_grid = field(voxel_places((20, 18), seen.spacing, seen.targets)).reshape(image.shape)
    np.testing.assert_allclose(on_grid, image, atol=2e-6)
    rng = np.random.default_rng(0)
    places = rng.uniform([0, 0, 0], [13.3, 13.6, 15], (500, 3))
    places[:100, 2] = rng.choice(seen.positions, 100)  # across observed slices, and voxel borders, too
    places[100:200, 0] = 0.7 * rng.integers(1, 18, 100)
    for axis in range(3):
        step = np.eye(3)[axis]
        near, far = (np.abs(field(places + h * step) - field(places - h * step)).max() for h in (1e-4, 1e-2))
        assert near < 2e-3
        assert near < 0.1 * far + 1e-5


def test_recovers_a_function_of_low_frequency_better_than_interpolation_along_z():
    targets = np.arange(0.5, 18, 1.0)
    seen = sampled(waves, (1.0, 1.0), targets=targets)
    x, y = (np.arange(n) * 1.0 for n in seen.image.shape[:2])
    truth = waves(*np.meshgrid(x, y, targets, indexing="ij"))
    method = MillimetreSirenInferer(EnsembleOptions(epochs=40, members=2), "cpu")
    made = method.reconstruct(seen)
    errors = [np.sqrt(np.mean((m - truth) ** 2)) for m in (made.image, LinearInferer().reconstruct(seen).image)]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.02
    # and between the pixels, on places that are on no grid at all
    places = np.random.default_rng(0).uniform(1, 17, (400, 3))
    off = method.fit(seen)(places) - waves(*places.T)
    assert np.sqrt(np.mean(off**2)) < 0.03


def test_pixel_spacing_hardly_matters():
    fields = []
    for spacing in ((0.9, 0.9), (0.6, 0.75)):
        fields.append(MillimetreSirenInferer(EnsembleOptions(epochs=30, members=3), "cpu").fit(sampled(waves, spacing)))
    places = np.random.default_rng(0).uniform(1, 17, (400, 3))
    values = [field(places) for field in fields]
    assert np.std(values[0]) > 0.1
    assert np.sqrt(np.mean((values[0] - values[1]) ** 2)) < 0.02
    # the same numbers taken for half as large pixels are another nodule
    seen = sampled(waves, (0.9, 0.9))
    smaller = MillimetreSirenInferer(EnsembleOptions(epochs=30, members=3), "cpu").fit(
        dataclasses.replace(seen, spacing=(0.45, 0.45))
    )
    assert np.sqrt(np.mean((smaller(places * [0.5, 0.5, 1]) - values[0]) ** 2)) > 0.002


def test_beyond_the_ends_the_end_slice_is_repeated_with_growing_error():
    seen = observed(targets=np.array([-4.0, -1.0, 0.0, 15.0, 16.0, 18.0, 40.0]))
    result = inferer().reconstruct(seen)
    for z in range(3):
        assert np.array_equal(result.image[..., z], seen.image[..., 0])
    for z in range(3, 7):
        assert np.array_equal(result.image[..., z], seen.image[..., 2])
    means = result.error.mean((0, 1))
    assert means[0] > means[1] > means[2] == means[3] == 0 < means[4] < means[5] < means[6]


def test_two_slices_and_uneven_gaps():
    for positions in (np.array([0.0, 8.0]), np.array([0.0, 1.0, 9.0])):
        image = observed().image[..., : len(positions)]
        result = inferer(epochs=30).reconstruct(observed(image=image, positions=positions, targets=np.arange(0.5, 8)))
        assert np.isfinite(result.image).all()
        line = LinearInferer().reconstruct(observed(image=image, positions=positions, targets=np.arange(0.5, 8)))
        assert np.sqrt(np.mean((result.image - line.image) ** 2)) < 0.1


def test_smooth_slices_are_interpolated_as_well_as_by_a_spline():
    seen = sampled(lambda x, y, z: 0.5 + 0.02 * (x - 10) - 0.015 * (z - 9) + 0 * y, (1.0, 1.0), targets=np.arange(19.0))
    made, spline = (m.reconstruct(seen).image[..., :19] for m in (inferer(epochs=40), CubicInferer()))
    assert np.abs(made - spline).max() < 0.03


def test_progress_rises_to_the_whole():
    told = []
    method = inferer()
    method.on_progress = lambda done, total, words: told.append((done, total))
    method.reconstruct_many([observed(), observed(seed=1)])
    assert told == [(i, 18) for i in range(1, 19)]


def test_works_as_monai_calls_it_whatever_network_it_is_handed():
    image = torch.as_tensor(observed().image)[None, None].float()
    with torch.no_grad():
        a, b = (
            inferer()(image, network, positions=[0, 5, 10], targets=range(11))
            for network in (None, torch.nn.Identity())
        )
    assert a.shape == (1, 1, 20, 18, 11)
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"members": 0}, "members is 0"), ({"members": 1.5}, "members is 1.5"), ({"bandwidth": (1, 1)}, "three numbers"),
     ({"bandwidth": (1, 1, 0)}, "three numbers"), ({"bandwidth": (1, 1, np.nan)}, "three numbers"),
     ({"omega_0": 0}, "omega_0 is 0"), ({"epochs": 0}, "epochs is 0"), ({"batch_size": 0}, "batch_size is 0")],
)  # fmt: skip
def test_arguments_that_make_no_sense(changes, message):
    with pytest.raises(InputError, match=message):
        inferer(**changes)


def test_slices_that_cannot_be_fitted():
    with pytest.raises(InputError, match="needs the observed image"):
        inferer().reconstruct(observed(image=None, mask=np.ones((20, 18, 3), bool)))
    broken = observed()
    broken.image[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="nan or infinite"):
        inferer().reconstruct(broken)


def test_frame_is_invertible_and_seeds_are_their_own():
    frame = MillimetreFrame((1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    places = np.random.default_rng(0).normal(0, 20, (30, 3))
    np.testing.assert_allclose(frame(places).numpy() / [0.1, 0.2, 0.3] + [1, 2, 3], places, atol=1e-4)
    seeds = {member_seed(seed, member) for seed in range(20) for member in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_raw_error_follows_its_formula():
    seen = observed(positions=np.array([0.0, 4.0, 6.0]), targets=np.array([0.0, 1.0, 2.0, 4.0, 5.5, 6.0, 7.0]))
    spread = np.random.default_rng(0).uniform(0, 0.1, (20, 18, 7))
    zero = {"spread": 0.0, "disagreement": 0.0, "edge": 0.0, "floor": 0.0, "power": 1.0}
    floor = RawError(**(zero | {"floor": 0.04}))(seen, spread)
    np.testing.assert_allclose(floor[3, 3], 0.04 * np.array([0, 0.75, 1, 0, 0.75, 0, 0.5]), atol=1e-12)
    flat = RawError(**(zero | {"spread": 2.0, "smooth_mm": 1e-6}))(seen, spread)
    np.testing.assert_allclose(flat[..., 2], 2 * spread[..., 2])
    differ = RawError(**(zero | {"disagreement": 0.5, "smooth_mm": 1e-6}))(seen, spread)
    np.testing.assert_allclose(differ[..., 2], 0.5 * np.abs(seen.image[..., 1] - seen.image[..., 0]))
    ramp = dataclasses.replace(
        seen, image=np.tile(np.arange(20)[:, None, None] * 0.7 * 0.01, (1, 18, 3)), spacing=(0.7, 0.7)
    )
    edge = RawError(**(zero | {"edge": 3.0, "smooth_mm": 1.0}))(ramp, spread)
    np.testing.assert_allclose(edge[6:14, 6:12, 2], 0.03, rtol=1e-3)
    together = RawError(power=1.0)
    parts = [
        RawError(**(zero | {n: getattr(together, n)}))(seen, spread)
        for n in ("spread", "disagreement", "edge", "floor")
    ]
    np.testing.assert_allclose(together(seen, spread), sum(parts), atol=1e-12)


def test_pins_fade_across_wide_gaps_and_where_much_is_missed_and_are_a_cubic_otherwise():
    z = np.arange(0, 12.1, 0.5)
    faint = 0.03 * np.sin(z)  # a part that the members miss, as far as 42 HU

    def between(gap, size=1.0):
        seen = ObservedSlices(np.zeros((4, 4, int(12 / gap) + 1)), None, np.arange(0, 12.1, gap), z, (1.0, 1.0))
        field = NoduleField([], MillimetreFrame((0.0,) * 3, (1.0,) * 3), seen)
        field.pins = np.broadcast_to(size * np.interp(seen.positions, z, faint), (4, 4, len(seen.positions)))
        return seen.positions, field.pins[0, 0], field._pin_weights(z) @ field.pins[0, 0]

    positions, pins, near = between(2.0)
    curve = CubicHermiteSpline(positions, pins, np.gradient(pins, positions))
    np.testing.assert_allclose(near, curve(z), atol=1e-12)
    positions, pins, wide = between(4.0)
    left = np.clip(1 - np.abs(z[:, None] - positions) / 4, 0, None) ** 2
    np.testing.assert_allclose(wide, left @ pins, atol=1e-12)
    positions, pins, noisy = between(2.0, size=10.0)
    left = np.clip(1 - np.abs(z[:, None] - positions) / 2, 0, None) ** 2
    np.testing.assert_allclose(noisy, left @ pins, atol=1e-12)
    positions, pins, some = between(3.0)  # half way from the one to the other
    left = np.clip(1 - np.abs(z[:, None] - positions) / 3, 0, None) ** 2
    curve = CubicHermiteSpline(positions, pins, np.gradient(pins, positions))(z)
    np.testing.assert_allclose(some, (left @ pins + curve) / 2, atol=1e-12)


def test_uneven_gaps_fade_each_by_its_own_width():
    positions = np.array([0.0, 2.0, 4.0, 9.0])
    seen = ObservedSlices(np.zeros((2, 2, 4)), None, positions, np.array([1.0, 6.5]), (1.0, 1.0))
    field = NoduleField([], MillimetreFrame((0.0,) * 3, (1.0,) * 3), seen)
    field.pins = np.full((2, 2, 4), 0.01)
    # of pins alike at both ends all is added half way where they are a cubic, a quarter of each where they fade
    np.testing.assert_allclose(field._pin_weights(seen.targets) @ np.full(4, 0.01), [0.01, 0.005])
