import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.observed import observed, sampled, voxel_places, waves
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.inferers import (
    EnsembleOptions,
    LinearInferer,
    MillimetreSirenInferer,
    MorphologicalInferer,
    NearestInferer,
    PchipInferer,
    PriorSirenInferer,
    Reconstruction,
    SliceInferer,
)
from bundle.inferers.implicit.field import Guide, MillimetreFrame, NoduleField
from bundle.inferers.implicit.millimetre import samples
from bundle.inferers.implicit.siren_prior import SIREN_PRIOR, prior_planes


def inferer(prior=PchipInferer, **changes):
    own = {name: changes.pop(name) for name in ("weight", "part") if name in changes}
    ensemble = replace(SIREN_PRIOR, **({"epochs": 3, "members": 2, "hidden_features": 16} | changes))
    return PriorSirenInferer(prior, ensemble=ensemble, device="cpu", **own)


class Waves(SliceInferer):
    """A prior that knows the truth, or the truth and 0.1, and remembers what it was asked."""

    def __init__(self, offset=0.0, error=None):
        self.offset = offset
        self.error = error
        self._asked = []

    def reconstruct(self, observed):
        self._asked.append(observed)
        x, y = (np.arange(n) * s for n, s in zip(observed.image.shape, observed.spacing, strict=False))
        image = waves(*np.meshgrid(x, y, observed.targets, indexing="ij")) + self.offset
        return Reconstruction(image=image, error=None if self.error is None else np.full(image.shape, self.error))


def test_observed_slices_are_exact_and_the_rest_has_an_error():
    seen = observed()
    result = inferer().reconstruct(seen)
    assert np.array_equal(result.image[..., ::5], seen.image)
    assert not result.error[..., ::5].any()
    hidden = np.setdiff1d(np.arange(14), np.arange(0, 14, 5))
    assert (result.error[..., hidden] > 0).all()
    assert result.image.shape == result.error.shape == (20, 18, 14)
    assert 0 <= result.image.min() <= result.image.max() <= 1


def test_the_prior_is_followed_the_more_the_more_it_weighs():
    seen = sampled(waves, (1.0, 1.0), gap=5.0, targets=np.arange(0.0, 16, 1.0))
    wrong = waves(*np.meshgrid(*(np.arange(21.0),) * 2, seen.targets, indexing="ij")) + 0.1
    away = []
    for weight in (0.01, 0.3, 10.0):
        ensemble = replace(SIREN_PRIOR, epochs=20, members=2)
        made = PriorSirenInferer(Waves(0.1), weight, 0.0, ensemble, "cpu").reconstruct(seen).image
        away.append(np.abs(made - wrong)[..., ~seen.seen].mean())
    assert away[0] > 1.08 * away[1] > 1.08**2 * away[2]


def test_a_good_prior_makes_a_good_function_even_where_it_was_not_asked():
    seen = sampled(waves, (1.0, 1.0), gap=5.0, targets=np.arange(0.0, 16, 1.0))
    with_prior = PriorSirenInferer(Waves(), ensemble=replace(SIREN_PRIOR, epochs=30, members=2), device="cpu").fit(seen)
    without = MillimetreSirenInferer(EnsembleOptions(epochs=30, members=2), "cpu").fit(seen)
    places = np.random.default_rng(0).uniform(1, 14, (400, 3))
    errors = [np.sqrt(np.mean((field(places) - waves(*places.T)) ** 2)) for field in (with_prior, without)]
    assert errors[0] < 0.02
    assert errors[0] < 0.5 * errors[1]


def test_all_of_what_is_missed_is_added_where_part_is_one():
    seen = observed(targets=np.arange(0.0, 15.1, 1.0))
    made, prior = (m.reconstruct(seen).image for m in (inferer(part=1.0), PchipInferer()))
    np.testing.assert_allclose(made, prior, atol=1e-6)
    without = inferer(part=0.0).reconstruct(seen).image
    half = inferer(part=0.5).reconstruct(seen).image
    inside = (half > 1e-3) & (half < 1 - 1e-3)
    assert np.abs(without - prior).max() > 0.02
    np.testing.assert_allclose(half[inside], ((without + prior) / 2)[inside], atol=1e-5)


def test_the_function_is_continuous_and_agrees_with_the_slices():
    seen = observed()
    method = inferer()
    field = method.fit(seen)
    image = method.reconstruct(seen).image
    on_grid = field(voxel_places((20, 18), seen.spacing, seen.targets)).reshape(image.shape)
    np.testing.assert_allclose(on_grid, image, atol=2e-6)
    rng = np.random.default_rng(0)
    places = rng.uniform([0, 0, 0], [13.3, 13.6, 19.5], (600, 3))
    places[:200, 2] = rng.choice(seen.targets, 200)  # across observed slices and the prior's
    places[200:300, 2] = rng.uniform(14.9, 15.1, 100)  # and the last observed one
    for axis in range(3):
        step = np.eye(3)[axis]
        near, far = (np.abs(field(places + h * step) - field(places - h * step)).max() for h in (1e-4, 1e-2))
        assert near < 2e-3
        assert near < 0.1 * far + 1e-5


def test_beyond_the_ends_it_goes_with_the_prior():
    seen = observed(targets=np.array([12.0, 15.0, 16.5, 18.0, 19.5]))
    made = inferer(lambda: LinearInferer(beyond="extrapolate"), part=1.0).reconstruct(seen).image
    prior = LinearInferer(beyond="extrapolate").reconstruct(seen).image
    np.testing.assert_allclose(made, prior, atol=1e-6)
    assert np.array_equal(made[..., 1], seen.image[..., -1])


