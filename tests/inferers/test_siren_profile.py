"""Slices that average over their thickness: the integral, the fit through it, and that it helps."""

from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn

from bundle.engines import FitOptions, NoduleTrainer
from bundle.errors import InputError
from bundle.inferers import ImplicitInferer, ObservedSlices, coordinate_batches
from bundle.inferers.implicit.profile import ProfileMean, profile_rule
from bundle.networks import Siren
from bundle.profile import slice_profile
from bundle.transforms import to_unit

SMALL = partial(Siren, hidden_features=32, hidden_layers=2, omega_0=10.0, dropout=0.0)


class Polynomial(nn.Module):
    """1 + x + z^5 - 3 z^2, in the unit of the coordinates."""

    def forward(self, place):
        x, _, z = place.unbind(-1)
        return (1 + x + z**5 - 3 * z**2)[..., None]


@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 3)])
def test_mean_over_the_profile_is_the_integral(shape):
    places = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    half = 0.4
    x, _, z = places.double().unbind(-1)
    low, high = z - half, z + half
    exact = 1 + x + ((high**6 - low**6) / 6 - (high**3 - low**3)) / (2 * half)
    network = ProfileMean(Polynomial(), *profile_rule(2 * half, samples=3))
    torch.testing.assert_close(network.train()(places)[..., 0].double(), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(network.eval()(places), Polynomial()(places))


def blobs(z: np.ndarray, thickness: float = 0.0, n: int = 16) -> np.ndarray:
    """Three Gaussian blobs, each voxel the exact mean over its slice's thickness; (n, n, Z) in [0, 1]."""
    x = np.arange(n) - n / 2
    out = np.full((n, n, len(z)), 0.1)
    for cx, cy, cz, sd, height in [(0, 0, 12, 3.0, 0.6), (4, -3, 20, 2.0, 0.5), (-4, 3, 5, 2.2, 0.45)]:
        plane = np.exp(-((x[:, None] - cx) ** 2 + (x[None] - cy) ** 2) / (2 * sd**2))
        if thickness:
            edges = [erf((z + t - cz) / (sd * np.sqrt(2))) for t in (thickness / 2, -thickness / 2)]
            along = (edges[0] - edges[1]) * sd * np.sqrt(np.pi / 2) / thickness
        else:
            along = np.exp(-((z - cz) ** 2) / (2 * sd**2))
        out += height * plane[..., None] * along
    return out


def test_modelling_the_profile_helps():
    """A known volume, averaged over 5 mm and kept every 2.5 mm."""
    positions, targets = np.arange(0, 25.1, 2.5), np.arange(26.0)
    truth = blobs(targets)
    observed = ObservedSlices(blobs(positions, 5.0), None, positions, targets)
    options = FitOptions(epochs=40, learning_rate=1e-3, warmup=2, t_0=0, batch_size=256, precision="fp32")
    rmse = {}
    for profile in (None, 5.0):
        inferer = ImplicitInferer(SMALL, options, "cpu", keep_observed=False, profile_mm=profile)
        image = inferer.reconstruct(observed).image
        rmse[profile] = float(np.sqrt(np.mean((image - truth) ** 2)))
    assert rmse[None] > 0.008
    assert rmse[5.0] < 0.7 * rmse[None]


@pytest.mark.realdata
def test_modelling_the_profile_helps_on_real_ct(real_data):
    """Thin slices of a real scan, averaged over 5 and kept every 2."""
    hu = nib.load(real_data / "full_context" / "RIDER_PE_0117_blob_4.nii.gz").get_fdata()[18:40, 18:40]
    thin = to_unit(hu)[..., 2:33]
    thick = np.stack([to_unit(hu)[..., z : z + 5].mean(axis=-1) for z in range(0, 31, 2)], axis=-1)
    observed = ObservedSlices(thick, None, np.arange(0, 31, 2) * 0.8, np.arange(31) * 0.8)
    options = FitOptions(epochs=20, learning_rate=1e-3, warmup=2, t_0=0, batch_size=256, precision="fp32")
    network = partial(Siren, hidden_features=48, hidden_layers=2, omega_0=15.0, dropout=0.0)
    rmse = {}
    for profile in (None, 4.0):
        inferer = ImplicitInferer(network, options, "cpu", keep_observed=False, profile_mm=profile)
        image = inferer.reconstruct(observed).image
        rmse[profile] = float(np.sqrt(np.mean((image - thin)[..., 2:-2] ** 2)))
    assert rmse[4.0] < 0.9 * rmse[None], rmse


def test_the_state_is_the_networks_own_and_renders_the_image():
    positions, targets = np.arange(0, 20.1, 5), np.arange(0, 20.1, 2.5)
    observed = ObservedSlices(blobs(positions, 5.0, n=8), None, positions, targets, seed=4)
    options = FitOptions(epochs=2, batch_size=128)
    result = ImplicitInferer(SMALL, options, "cpu", profile_mm=5.0).reconstruct(observed)
    network = SMALL().eval()
    network.load_state_dict(result.state)
    with torch.no_grad():
        corner = network(torch.tensor([[-1.0, -1.0, 1.0]])).clamp(0, 1).item()
    assert result.image[0, 0, -1] == pytest.approx(corner, abs=1e-5)
    # a thick slice is no slice of a thin volume: it isn't put back
    assert not np.allclose(result.image[..., 0], observed.image[..., 0])


def test_the_plain_trainer_takes_a_profile_too():
    observed = ObservedSlices(blobs(np.arange(0, 11, 5.0), n=8), None, np.arange(0, 11, 5.0), np.arange(11.0))
    network = ProfileMean(Siren(hidden_features=16, hidden_layers=1), *profile_rule(0.4, samples=3))
    trainer = NoduleTrainer(network, coordinate_batches(observed, 64), FitOptions(epochs=2))
    trainer.run()
    assert len(trainer.history["loss"]) == 2


def test_the_thickness_is_the_observed_slices_own_or_what_is_said_instead():
    positions, options = np.arange(0, 11, 5.0), FitOptions(epochs=2, batch_size=64)
    planes = ObservedSlices(blobs(positions, n=8), None, positions, np.arange(11.0))
    thick = replace(planes, thickness_mm=4.0)

    def image(observed, **profile):
        return ImplicitInferer(SMALL, options, "cpu", **profile).reconstruct(observed).image

    np.testing.assert_array_equal(image(thick), image(planes, profile_mm=4.0))
    np.testing.assert_array_equal(image(thick, profile_mm=0), image(planes))
    assert not np.allclose(image(thick), image(planes), atol=1e-4)


@pytest.mark.parametrize("kind", ["box", "trapezoid", "bell"])
def test_every_profile_has_its_mean(kind):
    places, weights = profile_rule(4.0, kind, samples=64)
    offsets = np.linspace(-8, 8, 16001)
    exact = slice_profile(offsets, 4.0, kind)
    for power in (0, 1, 2):
        assert weights @ places**power == pytest.approx(exact @ offsets**power, rel=0.03, abs=0.01)


def test_many_thick_ones_are_as_each_alone():
    options = FitOptions(epochs=2, batch_size=64)
    many = [
        ObservedSlices(blobs(z := np.arange(0, end, 5.0), n=8), None, z, np.arange(float(end)), thickness_mm=4.0)
        for end in (11, 21)
    ]
    method = ImplicitInferer(SMALL, options, "cpu")
    for one, result in zip(many, method.reconstruct_many(many), strict=True):
        np.testing.assert_array_equal(method.reconstruct(one).image, result.image)


@pytest.mark.parametrize("thickness", [-1, float("nan"), "thick"])
def test_a_thickness_that_is_none_is_refused(thickness):
    with pytest.raises(InputError, match="profile_mm is"):
        ImplicitInferer(SMALL, profile_mm=thickness)
