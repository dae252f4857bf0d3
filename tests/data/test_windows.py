"""Windows drawn for training: which slices, which targets, from which patients, and always the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.data import WindowDataset, WindowOptions, fold_of, in_folds, patient_of, windows_at
from bundle.data.windows import draw_window, stride_choices
from bundle.errors import InputError

PLAIN = WindowOptions(across=0.0, noisy=0.0, gain=0.0, shift=0.0)


def numbered(shape=(48, 44, 24), spacing=(0.7, 0.6, 1.0)):
    """A volume whose brightness says which slice and pixel it is."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    image = (z * 0.03 + x * 1e-4 + y * 1e-6).astype(np.float32)
    return {"image": image[None], "label": (z > 3)[None], "spacing": spacing, "nodule_id": "p1_n"}


def test_strides_keep_to_both_limits():
    assert stride_choices(30, 0.5, WindowOptions()) == [2, 3, 4, 5, 6, 7, 8]
    assert stride_choices(30, 0.4, WindowOptions()) == [3, 4, 5, 6, 7, 8]
    assert stride_choices(5, 1.25, WindowOptions()) == [2, 3, 4]
    assert stride_choices(30, 5.0, WindowOptions()) == []


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.integers(4, 40), st.booleans())
def test_a_drawn_window_is_a_window(seed, slices, uneven):
    options = WindowOptions(uneven=float(uneven), beyond=0.3)
    strides = [s for s in range(2, 9) if s < slices]
    kept, valid, target = draw_window(slices, strides, options, np.random.default_rng(seed))
    assert valid[1]
    assert kept.min() >= 0
    assert kept.max() < slices
    assert kept[1] < target < slices
    assert target not in kept
    assert (np.diff(kept) >= 0).all()
    assert valid[0] == (kept[0] < kept[1])
    assert valid[3] == (kept[3] > kept[2])
    assert valid[2] == (kept[2] > kept[1])
    if valid[2]:
        assert target < kept[2]
        assert kept[2] - kept[1] in strides
        for outer, gap in ((valid[0], kept[1] - kept[0]), (valid[3], kept[3] - kept[2])):
            assert not outer or (gap in strides if uneven else gap == kept[2] - kept[1])
    else:
        assert target - kept[1] < max(strides)
        assert not valid[3]


def test_an_example_holds_the_slices_its_offsets_name():
    data = WindowDataset([numbered()], 200, PLAIN)
    for example in (data[i] for i in range(200)):
        z = np.round((example["slices"] - 0.0) / 0.03).mean((1, 2))
        target = np.round(example["target"] / 0.03).mean()
        there = example["valid"] > 0
        np.testing.assert_allclose(np.abs(z - target)[there], np.abs(example["offsets"])[there], atol=1e-4)
        assert (np.sign(example["offsets"][there]) == np.array([-1, -1, 1, 1])[there]).all()
        assert set(example["spacing"]) == {np.float32(0.7), np.float32(0.6)}
        assert example["mask"].mean() == float(target > 3)


def test_planes_are_turned_together():
    example = WindowDataset([numbered()], 1, PLAIN)[0]
    planes = np.concatenate([example["slices"], example["target"]])
    within = planes - np.round(planes / 0.03) * 0.03
    np.testing.assert_allclose(within, np.broadcast_to(within[:1], within.shape), atol=1e-6)


def test_the_same_number_gives_the_same_window():
    one, other = (WindowDataset([numbered()], 50, seed=4) for _ in range(2))
    other.first = 7
    for key, value in one[17].items():
        np.testing.assert_array_equal(value, other[10][key])
    assert any(not np.array_equal(one[17][key], one[18][key]) for key in one[17])


def test_small_planes_are_mirrored_to_the_patch():
    example = WindowDataset([numbered((20, 30, 12))], 1, WindowOptions(patch=40))[0]
    assert example["slices"].shape == (4, 40, 40)
    assert np.isfinite(example["slices"]).all()


def test_no_room_is_said_in_one_sentence():
    with pytest.raises(InputError, match="none of the 1 nodules has room"):
        WindowDataset([numbered(spacing=(0.7, 0.7, 9.0))], 1)


def test_windows_of_targets_by_brute_force():
    rng = np.random.default_rng(1)
    image, positions = rng.random((3, 4, 5)), np.array([0.0, 2.0, 3.5, 7.0, 8.0])
    targets = np.array([-1.0, 0.5, 2.5, 5.0, 7.5, 9.0])
    slices, offsets, valid = windows_at(image, positions, targets)
    for t, target in enumerate(targets):
        below = [k for k in range(5) if positions[k] <= target][-2:]
        above = [k for k in range(5) if positions[k] > target][:2]
        wanted = [None] * (2 - len(below)) + below + above + [None] * (2 - len(above))
        for i, k in enumerate(wanted):
            assert valid[t, i] == (k is not None)
            if k is not None:
                np.testing.assert_allclose(slices[t, i], image[..., k], rtol=1e-6)
                assert offsets[t, i] == pytest.approx(positions[k] - target)


def test_folds_never_share_a_patient():
    ids = [f"LIDC-IDRI-{p:04d}_R_{k}" for p in range(40) for k in range(3)] + ["a_1", "a_2", "b_1"]
    parts = [set(in_folds(ids, [fold])) for fold in range(5)]
    assert set.union(*parts) == set(range(len(ids)))
    assert sum(map(len, parts)) == len(ids)
    owner = [{patient_of(ids[i]) for i in part} for part in parts]
    assert all(not owner[i] & owner[j] for i in range(5) for j in range(i))
    assert fold_of("a") == fold_of(patient_of("a_2"))


def test_an_empty_fold_is_said():
    with pytest.raises(InputError, match="none of 1 nodules"):
        in_folds(["LIDC-IDRI-0001_n"], [3])


def test_it_is_what_a_loader_takes():
    batch = next(iter(torch.utils.data.DataLoader(WindowDataset([numbered()], 8), batch_size=4)))
    assert batch["slices"].shape == (4, 4, 40, 40)
    assert batch["target"].shape == (4, 1, 40, 40)
