import ctypes

import numpy as np
import pytest
import torch

from bundle.engines import NoduleData
from bundle.engines.steps import native
from bundle.engines.steps.counter_random import splitmix64
from bundle.engines.steps.draws import unpack_keep
from bundle.engines.steps.siren_native import NativeSirenStep, siren_shape
from bundle.engines.steps.siren_torch import StackedSiren
from bundle.networks import Siren

needs_compiler = pytest.mark.skipif(native.find_compiler() is None, reason="no C compiler")


def case(width=40, hidden=2, rows=100, drop=0.5, omega=30.0, seed=0):
    """A SIREN, a batch, kept units, and error and gradient by autograd in float64."""
    torch.manual_seed(seed)
    net = Siren(hidden_features=width, hidden_layers=hidden, dropout=drop, omega_0=omega)
    data = NoduleData(torch.rand(rows, 3) * 2 - 1, torch.rand(rows), seed, batch_size=rows)
    weight = torch.rand(rows)
    if rows > 3:
        weight[-3:] = 0
    weight /= weight.sum()
    keep = data.keep(5, [width] * hidden, [drop] * hidden)
    tensors = [p.detach().double().requires_grad_() for p in net.parameters()]
    x = torch.sin(omega * (data.coordinates.double() @ tensors[0].T + tensors[1]))
    for layer in range(hidden):
        x = torch.sin(omega * (x @ tensors[2 + 2 * layer].T + tensors[3 + 2 * layer]))
        if drop > 0:
            x = x * unpack_keep(keep[layer], rows) / (1 - drop)
    error = (weight * ((x @ tensors[-2].T + tensors[-1])[:, 0] - data.values) ** 2).sum()
    error.backward()
    flat = torch.nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    return (
        net,
        data,
        weight,
        (keep if drop > 0 else None),
        flat,
        error.item(),
        torch.cat([t.grad.flatten() for t in tensors]),
    )


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [{}, {"hidden": 1}, {"hidden": 3, "width": 256, "rows": 333}, {"drop": 0.0}, {"drop": 0.2}, {"rows": 1},
              {"width": 19, "rows": 65}]
)  # fmt: skip
def test_compiled_gradient_is_autograds(dtype, shape):
    net, data, weight, keep, flat, error, gradient = case(**shape)
    step = NativeSirenStep(siren_shape(net), 2048, native.pointwise_library(dtype)[0])
    got, grad = step.gradient(flat, data.coordinates, data.values, weight, keep)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert got == pytest.approx(error, rel=tolerance)
    assert relative(grad.double(), gradient) < tolerance


@pytest.mark.parametrize("shape", [{}, {"drop": 0.0}, {"drop": 0.2}, {"width": 19, "rows": 65, "hidden": 3}])
def test_gradient_in_torch_operations_is_autograds(shape):
    net, data, weight, keep, flat, error, gradient = case(**shape)
    stack = [t[None].repeat(2, *[1] * t.dim()) for t in (flat, data.coordinates, data.values, weight)]
    got, grad = StackedSiren(siren_shape(net))(*stack, [k[None].repeat(2, 1, 1) for k in keep or []])
    for i in range(2):
        assert got[i].item() == pytest.approx(error, rel=1e-5)
        assert relative(grad[i].double(), gradient) < 2e-6


@needs_compiler
@pytest.mark.parametrize("clip", [0.0, 1e-3, 1.0, 1e6])
def test_compiled_adam_is_torchs(clip):
    net, *_ = case()
    step = NativeSirenStep(siren_shape(net), 64, native.pointwise_library(torch.float32)[0])
    count = step.shape.parameters
    rng = torch.Generator().manual_seed(0)
    mine = torch.rand(count, generator=rng)
    wanted = mine.clone().requires_grad_()
    first, second = torch.zeros(count), torch.zeros(count)
    optimizer = torch.optim.Adam([wanted], lr=1.0)
    for i in range(1, 30):
        gradient = torch.randn(count, generator=rng) / 20
        rate = 1e-2 / i
        step.update(gradient, mine, first, second, rate, i, clip)
        wanted.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate
        if clip:
            torch.nn.utils.clip_grad_norm_([wanted], clip)
        optimizer.step()
    torch.testing.assert_close(mine, wanted.detach(), rtol=1e-5, atol=1e-6)


