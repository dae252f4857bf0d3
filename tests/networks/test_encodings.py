"""Encodings of places, against scipy's B-splines and against the formulas of their papers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from bundle.networks import Concatenation, FourierFeatures, GridLevel, Lattice
from bundle.networks.encodings import on_lattice


def basis(places, low, cell, shift, order, count):
    """scipy's B-splines at places, (N, count): uniform knots, the first of them ``order`` cells below."""
    knots = (np.arange(count + order + 1) - order) * cell + low - shift * cell
    return BSpline.design_matrix(places, knots, order, extrapolate=True).toarray()


@pytest.mark.parametrize("orders", [(1, 1, 1), (1, 1, 2), (2, 2, 2)])
def test_a_dense_level_is_a_tensor_product_of_b_splines(orders):
    torch.manual_seed(0)
    cells, low, high = (0.7, 0.9, 1.3), (-1.0, 0.0, 2.0), (1.2, 2.0, 5.0)
    level = GridLevel(cells, low, high, features=3, orders=orders, shifted=True).double()
    torch.nn.init.normal_(level.table)
    places = np.random.default_rng(0).uniform(low, high, (200, 3))
    shift, table = level.shift.detach().numpy(), level.table.detach().numpy().reshape(*level.shape, 3)
    axes = [
        basis(places[:, a], low[a], cells[a], shift[a], orders[a], level.shape[a]) for a in range(3)
    ]  # fmt: skip
    wanted = np.einsum("ni,nj,nk,ijkf->nf", *axes, table)
    np.testing.assert_allclose(level(torch.tensor(places)).detach(), wanted, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.tuples(*[st.integers(1, 5)] * 3),
    cells=st.tuples(*[st.floats(0.1, 3)] * 3),
    order=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_on_a_lattice_it_is_what_it_is_place_by_place(counts, cells, order, seed):
    torch.manual_seed(seed)
    axes = tuple(torch.sort(torch.rand(n) * 2 - 1).values for n in counts)
    kept = torch.randperm(int(np.prod(counts)))[:4].sort().values
    both = Concatenation([GridLevel(cells, [-1] * 3, [1] * 3, orders=(1, 1, order), shifted=True), FourierFeatures()])
    torch.nn.init.normal_(both.parts[0].table)
    for lattice in (Lattice(axes), Lattice(axes, kept)):
        places = lattice.places()
        assert places.shape == (len(kept) if lattice.kept is not None else np.prod(counts), 3)
        torch.testing.assert_close(on_lattice(both, lattice)(), both(places), rtol=1e-4, atol=1e-5)


def test_weights_of_nodes_sum_to_one_and_beyond_the_ends_the_end_goes_on():
    level = GridLevel((0.3, 0.4, 0.5), [-1] * 3, [1] * 3, orders=(1, 2, 2), shifted=True)
    torch.nn.init.ones_(level.table)
    torch.testing.assert_close(level(torch.rand(50, 3) * 2 - 1), torch.ones(50, 2))
    torch.nn.init.normal_(level.table)
    torch.testing.assert_close(level(torch.tensor([[9.0, 0, -9]])), level(torch.tensor([[1.0, 0, -1]])))


def test_a_hashed_level_looks_its_nodes_up_as_published():
    torch.manual_seed(0)
    level = GridLevel([0.1] * 3, [-1] * 3, [1] * 3, table=64)
    assert level.hashed
    assert level.table.shape == (64, 2)
    for node in ([3, 7, 11], [0, 0, 20], [20, 19, 18]):
        row = (node[0] ^ (node[1] * 2654435761) ^ (node[2] * 805459861)) % 64
        torch.testing.assert_close(level(torch.tensor([node]) * 0.1 - 1)[0], level.table[row], rtol=0, atol=1e-8)
    assert not GridLevel([0.5] * 3, [-1] * 3, [1] * 3, table=10_000).hashed
    axes = (torch.rand(3), torch.rand(2), torch.rand(2))
    torch.testing.assert_close(on_lattice(level, Lattice(axes))(), level(Lattice(axes).places()))


def test_fourier_features_are_their_formula_and_are_not_fitted():
    torch.manual_seed(0)
    features = FourierFeatures(sigma=3.0, frequencies=4000)
    frequencies = features.frequencies.detach().numpy()
    assert np.std(frequencies) == pytest.approx(3.0, rel=0.05)
    places = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype("f4")
    angle = 2 * np.pi * places @ frequencies
    made = features(torch.tensor(places))
    np.testing.assert_allclose(made.detach(), np.concatenate([np.sin(angle), np.cos(angle)], axis=1), atol=2e-5)
    assert not made.requires_grad
