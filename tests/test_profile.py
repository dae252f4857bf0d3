"""Slice profiles against quadrature, and kriging of blocks against a brute-force solution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize

from bundle.errors import InputError
from bundle.profile import PROFILES, block_average, block_kriging_weights, profile_nodes, slice_profile


def density(u, kind):
    """The profile of FWHM 1 at u, of any height."""
    if kind == "box":
        return float(abs(u) < 0.5)
    return float(np.clip(1.5 - 2 * abs(u), 0, 1)) if kind == "trapezoid" else 0.5 ** (4 * u * u)


@pytest.mark.parametrize("kind", PROFILES)
def test_a_profile_has_its_width_at_half_height(kind):
    edge = 0.5 - 1e-9
    assert density(edge, kind) >= 0.5 - 1e-6
    assert density(edge + 1e-6, kind) <= 0.5 + 1e-6


@pytest.mark.parametrize("kind", PROFILES)
@pytest.mark.parametrize("thickness", [0.7, 2.0, 5.0])
def test_weights_are_the_integral_over_each_cell(kind, thickness):
    offsets = np.arange(-12, 13) * 0.8 + 0.3
    bends = [b * thickness for b in (-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75)]

    def cell(o):
        inside = [b for b in bends if o - 0.4 < b < o + 0.4]
        return quad(lambda t: density(t / thickness, kind), o - 0.4, o + 0.4, points=inside or None)[0]

    expected = np.array([cell(o) for o in offsets])
    np.testing.assert_allclose(slice_profile(offsets, thickness, kind), expected / expected.sum(), atol=1e-7)


@given(
    st.sampled_from(PROFILES), st.floats(0, 8), st.floats(-2, 2), st.lists(st.floats(0.2, 3), min_size=6, max_size=30)
)
def test_weights_are_an_average(kind, thickness, shift, steps):
    weights = slice_profile(np.cumsum(steps) - np.cumsum(steps).mean() + shift * 0.05, thickness, kind)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_box_of_whole_slices_is_their_mean(count):
    volume = np.random.default_rng(0).random((3, 4, 20))
    places = np.arange(20) * 0.8
    centres = np.array([places[2 : 2 + count].mean(), places[9 : 9 + count].mean()])
    made = block_average(volume, places, centres, count * 0.8)
    np.testing.assert_allclose(made[..., 0], volume[..., 2 : 2 + count].mean(-1))
    np.testing.assert_allclose(made[..., 1], volume[..., 9 : 9 + count].mean(-1))


def test_thickness_0_takes_the_plane():
    assert slice_profile([-1.0, 0.0, 1.0], 0.0).tolist() == [0, 1, 0]
    assert slice_profile([-0.5, 0.5], 0.0, "bell").tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", PROFILES)
def test_nodes_have_the_mean_and_spread_of_the_profile(kind):
    spread = {"box": 1 / 12, "trapezoid": 1.25 / 12, "bell": 1 / (8 * np.log(2))}[kind]
    nodes = profile_nodes(3.0, kind, 400)
    assert nodes.mean() == pytest.approx(0, abs=1e-12)
    assert (nodes**2).mean() == pytest.approx(9 * spread, rel=0.01)
    assert abs(nodes).max() <= 3.0 * {"box": 0.5, "trapezoid": 0.75, "bell": np.inf}[kind] * (1 + 1e-9)
    assert profile_nodes(np.array([1.0, 2.0]), kind, 5).shape == (2, 5)


def test_kriging_minimises_the_expected_error():
    offsets, nodes = np.array([-7.0, -3.0, 1.0, 4.0]), profile_nodes(4.0, "bell", 6)
    cov = lambda a, b: np.exp(-abs(a[:, None] - b[None, :]) / 6).mean()  # noqa: E731
    blocks = [o + nodes for o in offsets]
    between = np.array([[cov(a, b) for b in blocks] for a in blocks]) + 0.02 * np.eye(4)
    target = np.array([cov(a, np.zeros(1)) for a in blocks])
    found = minimize(
        lambda w: w @ between @ w - 2 * w @ target,
        np.full(4, 0.25),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        tol=1e-12,
    )
    np.testing.assert_allclose(block_kriging_weights(offsets, np.ones(4), nodes), found.x, atol=1e-5)


def test_kriging_leaves_out_what_is_not_there():
    offsets = np.array([[-7.0, -3.0, 1.0, 4.0], [-2.0, -1.0, 1.0, 99.0]])
    valid = np.array([[0, 1, 1, 1], [1, 1, 1, 0]])
    nodes = np.stack([profile_nodes(3.0), profile_nodes(0.0)])
    both = block_kriging_weights(offsets, valid, nodes)
    assert both[0, 0] == 0
    assert both[1, 3] == 0
    np.testing.assert_allclose(both[0, 1:], block_kriging_weights(offsets[0, 1:], np.ones(3), nodes[0]))
    np.testing.assert_allclose(both.sum(1), 1)


def test_bad_profiles_are_refused():
    with pytest.raises(InputError, match="expected one of box, trapezoid, bell"):
        slice_profile([0.0, 1.0], 1.0, "round")
    with pytest.raises(InputError, match="thickness is -1"):
        slice_profile([0.0, 1.0], -1.0)
    with pytest.raises(InputError, match="no thin slice lies within"):
        slice_profile([10.0, 11.0], 1.0)
