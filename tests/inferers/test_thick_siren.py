"""SIRENs in mm on slices that are averages over a thickness."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.observed import waves

from bundle.inferers import MillimetreSirenInferer, PchipInferer, PriorSirenInferer
from bundle.inferers.consistency import averaging_weights
from bundle.inferers.implicit.millimetre import SIREN_MM
from bundle.inferers.implicit.profile import ProfileMean
from bundle.inferers.implicit.siren_prior import SIREN_PRIOR
from bundle.profile import block_average
from bundle.slices import ObservedSlices


@pytest.fixture(scope="module")
def thick():
    """Averages of 5 mm, 2.5 mm apart, of waves on a grid of 1 mm; the waves."""
    x, y, z = np.arange(0, 12, 0.8), np.arange(0, 10, 0.8), np.arange(31.0)
    truth = waves(*np.meshgrid(x, y, z, indexing="ij"))
    centres = np.arange(2.0, 29.0, 2.5)
    seen = block_average(truth, z, centres, 5.0)
    return ObservedSlices(seen, None, centres, z, (0.8, 0.8), thickness_mm=5.0), truth


METHODS = {
    "siren_mm": lambda: MillimetreSirenInferer(replace(SIREN_MM, members=2, epochs=12), device="cpu"),
    "siren_prior": lambda: PriorSirenInferer(
        PchipInferer, ensemble=replace(SIREN_PRIOR, members=2, epochs=6), device="cpu"
    ),
}


@pytest.mark.parametrize("name", list(METHODS))
def test_it_agrees_with_the_averages_and_knows_more_than_a_curve_through_them(thick, name):
    observed, truth = thick
    method = METHODS[name]()
    made = method.complete(observed).image
    _, weights = averaging_weights(observed)
    assert np.abs(made @ weights.T - observed.image).max() < 2e-3

    def rmse(image):
        return float(np.sqrt(np.mean((image - truth)[..., 3:28] ** 2)))

    as_planes = PchipInferer().reconstruct(replace(observed, thickness_mm=0.0)).image
    assert rmse(made) < rmse(as_planes)
    field = method.fit(observed)
    places = np.array([[1.6, 2.4, 9.0], [1.6, 2.4, 9.01]])
    assert abs(np.diff(field(places))[0]) < 0.01  # continuous where a slice's centre is near
    averaged = isinstance(field.members[0][1].network, ProfileMean)
    assert averaged == (name == "siren_mm")


def test_one_nodule_of_several_is_as_alone(thick):
    observed, _ = thick
    thin = replace(observed, thickness_mm=0.0)
    method = MillimetreSirenInferer(replace(SIREN_MM, members=1, epochs=2), device="cpu")
    both = method.reconstruct_many([observed, thin])
    for one, seen in zip(both, (observed, thin), strict=True):
        np.testing.assert_array_equal(one.image, method.reconstruct(seen).image)
