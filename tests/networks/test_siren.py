import math

import numpy as np
import pytest
import torch

from bundle.networks import SineLayer, Siren


@pytest.mark.parametrize(("hidden_layers", "width"), [(3, 256), (2, 256), (1, 32), (0, 16)])
def test_parameter_count(hidden_layers, width):
    expected = 3 * width + width + hidden_layers * (width * width + width) + width + 1
    assert sum(p.numel() for p in Siren(hidden_features=width, hidden_layers=hidden_layers).parameters()) == expected


def test_initial_ranges_are_sitzmanns():
    torch.manual_seed(0)
    linears = [m for m in Siren().modules() if isinstance(m, torch.nn.Linear)]
    bounds = [1 / 3] + [math.sqrt(6 / 256) / 30] * 4
    for linear, bound in zip(linears, bounds, strict=True):
        weight = linear.weight.detach()
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.95 * bound  # uniform up to the bound, not merely below it
        assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert linear.bias.abs().max() <= 1 / math.sqrt(linear.in_features)


def test_the_signal_keeps_its_spread_through_the_layers():
    # theorem of the SIREN paper: what enters each hidden sine is close to N(0, 1)
    torch.manual_seed(0)
    x = torch.rand(4096, 3) * 2 - 1
    for layer in Siren(hidden_layers=4, dropout=0).layers[:-1]:
        if layer.linear.in_features > 3:
            before = layer.omega_0 * (x @ layer.linear.weight.T)
            assert 0.85 < before.std().item() < 1.15
        x = layer(x)


def test_forward_is_the_written_formula():
    torch.manual_seed(1)
    net = Siren(hidden_features=16, hidden_layers=2, omega_0=7.0).eval()
    arrays = [p.detach().numpy().astype(float) for p in net.parameters()]
    x = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    h = x
    for weight, bias in zip(arrays[0:-2:2], arrays[1:-2:2], strict=True):
        h = np.sin(7.0 * (h @ weight.T + bias))
    expected = h @ arrays[-2].T + arrays[-1]
    np.testing.assert_allclose(net(torch.tensor(x).float()).detach().numpy(), expected, atol=1e-5)


def test_dropout_follows_the_hidden_layers_and_only_in_training():
    kinds = [type(m).__name__ for m in Siren(hidden_layers=2).layers]
    assert kinds == ["SineLayer", "SineLayer", "Dropout", "SineLayer", "Dropout", "Linear"]
    assert "Dropout" not in [type(m).__name__ for m in Siren(hidden_layers=2, dropout=0).layers]
    net, x = Siren(), torch.rand(8, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_any_leading_axes():
    net, x = Siren().eval(), torch.rand(2, 5, 3)
    assert net(x).shape == (2, 5, 1)
    torch.testing.assert_close(net(x)[1, 4], net(x[1, 4]))


def test_sine_layer_frequency():
    layer = SineLayer(1, 1, omega_0=2.0)
    with torch.no_grad():
        layer.linear.weight.fill_(1.0)
        layer.linear.bias.fill_(0.0)
    assert layer(torch.tensor([[math.pi / 4]])).item() == pytest.approx(1.0)
