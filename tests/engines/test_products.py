"""Products of bfloat16: what this processor does, what takes its place, and how a machine answers either way."""

import json

import numpy as np
import pytest
import torch

from bundle.engines.steps import products
from bundle.engines.steps.products import own_product, sums_in_fp32, widened_product


def summed_in_bfloat16(a, b, out):
    """What is to be found out: the sum is rounded after each term."""
    total = torch.zeros(out.shape, dtype=torch.bfloat16)
    for k in range(a.shape[1]):
        total += a[:, k, None] * b[None, k]
    out.copy_(total)


def operands_cut(a, b, out):
    """Operands of fewer bits than they have."""
    widened_product(a.to(torch.float8_e4m3fn).bfloat16(), b, out)


def first_half(a, b, out):
    half = a.shape[1] // 2
    widened_product(a[:, :half], b[:half], out)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Makes a machine of a speed and a product; nothing it keeps goes to the user's cache."""

    def make(gain, right=True):
        monkeypatch.setenv("LUNG_NODULE_CACHE", str(tmp_path))
        monkeypatch.setattr(products, "bfloat16_gain", lambda: gain)
        monkeypatch.setattr(products, "sums_in_fp32", lambda: right)
        products.multiplies_bfloat16.cache_clear()

    yield make
    products.multiplies_bfloat16.cache_clear()


def products_of_a_step(product, rows=2048, width=256):
    """Result and float64 reference of the three products of a step, sums of ``width`` and of ``rows`` terms."""
    rng = torch.Generator().manual_seed(1)
    x, y = (torch.randn(rows, width, generator=rng).bfloat16() for _ in range(2))
    w = torch.randn(width, width, generator=rng).bfloat16()
    for a, b in ((x, w.T), (x, w), (y.T, x)):
        out = torch.empty(a.shape[0], b.shape[1], dtype=torch.bfloat16)
        product(a, b, out)
        yield out.double(), a.double() @ b.double(), a.double().abs() @ b.double().abs()


def test_the_product_taken_here_rounds_once():
    assert sums_in_fp32(products.bfloat16_product())
    for got, exact, size in products_of_a_step(products.bfloat16_product()):
        # half a unit in the last place of the result, and what sums in fp32 may lose
        assert ((got - exact).abs() <= exact.abs() * 2**-8 + size * 2**-18).all()


def test_widened_is_numpys():
    for got, exact, _ in products_of_a_step(widened_product, rows=100, width=24):
        wanted = torch.as_tensor(exact.numpy().astype(np.float32)).bfloat16().double()
        assert (got == wanted).double().mean() > 0.99  # fp32 sums may fall on the other side of a tie
        torch.testing.assert_close(got, wanted, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("wrong", [summed_in_bfloat16, operands_cut, first_half])
def test_a_wrong_product_is_found(wrong):
    assert not sums_in_fp32(wrong, 1024)


def test_a_product_wrong_in_one_layout_is_found():
    def product(a, b, out):
        (own_product if a.is_contiguous() else summed_in_bfloat16)(a, b, out)

    assert not sums_in_fp32(product, 1024)


@pytest.mark.parametrize(
    ("gain", "right", "taken"), [(4.0, True, own_product), (0.2, True, widened_product), (4.0, False, widened_product)]
)
def test_what_is_taken_on_each_machine(machine, gain, right, taken):
    machine(gain, right)
    assert products.bfloat16_product() is taken


def test_a_machine_is_measured_once(machine, monkeypatch, tmp_path):
    machine(4.0)
    assert products.multiplies_bfloat16()
    machine(0.2)  # what was kept counts, in this process and in others
    assert products.multiplies_bfloat16()
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(json.dumps({"gain": 0.2}))  # touched by another hand: measured anew
    machine(3.0)
    assert products.multiplies_bfloat16()
    assert json.loads(kept.read_text()) == {"gain": 3.0}
    machine(0.2)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "a limit that makes it another machine")
    assert not products.multiplies_bfloat16()


def test_the_measurement_leaves_the_threads_alone():
    before = torch.get_num_threads()
    assert products.bfloat16_gain(turns=2) > 0
    assert torch.get_num_threads() == before
