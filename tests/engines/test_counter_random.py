import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bundle.engines.steps.counter_random import (
    DROPOUT,
    JITTER,
    ORDER,
    derive_key,
    keep_bits,
    normals,
    signed_keys,
    splitmix64,
    words_per_bit,
)

MASK = (1 << 64) - 1


def reference(seed, count):
    """SplitMix64 as its authors publish it: a state that is advanced."""
    out, state = [], seed
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(z ^ (z >> 31))
    return out


@given(st.integers(0, MASK))
def test_splitmix_is_the_published_generator(key):
    words = splitmix64(key, torch.arange(20))
    assert [w & MASK for w in words.tolist()] == reference(key, 20)


def test_published_values_of_seed_1234567():
    # the test vector that implementations of SplitMix64 share
    words = splitmix64(1234567, torch.arange(5)).tolist()
    assert [w & MASK for w in words] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_a_stack_draws_what_each_nodule_draws():
    keys = [derive_key(seed, ORDER) for seed in (0, 7, -3)]
    stacked = splitmix64(signed_keys(keys)[:, None], torch.arange(10))
    for row, key in zip(stacked, keys, strict=True):
        assert torch.equal(row, splitmix64(key, torch.arange(10)))


def test_keys_differ():
    keys = {derive_key(seed, purpose) for seed in range(-50, 1000) for purpose in (ORDER, JITTER, DROPOUT)}
    assert len(keys) == 3 * 1050


def test_normals_are_normal_and_independent():
    a, b = (x.numpy() for x in normals(splitmix64(5, torch.arange(200_000))))
    for x in (a, b):
        assert stats.kstest(x, "norm").pvalue > 1e-3
        assert np.isfinite(x).all()
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.01


@pytest.mark.parametrize("drop", [0.5, 0.25, 0.75, 0.1, 0.9, 1 / 3, 0.001, 0.0])
def test_bits_are_kept_as_often_as_asked(drop):
    needed = words_per_bit(drop)
    words = splitmix64(3, torch.arange(needed * 20_000)).reshape(needed, -1)
    kept = keep_bits(words, drop).numpy().view(np.uint8)
    count = 64 * 20_000
    ones = int(np.unpackbits(kept).sum())
    sd = np.sqrt(count * drop * (1 - drop)) + 1e-9
    assert abs(ones - count * (1 - drop)) < 4 * sd + count * 2**-17


def test_half_takes_one_bit_a_unit():
    words = splitmix64(3, torch.arange(10))[None]
    assert words_per_bit(0.5) == 1
    assert torch.equal(keep_bits(words, 0.5), words[0])
