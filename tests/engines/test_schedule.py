import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR

from bundle.engines import FitOptions, learning_rate_factor


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates(scheduler, optimizer, epochs):
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(("t_0", "t_mult"), [(100, 2), (10, 1), (7, 3)])
def test_restarts_as_in_torch(t_0, t_mult):
    opt = optimizer()
    expected = rates(CosineAnnealingWarmRestarts(opt, t_0, t_mult), opt, 800)
    assert [learning_rate_factor(e, 0, t_0, t_mult) for e in range(800)] == pytest.approx(expected, abs=1e-9)
    shifted = [learning_rate_factor(e, 13, t_0, t_mult) for e in range(13, 813)]
    assert shifted == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("warmup", [2, 50])
def test_warm_up_as_in_torch(warmup):
    opt = optimizer()
    expected = rates(LinearLR(opt, 1 / warmup, 1.0, warmup - 1), opt, warmup)
    assert [learning_rate_factor(e, warmup) for e in range(warmup)] == pytest.approx(expected)


def test_restarts_of_the_paper():
    # the published fit of 2,000 epochs restarts here, and so ends near the peak of the rate
    factors = [learning_rate_factor(e) for e in range(2000)]
    jumps = [e for e in range(50, 2000) if factors[e] - factors[e - 1] > 0.5]
    assert jumps == [150, 350, 750, 1550]
    assert factors[1999] == pytest.approx(0.5 * (1 + torch.cos(torch.tensor(torch.pi * 449 / 1600)).item()))


def test_without_restarts_the_rate_stays():
    assert {learning_rate_factor(e, warmup=3, t_0=0) for e in range(3, 400)} == {1.0}


@given(st.integers(0, 5000), st.integers(0, 100), st.integers(0, 200), st.integers(1, 3))
def test_factor_is_in_range(epoch, warmup, t_0, t_mult):
    assert 0 < learning_rate_factor(epoch, warmup, t_0, t_mult) <= 1


def test_options_scale_the_factor():
    options = FitOptions(learning_rate=2e-3, warmup=4, t_0=8, t_mult=1)
    assert options.rate(1) == pytest.approx(1e-3)
    assert options.rate(8) == pytest.approx(1e-3)