def test_the_error_is_the_priors_widened():
    seen = sampled(waves, (1.0, 1.0), gap=5.0, targets=np.arange(0.0, 16, 1.0))
    method = inferer(Waves(error=0.07))
    error = method.reconstruct(seen).error
    _, spread = method.fit(seen).slices(seen.targets)
    wanted = np.sqrt(0.07**2 + spread**2)
    np.testing.assert_allclose(error[..., ~seen.seen], wanted[..., ~seen.seen], rtol=1e-5)
    assert not error[..., seen.seen].any()


def test_the_seed_alone_settles_the_result_and_the_stack_does_not():
    many = [observed(seed=0), observed(seed=1, shape=(12, 14, 11))]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    together = inferer().reconstruct_many(many)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, result in zip(many, together, strict=True):
        alone = inferer().reconstruct(one)
        assert np.array_equal(alone.image, result.image)
        assert np.array_equal(alone.error, result.error)
    other = inferer().reconstruct(dataclasses.replace(many[0], seed=9))
    assert not np.array_equal(other.image, together[0].image)


def test_the_prior_sees_what_was_observed_and_no_more():
    prior = Waves()
    seen = observed(mask=np.ones((20, 18, 3), bool), withheld=np.zeros((20, 18, 14)))
    inferer(prior).reconstruct(seen)
    assert len(prior._asked) == 1  # once: a prior may be slow
    assert prior._asked[0].image is seen.image
    assert set(np.round(seen.targets, 6)) <= set(np.round(prior._asked[0].targets, 6))


def test_without_a_target_between_it_still_asks_between():
    seen = observed(targets=np.array([0.0, 7.5, 15.0]))
    result = inferer().reconstruct(seen)
    assert np.array_equal(result.image, seen.image)
    close = observed(positions=np.array([0.0, 0.5, 1.0]), targets=np.array([0.0, 0.5]))  # nothing to ask for
    assert inferer().fit(close).guide is None
    assert np.array_equal(inferer().reconstruct(close).image, close.image[..., :2])


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(0.3, 9), min_size=1, max_size=6), st.lists(st.floats(-5, 40), min_size=1, max_size=40))
def test_planes_are_neither_too_near_nor_too_far(gaps, targets):
    positions = np.concatenate([[0.0], np.cumsum(gaps)])
    planes = prior_planes(positions, np.array(targets))
    assert np.all(np.diff(planes) > 0)
    knots = np.sort(np.concatenate([positions, planes]))
    if len(planes):
        assert np.abs(planes[:, None] - positions).min() >= 0.29
    inside = knots[(knots >= 0) & (knots <= positions[-1])]
    assert np.diff(inside).max() <= 1.25 + 1e-9
    for target in targets:  # each is asked for, or something near it is known
        assert np.abs(knots - target).min() < 0.3
    beyond = planes[(planes < 0) | (planes > positions[-1])]
    assert set(beyond) <= set(targets)


def test_planes_of_the_study_are_the_unobserved_slices():
    targets = np.arange(11) * 0.625
    planes = prior_planes(targets[::5], targets)
    assert planes.tolist() == np.delete(targets, [0, 5, 10]).tolist()


def test_a_member_is_fitted_to_a_bounded_number_of_voxels():
    seen = observed()
    guide = Guide(np.array([2.0, 4.0]), np.full((20, 18, 2), 0.5), weight=0.3, part=0.5)
    field = NoduleField([], MillimetreFrame((0.0,) * 3, (1.0,) * 3), seen, guide)
    data = samples(field, most=100, seed=3)
    places, values, weights = data.coordinates.numpy(), data.values, data.weights
    assert len(places) == len(values) == len(weights) == 200
    assert len(np.unique(places, axis=0)) == 200
    assert (values[100:] == 0.5).all()
    # each voxel with its own brightness
    index = [np.round(places[:100, 0] / 0.7), np.round(places[:100, 1] / 0.8), np.round(places[:100, 2] / 7.5)]
    np.testing.assert_allclose(values[:100], seen.image[tuple(np.array(index).astype(int))], atol=1e-6)
    # the guide as a whole counts against the observed slices as it does with all voxels
    assert torch.all(weights[:100] == 1)
    assert (weights[100:].sum() / weights[:100].sum()).item() == pytest.approx(0.3 * 2 / 3)
    again, other = samples(field, 100, 3).coordinates, samples(field, 100, 4).coordinates
    assert np.array_equal(places, again)
    assert not np.array_equal(places, other)
    everything = samples(field, None)
    assert len(everything) == seen.image.size + 2 * 360
    assert everything.weights.unique().tolist() == pytest.approx([0.3, 1.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"weight": 0}, "weight is 0"), ({"weight": np.inf}, "weight is inf"), ({"part": 1.2}, "part is 1.2"),
     ({"part": -0.1}, "part is -0.1"), ({"prior": MorphologicalInferer}, "MorphologicalInferer gives no image"),
     ({"voxels": 0}, "voxels is 0")],
)  # fmt: skip
def test_arguments_that_make_no_sense(changes, message):
    with pytest.raises(InputError, match=message):
        inferer(**changes)


def test_any_prior_will_do_itself_or_what_makes_it():
    a, b = (inferer(prior).reconstruct(observed()).image for prior in (NearestInferer, NearestInferer()))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, inferer(LinearInferer).reconstruct(observed()).image)
