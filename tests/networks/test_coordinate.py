"""Decoders, and networks of an encoding and a decoder."""

import numpy as np
import pytest
import torch

from bundle.errors import InputError
from bundle.networks import CoordinateNetwork, Decoder, GridLevel, Lattice, Siren, fourier_mlp, instant_ngp


def by_hand(network, x, activation):
    arrays = [p.detach().numpy().astype(float) for p in network.parameters()]
    for weight, bias in zip(arrays[0:-2:2], arrays[1:-2:2], strict=True):
        x = activation(x @ weight.T + bias)
    return x @ arrays[-2].T + arrays[-1]


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("sine", lambda z: np.sin(7 * z)),
        ("finer", lambda z: np.sin(7 * (np.abs(z) + 1) * z)),
        ("relu", lambda z: np.maximum(z, 0)),
    ],
)
def test_a_decoder_is_its_formula(name, activation):
    torch.manual_seed(0)
    network = Decoder(5, 2, 16, 2, omega_0=7.0, dropout=0.0, activation=name)
    x = np.random.default_rng(0).uniform(-1, 1, (40, 5))
    np.testing.assert_allclose(network(torch.tensor(x).float()).detach(), by_hand(network, x, activation), atol=1e-5)


def test_the_siren_is_the_decoder_of_coordinates():
    networks = []
    for make in (lambda: Siren(3, 1, 16, 2, 30.0, 0.0), lambda: Decoder(3, 1, 16, 2, 30.0, 0.0, "sine")):
        torch.manual_seed(0)
        networks.append(make())
    x = torch.rand(9, 3)
    assert torch.equal(networks[0](x), networks[1](x))
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())


def test_an_unknown_activation_is_told():
    with pytest.raises(InputError, match="activation is 'gelu', expected sine, finer or relu"):
        Decoder(activation="gelu")


def test_a_network_on_a_lattice_follows_its_parameters():
    torch.manual_seed(0)
    network = CoordinateNetwork(GridLevel([0.5] * 3, [-1] * 3, [1] * 3), Decoder(2, hidden_features=8, dropout=0.0))
    lattice = Lattice((torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 2)))
    values = network.on_lattice(lattice)
    before = values()
    torch.nn.init.normal_(network.encoding.table)
    assert not torch.allclose(values(), before)
    torch.testing.assert_close(values(), network(lattice.places()))


def test_networks_as_published():
    grid = instant_ngp()
    assert [round(2 / part.cells[0]) for part in grid.encoding.parts][::5] == [16, 50, 161, 512]
    assert {len(part.table) for part in grid.encoding.parts if part.hashed} == {2**14}
    assert [tuple(m.weight.shape) for m in grid.decoder.modules() if isinstance(m, torch.nn.Linear)] == [
        (64, 32), (64, 64), (1, 64),
    ]  # fmt: skip
    assert fourier_mlp()(torch.zeros(2, 3)).shape == (2, 1)
