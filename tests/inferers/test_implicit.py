import copy

import numpy as np
import pytest
import torch
from helpers.nodules import small_nodule

from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers import ImplicitInferer, ObservedSlices, coordinate_batches
from bundle.inferers.implicit.inferer import unit_places
from bundle.networks import Siren
from bundle.slices import with_observed

OPTIONS = FitOptions(epochs=4, learning_rate=1e-3, warmup=1, batch_size=256)


def network():
    return Siren(hidden_features=32, hidden_layers=2)


def observed(seed=0, shape=(20, 18, 14), step=5, **changes):
    hu, _ = small_nodule(shape, seed)
    image = np.clip((hu + 1000) / 1400, 0, 1).astype(np.float32)
    parts = {
        "image": image[..., ::step], "mask": None, "positions": np.arange(0, shape[2], step) * 1.5,
        "targets": np.arange(shape[2]) * 1.5, "spacing": (0.7, 0.7), "seed": seed,
    }  # fmt: skip
    return ObservedSlices(**(parts | changes))


def inferer(engine="auto", options=OPTIONS, **kwargs):
    return ImplicitInferer(network, options, device="cpu", engine=engine, **kwargs)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_result_has_the_wanted_shape_range_and_record(engine):
    result = inferer(engine).reconstruct(observed())
    assert result.image.shape == (20, 18, 14)
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    assert {name: len(curve) for name, curve in result.history.items()} == {"loss": 4, "lr": 4}
    assert result.timings["path"]
    fitted = network()
    fitted.load_state_dict(result.state)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_the_seed_alone_settles_the_result(engine):
    torch.manual_seed(1)
    first = inferer(engine).reconstruct(observed())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = inferer(engine).reconstruct(observed())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(first.image, second.image)
    assert first.history == second.history
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert not np.array_equal(first.image, inferer(engine).reconstruct(observed(seed=1)).image)


def test_nothing_but_the_observed_brightness_and_places_counts():
    wanted = inferer().reconstruct(observed()).image
    with_mask = observed(mask=np.ones((20, 18, 3), bool), spacing=(2.0, 2.0))
    assert np.array_equal(inferer().reconstruct(with_mask).image, wanted)
    changed = observed()
    changed.image[3, 3, 1] += 0.3
    assert not np.array_equal(inferer().reconstruct(changed).image, wanted)


def test_the_fit_sees_every_observed_voxel_and_no_other():
    seen = observed()
    batches = coordinate_batches(seen, batch_size=100)
    assert len(batches.coordinates) == seen.image.size
    assert np.array_equal(batches.values.reshape(seen.image.shape).numpy(), seen.image)
    z = batches.coordinates[:, 2].reshape(seen.image.shape)
    assert np.unique(z.numpy()).tolist() == pytest.approx([-1, -1 + 10 / 13, -1 + 20 / 13])


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_many_are_as_each_alone(engine):
    many = [observed(seed=0), observed(seed=1, shape=(12, 14, 11)), observed(seed=2)]
    together = inferer(engine).reconstruct_many(many)
    for one, result in zip(many, together, strict=True):
        alone = inferer(engine).reconstruct(one)
        assert np.array_equal(alone.image, result.image)
        assert alone.history == result.history


def test_both_engines_learn_the_same():
    options = FitOptions(epochs=60, learning_rate=1e-3, warmup=5, t_0=0, batch_size=256)
    fast, plain = (inferer(engine, options).reconstruct(observed()).history["loss"] for engine in ("auto", "plain"))
    assert fast[-1] < 0.3 * fast[0]
    assert fast[-1] == pytest.approx(plain[-1], rel=0.25)


def test_works_under_no_grad_as_monai_calls_it():
    with torch.no_grad():
        a = inferer()(torch.as_tensor(observed().image), positions=[0, 5, 10], targets=range(11))
    b = inferer()(torch.as_tensor(observed().image), positions=[0, 5, 10], targets=range(11))
    assert a.shape == (20, 18, 11)
    assert torch.equal(a, b)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_a_network_that_is_passed_in_is_the_start_and_stays(engine):
    start = network()
    before = copy.deepcopy(start.state_dict())
    image = observed().image
    first = inferer(engine)(image, start, positions=[0, 5, 10], targets=range(11))
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    assert np.array_equal(first, inferer(engine)(image, start, positions=[0, 5, 10], targets=range(11)))
    assert not np.array_equal(first, inferer(engine)(image, network(), positions=[0, 5, 10], targets=range(11)))


def test_observed_slices_are_kept_or_rendered():
    seen = observed()
    kept = inferer().reconstruct(seen).image
    rendered = inferer(keep_observed=False).reconstruct(seen).image
    assert np.array_equal(kept[..., ::5], seen.image)
    assert not np.array_equal(rendered[..., ::5], seen.image)
    unobserved = np.setdiff1d(np.arange(14), np.arange(0, 14, 5))
    assert np.array_equal(kept[..., unobserved], rendered[..., unobserved])


def test_kept_slices_are_found_by_their_place():
    seen = ObservedSlices(np.ones((2, 2, 2)), None, np.array([0.0, 2.0]), np.array([0.0, 1.0, 2.0 + 1e-9, 3.0]))
    assert with_observed(np.zeros((2, 2, 4)), seen)[0, 0].tolist() == [1, 0, 1, 0]


def test_uneven_positions_keep_their_distances():
    seen = observed(positions=np.array([0.0, 2.0, 8.0]), targets=np.array([0.0, 4.0, 10.0]))
    inside, wanted = (unit_places(seen, z)[:3, 2].tolist() for z in (seen.positions, seen.targets))
    assert inside == pytest.approx([-1, -0.6, 0.6])
    assert wanted == pytest.approx([-1, -0.2, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_number(value):
    broken = observed()
    broken.image[0, 0, 0] = value
    with pytest.raises(InputError, match="nan or infinite"):
        inferer().reconstruct(broken)


def test_no_brightness_or_unknown_engine():
    with pytest.raises(InputError, match="needs the observed image"):
        inferer().reconstruct(observed(image=None, mask=np.ones((20, 18, 3), bool)))
    with pytest.raises(InputError, match="engine is 'fast'"):
        inferer("fast")


def test_fallback_is_noted(monkeypatch, fresh_library):
    monkeypatch.setenv("LUNG_NODULE_NATIVE", "0")
    result = inferer().reconstruct(observed())
    assert len(result.notes) == 1
    assert "LUNG_NODULE_NATIVE" in result.notes[0]