@needs_compiler
def test_sine_and_cosine_over_a_wide_range():
    library = native.pointwise_library(torch.float32)[0]
    angles = np.concatenate([np.linspace(-60, 60, 5000), np.linspace(-5000, 5000, 5000)]).astype(np.float32)
    places = torch.zeros(len(angles), 3)
    places[:, 0] = torch.from_numpy(angles)
    weight, bias = torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1)
    out = [torch.empty(len(angles), 1) for _ in range(2)]
    arrays = [ctypes.c_void_p(t.data_ptr()) for t in (places, weight, bias, *out)]
    library.function("first")(ctypes.c_long(len(angles)), ctypes.c_long(1), ctypes.c_float(1.0), *arrays)
    np.testing.assert_allclose(out[0][:, 0], np.sin(angles.astype(float)), atol=3e-7)
    np.testing.assert_allclose(out[1][:, 0], np.cos(angles.astype(float)), atol=3e-7)


@needs_compiler
@pytest.mark.parametrize("width", [7, 16, 100])
def test_bfloat16_is_rounded_to_nearest(width):
    angle = torch.linspace(-50, 50, 40 * width).reshape(40, width)
    kept, bias = torch.full((2, width), -1, dtype=torch.int32), torch.zeros(width)
    made = {}
    for dtype in (torch.float32, torch.bfloat16):
        sine, cosine = angle.bfloat16().to(dtype), torch.empty(40, width, dtype=dtype)
        function = native.pointwise_library(dtype)[0].function("hidden")
        arrays = [ctypes.c_void_p(t.data_ptr()) for t in (bias, kept, sine, cosine)]
        function(ctypes.c_long(40), ctypes.c_long(width), ctypes.c_float(30.0), *arrays)
        made[dtype] = torch.stack([sine, cosine])
    same = made[torch.bfloat16] == made[torch.float32].bfloat16()
    assert same.float().mean() > 0.999, "but for what another order of operations moves"


@needs_compiler
def test_compiled_random_numbers_are_torchs():
    step = NativeSirenStep(siren_shape(Siren()), 64, native.pointwise_library(torch.float32)[0])
    key = 0xFEDCBA9876543210
    words = step.words(key, 7 << 32, torch.empty(100, dtype=torch.int64))
    assert torch.equal(words, splitmix64(key, torch.arange(100) + (7 << 32)))


@needs_compiler
@pytest.mark.parametrize("drop", [0.5, 0.25, 0.0])
def test_compiled_kept_units_are_torchs(drop):
    net = Siren(hidden_features=24, dropout=drop)
    data = NoduleData(torch.zeros(500, 3), torch.zeros(500), seed=4, batch_size=100)
    kept = NativeSirenStep(siren_shape(net), 100, native.pointwise_library(torch.float32)[0]).keep(data, 9)
    if drop == 0:
        assert kept is None
    else:
        for a, b in zip(kept, data.keep(9, [24] * 3, [drop] * 3), strict=True):
            assert torch.equal(a, b)


@needs_compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_compiled_prediction_is_the_networks(dtype, tolerance):
    net, *_, flat, _, _ = case(width=64, hidden=3)
    places = torch.rand(700, 3) * 2 - 1
    step = NativeSirenStep(siren_shape(net), 256, native.pointwise_library(dtype)[0])
    expected = net.eval()(places)[:, 0].detach()
    torch.testing.assert_close(step.predict(flat, places), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "network",
    [torch.nn.Linear(3, 1), Siren(in_channels=2), Siren(out_channels=2), Siren(hidden_layers=0),
     torch.nn.Sequential(Siren())],
)  # fmt: skip
def test_other_networks_are_not_taken_for_a_siren(network):
    assert siren_shape(network) is None


def test_shape_of_a_siren_knows_its_parameters():
    for kwargs in ({}, {"hidden_features": 20, "hidden_layers": 1, "dropout": 0.0, "omega_0": 5.0}):
        net = Siren(**kwargs)
        assert siren_shape(net).parameters == sum(p.numel() for p in net.parameters())
    assert (siren_shape(net).drop, siren_shape(net).omega) == (0.0, 5.0)
