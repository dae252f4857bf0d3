import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.engines import NoduleData
from bundle.engines.steps.counter_random import DROPOUT, signed_keys
from bundle.engines.steps.draws import packed_keep, unpack_keep
from bundle.engines.steps.lock_step import StackData


def nodule(count, seed=0, batch_size=64, jitter=1e-3):
    places = torch.arange(count, dtype=torch.float32)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    return NoduleData(places, torch.arange(count), seed, batch_size, jitter)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500), st.integers(1, 100), st.integers(0, 2000))
def test_an_epoch_visits_every_voxel_once(count, size, epoch):
    data = nodule(count, batch_size=size, jitter=0)
    places, values, weights = data.epoch(epoch)
    assert torch.equal(weights, torch.ones(count))
    assert sorted(values.tolist()) == list(range(count))
    assert torch.equal(places, values[:, None] * torch.tensor([1.0, 2.0, 3.0]))
    rows = [data.rows(i) for i in range(data.steps)]
    assert [r.start for r in rows[1:]] == [r.stop for r in rows[:-1]]
    assert (rows[0].start, rows[-1].stop) == (0, count)


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = [nodule(300, seed).epoch(epoch)[1] for seed in (0, 1) for epoch in (0, 1)]
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert (a == b).sum() < 10
    assert torch.equal(nodule(300, 1).epoch(1)[1], orders[3])


def test_jitter_has_the_stated_spread_and_is_new_each_epoch():
    data = NoduleData(torch.zeros(30_000, 3), torch.zeros(30_000), jitter=1e-2)
    first, second = data.epoch(0)[0], data.epoch(1)[0]
    assert first.std(0).numpy() == pytest.approx([1e-2] * 3, rel=0.02)
    both = np.corrcoef(torch.cat([first, second], dim=1).T.numpy())
    assert np.abs(both - np.eye(6)).max() < 0.03


@pytest.mark.parametrize("drop", [0.5, 0.2])
def test_kept_units(drop):
    data = nodule(5000, batch_size=2000)
    layers = data.keep(3, [48, 20], [drop, drop])
    assert [tuple(k.shape) for k in layers] == [(64, 48), (64, 20)]
    kept = [unpack_keep(k, 2000) for k in layers]
    assert [tuple(k.shape) for k in kept] == [(2000, 48), (2000, 20)]
    assert kept[0].mean() == pytest.approx(1 - drop, abs=0.01)
    assert set(kept[0].unique().tolist()) == {0.0, 1.0}
    again, other = (unpack_keep(data.keep(step, [48, 20], [drop, drop])[0], 2000) for step in (3, 4))
    assert torch.equal(again, kept[0])
    agree = drop**2 + (1 - drop) ** 2
    assert (other == kept[0]).float().mean() == pytest.approx(agree, abs=0.01)
    # neither rows nor units share their bits
    assert (kept[0][0::2] == kept[0][1::2]).float().mean() == pytest.approx(agree, abs=0.02)
    assert (kept[0][:, 0::2] == kept[0][:, 1::2]).float().mean() == pytest.approx(agree, abs=0.02)


def test_bits_are_unpacked_row_by_row():
    packed = torch.randint(-(2**31), 2**31 - 1, (3, 5), dtype=torch.int32)
    kept = unpack_keep(packed, 70)
    for row in (0, 1, 31, 32, 63, 69):
        expected = [(int(word) >> (row % 32)) & 1 for word in packed[row // 32]]
        assert kept[row].tolist() == expected


def test_a_stack_draws_what_each_nodule_draws():
    nodules = [nodule(300, 5), nodule(130, 6, jitter=0.0), nodule(64, 7)]
    stack = StackData(nodules, "cpu")
    for epochs in ([0, 0, 0], [4, 9, 1]):
        stack.draw(torch.tensor(epochs))
        for i, (data, epoch) in enumerate(zip(nodules, epochs, strict=True)):
            places, values, _ = data.epoch(epoch)
            count = len(data)
            assert torch.equal(stack.places[i].reshape(-1, 3)[:count], places)
            assert torch.equal(stack.truth[i].reshape(-1)[:count], values)
            assert not stack.truth[i].reshape(-1)[count:].any()
    # weights: a mean over the places of each step, nothing for what only fills the shape
    totals = stack.weight.sum(-1)
    steps = torch.tensor([data.steps for data in nodules])
    assert torch.allclose(totals, (torch.arange(5) < steps[:, None]).float())
    assert [int((w > 0).sum()) for w in stack.weight] == [300, 130, 64]


def test_dropout_of_a_stack_is_that_of_each_nodule():
    nodules = [nodule(300, 5), nodule(130, 6)]
    keys = signed_keys([data.keys[DROPOUT] for data in nodules])[:, None]
    stacked = packed_keep(keys, torch.tensor([[3], [11]]), 64, [16, 8], [0.5, 0.3])
    for i, (data, step) in enumerate(zip(nodules, (3, 11), strict=True)):
        for a, b in zip(stacked, data.keep(step, [16, 8], [0.5, 0.3]), strict=True):
            assert torch.equal(a[i], b)
