"""The hybrid of grid and sines, and the mean of it and of SIRENs in mm."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.observed import observed, sampled, voxel_places, waves

from bundle.engines import plan
from bundle.errors import InputError
from bundle.inferers import (
    EnsembleOptions,
    GridInferer,
    GridOptions,
    LinearInferer,
    MillimetreSirenInferer,
    MixedImplicitInferer,
    ObservedSlices,
)
from bundle.inferers.consistency import averaging_weights
from bundle.inferers.implicit.field import NoduleField, frame_of
from bundle.inferers.implicit.grid import GRID_MM
from bundle.profile import block_average

QUICK = GridOptions(epochs=20)


def inferer(**changes):
    return GridInferer(replace(QUICK, **changes), "cpu")


def mixed():
    siren = MillimetreSirenInferer(EnsembleOptions(epochs=3, members=2, hidden_features=16), "cpu")
    return MixedImplicitInferer(siren, inferer())


@pytest.mark.parametrize("make", [inferer, mixed])
def test_the_seed_alone_settles_the_result_whatever_is_fitted_beside_it(make, monkeypatch):
    many = [observed(seed=0), observed(seed=1, shape=(12, 14, 11)), observed(seed=2)]
    torch.manual_seed(5)
    alone = [make().reconstruct(one) for one in many]
    monkeypatch.setattr(plan, "stack_limit", lambda *args: 4)
    for one, seen, result in zip(alone, many, make().reconstruct_many(many), strict=True):
        assert np.array_equal(one.image, result.image)
        assert np.array_equal(one.error, result.error)
        assert all(torch.equal(one.state[name], result.state[name]) for name in one.state)
        assert np.array_equal(result.image[..., ::5], seen.image)
        assert not result.error[..., ::5].any()
        assert (result.error[..., 1] > 0).all()
    assert not np.array_equal(alone[0].image, make().reconstruct(replace(many[0], seed=7)).image)


def test_no_cell_is_shorter_along_z_than_the_largest_gap():
    seen = observed(positions=np.array([0.0, 3.0, 10.5]))
    frame = frame_of(seen, GRID_MM.bandwidth, GRID_MM.omega_0)
    _, *levels = GRID_MM.network(seen, frame).encoding.parts
    cells = np.array([level.cells for level in levels]) / frame.scale
    np.testing.assert_allclose(cells[:, 0], [16, 10, 6.25, 3.90625])
    np.testing.assert_allclose(cells[:, 2], [16, 10, 7.5, 7.5])
    assert [level.orders for level in levels] == [(1, 1, 2)] * 4


def test_it_recovers_a_function_of_low_frequency_better_than_interpolation_along_z():
    targets = np.arange(0.5, 18, 1.0)
    seen = sampled(waves, (1.0, 1.0), targets=targets)
    x, y = (np.arange(n) * 1.0 for n in seen.image.shape[:2])
    truth = waves(*np.meshgrid(x, y, targets, indexing="ij"))
    made = [m.reconstruct(seen).image for m in (inferer(epochs=300), LinearInferer())]
    errors = [np.sqrt(np.mean((image - truth) ** 2)) for image in made]
    assert errors[0] < 0.7 * errors[1]


def test_grid_and_function_agree():
    seen = observed()
    for method in (inferer(), mixed()):
        image = method.reconstruct(seen).image
        made = method.fit(seen)(voxel_places((20, 18), seen.spacing, seen.targets)).reshape(image.shape)
        np.testing.assert_allclose(made, image, atol=5e-6)


def test_the_mixture_is_the_mean_of_both():
    seen = observed()
    method = mixed()
    images = [part.reconstruct(seen).image for part in method.parts]
    result = method.reconstruct(seen)
    np.testing.assert_allclose(result.image, np.mean(images, axis=0), atol=1e-12)
    assert result.timings["steps"] == sum(part.reconstruct(seen).timings["steps"] for part in method.parts)
    told = []
    method.on_progress = lambda done, total, words: told.append(done / total)
    method.reconstruct(seen)
    assert told == sorted(told)
    assert told[-1] == 1


def test_slices_that_are_averages_are_fitted_by_their_mean():
    z = np.arange(31.0)
    x, y = np.arange(0, 12, 0.8), np.arange(0, 10, 0.8)
    truth = waves(*np.meshgrid(x, y, z, indexing="ij"))
    centres = np.arange(2.0, 29.0, 2.5)
    seen = ObservedSlices(block_average(truth, z, centres, 5.0), None, centres, z, (0.8, 0.8), thickness_mm=5.0)
    result = inferer(epochs=60, members=1).complete(seen)
    assert result.timings["path"] == "lattice, fp32, cpu"
    _, weights = averaging_weights(seen)
    assert np.abs(result.image @ weights.T - seen.image).max() < 2e-3
    as_planes = LinearInferer().reconstruct(replace(seen, thickness_mm=0.0)).image
    errors = [np.sqrt(np.mean((image - truth)[..., 3:28] ** 2)) for image in (result.image, as_planes)]
    assert errors[0] < errors[1]


def test_a_mean_over_a_profile_is_the_same_on_a_lattice_and_place_by_place():
    seen = observed(thickness_mm=3.0)
    method = inferer()
    frame = frame_of(seen, GRID_MM.bandwidth, GRID_MM.omega_0)
    network = method._member(NoduleField([], frame, seen)).train()
    for kept in (None, np.array([0, 5, 700])):
        lattice = frame.lattice(seen, seen.positions, kept)
        torch.testing.assert_close(network.on_lattice(lattice)(), network(lattice.places()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": (2.0, 16.0)}, "coarsest"),
        ({"ratio": 1.0}, "ratio above 1"),
        ({"finest": 0.0}, "finest is 0.0"),
        ({"members": 0}, "members is 0"),
    ],
)
def test_arguments_that_make_no_sense(changes, message):
    with pytest.raises(InputError, match=message):
        inferer(**changes)


def test_the_mixture_is_of_ensembles_alone():
    with pytest.raises(InputError, match="LinearInferer is no ensemble in mm"):
        MixedImplicitInferer(LinearInferer, GridInferer)
