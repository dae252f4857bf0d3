"""The prior as an inferer: exact where observed, turned round alike, PCHIP without training, one sentence if wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from bundle.errors import InputError
from bundle.inferers import ObservedSlices, PchipInferer, PriorInferer
from bundle.inferers.learned.prior import augmentations_of
from bundle.inferers.learned.weights import load_weights, started
from bundle.inferers.registry import METHODS
from bundle.networks import SliceSynthesisNet
from bundle.profile import block_kriging_weights


def lively(seed=0):
    """A network that does something: its zero layers filled with noise."""
    torch.manual_seed(seed)
    net = SliceSynthesisNet(features=(8, 8), target_features=(8,), fine=4)
    for layer in (net.head, net.error[-1]):
        torch.nn.init.normal_(layer.weight, std=0.05)
    for stage in (*net.around.down, *net.around.up, net.within.first):
        torch.nn.init.normal_(stage.film.weight, std=0.1)
    return net


def seen_at(positions, targets, shape=(13, 11), seed=0, spacing=(0.6, 0.8)):
    rng = np.random.default_rng(seed)
    image = rng.random((*shape, len(positions)))
    return ObservedSlices(image, None, np.asarray(positions, float), np.asarray(targets, float), spacing)


def test_without_training_it_is_pchip():
    observed = seen_at([0, 2, 5, 9], np.linspace(-2, 11, 27))
    made, expected = PriorInferer(SliceSynthesisNet).reconstruct(observed), PchipInferer().reconstruct(observed)
    np.testing.assert_allclose(made.image, expected.image, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0.5, 8.0), min_size=1, max_size=5), st.integers(0, 1000))
def test_observed_slices_are_exact_at_any_positions(steps, seed):
    positions = np.cumsum([0.0, *steps])
    observed = seen_at(positions, np.concatenate([positions, positions[:-1] + 0.3, [positions[-1] + 2]]), seed=seed)
    made = PriorInferer(lively()).reconstruct(observed)
    np.testing.assert_array_equal(made.image[..., : len(positions)], observed.image)
    assert (made.error[..., : len(positions)] == 0).all()
    assert (made.error[..., len(positions) :] > 0).all()
    assert np.isfinite(made.image).all()
    assert made.image.min() >= 0
    assert made.image.max() <= 1


def test_augmentations_are_sixteen_different_ones():
    assert len(set(augmentations_of(16))) == 16
    assert augmentations_of(1) == [(False, False, False, False)]
    flips = np.array(augmentations_of(4)).sum(0)
    assert (flips == 2).all()


def test_with_all_augmentations_a_turned_nodule_gives_the_turned_result():
    observed = seen_at([0, 3, 7, 9], np.arange(10.0), spacing=(0.7, 0.7))
    prior = PriorInferer(lively(), augmentations=16, precision="fp32")
    one = prior.reconstruct(observed)
    upside = ObservedSlices(
        observed.image[::-1, :, ::-1].transpose(1, 0, 2), None, 9 - observed.positions[::-1], np.arange(10.0),
        observed.spacing[::-1],
    )  # fmt: skip
    other = prior.reconstruct(upside)
    for name in ("image", "error"):
        turned = getattr(other, name).transpose(1, 0, 2)[::-1, :, ::-1]
        np.testing.assert_allclose(turned, getattr(one, name), atol=2e-6)


def test_one_turn_is_the_network_alone():
    net = lively().eval()
    observed = seen_at([0, 5], [2.0])
    made = PriorInferer(net, augmentations=1, precision="fp32").reconstruct(observed)
    low, high = (torch.as_tensor(observed.image[..., k], dtype=torch.float32) for k in (0, 1))
    weights = block_kriging_weights(np.array([-2.0, 3.0]), np.ones(2), np.zeros(1))
    geometry = [-2.0, -2, -2, 3, 3, 3, 0, 0, 1, 1, 0, 0, 0, 0, *weights, 0, 0, 0, 0.6, 0.8]
    window = torch.cat([
        torch.stack([low, low, low, high, high, high]),
        torch.tensor(geometry)[:, None, None].expand(-1, 13, 11),
    ])[None].float()  # fmt: skip
    with torch.no_grad():
        image, error = net(window)[0].numpy()
    np.testing.assert_allclose(made.image[..., 0], image.clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(made.error[..., 0], error, atol=1e-6)


def test_it_does_not_depend_on_how_many_windows_are_made_at_once():
    observed = seen_at([0, 5, 10, 12], np.arange(-2.0, 14.0))
    one, other = (PriorInferer(lively(), windows_at_once=n, precision="fp32").reconstruct(observed) for n in (1, 64))
    np.testing.assert_allclose(one.image, other.image, atol=1e-6)


def test_thick_slices_are_made_anew_where_they_were_observed():
    thin = seen_at([0, 5, 10], np.arange(11.0))
    thick = replace(thin, thickness_mm=5.0, profile="bell")
    one, other = (PriorInferer(lively()).reconstruct(observed) for observed in (thin, thick))
    np.testing.assert_array_equal(one.image[..., ::5], thin.image)
    assert (np.abs(other.image[..., ::5] - thin.image).max((0, 1)) > 1e-3).all()


def test_bone_and_contrast_are_kept():
    observed = seen_at([0, 5, 10, 15], np.arange(16.0))
    image = observed.image * 4 - 1
    observed = replace(observed, image=image)
    base = PchipInterpolator(observed.positions, image, axis=2)(observed.targets)
    made = PriorInferer(SliceSynthesisNet).unclipped().reconstruct(observed).image
    np.testing.assert_allclose(made, base, atol=1e-5)
    # a network moves a voxel within the window, and no further out of it than it was
    made = PriorInferer(lively()).unclipped().reconstruct(observed).image
    assert np.abs(made - base).max() > 1e-3
    assert (made <= np.maximum(base, 1) + 1e-5).all()
    assert (made >= np.minimum(base, 0) - 1e-5).all()
    assert made.max() > 2.5


def test_torchs_generator_is_left_alone():
    prior, before = PriorInferer(lively()), torch.get_rng_state()
    prior.reconstruct(seen_at([0, 5], [2.0]))
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_weights_are_read_from_a_file(tmp_path):
    net = lively()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    fresh = load_weights(SliceSynthesisNet(features=(8, 8), target_features=(8,), fine=4), tmp_path / "w.pt")
    for name, tensor in fresh.state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name])
    assert not fresh.training


@pytest.mark.parametrize("augmentations", [0, 17, 2.0])
def test_bad_augmentations(augmentations):
    with pytest.raises(InputError, match="expected a whole number from 1 to 16"):
        PriorInferer(SliceSynthesisNet, augmentations=augmentations)


def test_a_training_starts_from_weights(tmp_path):
    torch.save({"model": lively(1).state_dict()}, tmp_path / "model.pt")
    network = started(lively(0), tmp_path / "model.pt")
    assert all(map(torch.equal, network.state_dict().values(), lively(1).state_dict().values()))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training


def test_bf16_is_nearly_the_same():
    observed = seen_at([0, 5, 10], np.arange(11.0))
    one, other = (PriorInferer(lively(), precision=p).reconstruct(observed).image for p in ("fp32", "bf16"))
    assert 0 < np.abs(one - other).max() < 0.05
    with pytest.raises(InputError, match="expected 'auto', 'fp32' or 'bf16'"):
        PriorInferer(SliceSynthesisNet, precision="half")


def test_bad_weights(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        PriorInferer(SliceSynthesisNet, weights=tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4000000\n")
    for name, sentence in (
        ("text.pt", "is damaged or no file of weights"),
        ("other.pt", "holds no weights of SliceSynthesisNet"),
        ("lfs.pt", "is the pointer that git-lfs leaves for a file: fetch the file by 'git lfs pull'"),
    ):
        with pytest.raises(InputError, match=sentence):
            PriorInferer(SliceSynthesisNet, weights=tmp_path / name)


@pytest.mark.parametrize(
    ("positions", "spacing", "thickness", "said"),
    [
        ([0, 5, 10], (0.7, 0.7), 0, None),
        ([0, 5, 20], (0.7, 0.7), 0, "gaps between observed slices of 5 to 15 mm"),
        ([0, 0.5], (0.7, 0.7), 0, "gaps between observed slices of 0.5 to 0.5 mm"),
        ([0, 5], (0.7, 2.0), 0, "pixels of 0.7 to 2 mm"),
        ([0, 5], (0.7, 0.7), 12, "slice thickness of 12 to 12 mm"),
    ],
)
def test_what_it_was_not_trained_on_is_noted(positions, spacing, thickness, said):
    observed = replace(seen_at(positions, [2.0], spacing=spacing), thickness_mm=thickness)
    notes = PriorInferer(SliceSynthesisNet, limits=METHODS["prior"].limits).reconstruct(observed).notes
    assert (notes == []) if said is None else said in notes[0]


def test_nan_is_refused():
    observed = seen_at([0, 5], [2.0])
    observed.image[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="nan or infinite"):
        PriorInferer(SliceSynthesisNet).reconstruct(observed)
