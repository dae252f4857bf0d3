"""Windows drawn for training: which slices, which targets, from which patients, and always the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.data import (
    WindowDataset,
    WindowOptions,
    fold_of,
    geometry_of,
    in_folds,
    join_windows,
    patient_of,
    windows_at,
)
from bundle.data.window_draws import draw_window, stride_choices
from bundle.errors import InputError

PLAIN = WindowOptions(across=0.0, noisy=0.0, gain=0.0, shift=0.0, kernel=0.0, zoom=1.0, misstated=0.0)


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


def drawn(seed, slices, spacing=1.0, **options):
    return draw_window(slices, spacing, WindowOptions(**options), np.random.default_rng(seed))


def check_window(window, slices):
    """What holds of thin and of thick ones."""
    there = window.places[window.valid]
    assert (np.diff(there) > 0).all()
    assert window.valid[2]
    assert window.places[2] <= window.targets.min() + 1e-6
    assert not window.valid[3] or window.targets.max() <= window.places[3] + 1e-6
    assert window.targets.min() >= 0
    assert window.targets.max() < slices
    assert (np.diff(window.targets) > 0).all()
    # a missing slice is a copy of its neighbour
    for low, high in ((0, 1), (1, 2)):
        assert window.valid[low] or window.places[low] == window.places[high]
    for low, high in ((3, 4), (4, 5)):
        assert window.valid[high] or window.places[low] == window.places[high]
    np.testing.assert_allclose(window.weights.sum(0), 1)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.integers(4, 40), st.booleans())
def test_a_thin_window(seed, slices, uneven):
    window = drawn(seed, slices, thick=0.0, uneven=float(uneven))
    check_window(window, slices)
    assert window.thickness == 0
    assert (window.weights.max(0) == 1).all()
    np.testing.assert_array_equal(window.weights.argmax(0), window.places)
    assert not set(window.targets) & set(window.places)
    gaps = np.diff(window.places[window.valid])
    assert set(gaps) <= set(range(2, 9))
    assert uneven or len(set(gaps)) <= 1


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.integers(11, 60), st.sampled_from([0.5, 0.8, 1.25]), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_thick_window(seed, slices, spacing, beyond):
    window = drawn(seed, slices, spacing, thick=1.0, beyond=beyond, uneven=0.0)
    check_window(window, slices)
    if window.thickness == 0:  # no room for thick ones
        return
    assert 1.0 <= window.thickness * spacing <= 8.5
    centres = (window.weights * np.arange(slices)[:, None]).sum(0)
    # the tail of a bell is cut at the end of a volume
    assert np.abs(centres - window.places).max() < 0.12 * window.thickness
    steps = np.diff(window.places[window.valid])
    if len(steps):
        np.testing.assert_allclose(steps, steps[0])
        assert 1.0 - 1e-9 <= steps[0] * spacing <= 8.0 + 1e-9


def test_every_kind_of_window_is_drawn():
    windows = [drawn(seed, 40) for seed in range(400)]
    thick = [w for w in windows if w.thickness]
    assert 0.4 < len(thick) / len(windows) < 0.6
    assert {w.profile for w in thick} == {"box", "trapezoid", "bell"}
    assert any(not w.valid[3] for w in thick)
    assert any(w.valid.all() for w in thick)
    share = np.array([(w.places[3] - w.places[2]) / w.thickness for w in thick if w.valid[3]])
    assert (share < 0.9).any()
    assert (share > 1.1).any()
    assert np.isclose(share, 1).any()
    # at an observed slice, and at most four in a window
    assert any(set(w.targets) & set(w.places) for w in thick)
    assert {len(w.targets) for w in windows} == {1, 2, 3, 4}


def test_an_example_holds_the_slices_its_offsets_name():
    data = WindowDataset([numbered()], 200, PLAIN)
    for example in (data[i] for i in range(200)):
        z = (example["slices"] / 0.03).mean((1, 2))
        for row, target, mask in zip(example["geometry"], example["target"], example["mask"], strict=True):
            there = row[6:12] > 0
            at = (target / 0.03).mean()
            # flipped along z or not; the mean of a profile cut at the end of the volume is off its place
            np.testing.assert_allclose(np.abs(z - at)[there], np.abs(row[:6])[there], atol=0.05 + 0.12 * row[18])
            assert (row[:3][there[:3]] <= 0).all()
            assert (row[3:6][there[3:]] >= 0).all()
            assert set(row[19:]) == {np.float32(0.7), np.float32(0.6)}
            assert mask.mean() == float(round(at) > 3)


def test_planes_are_turned_together():
    example = WindowDataset([numbered()], 1, PLAIN)[0]
    planes = np.concatenate([example["slices"], example["target"]])
    within = planes - planes[:, :1, :1]
    np.testing.assert_allclose(within, np.broadcast_to(within[:1], within.shape), atol=1e-6)


def test_the_same_number_gives_the_same_window():
    one, other = (WindowDataset([numbered()], 50, seed=4) for _ in range(2))
    for key, value in one[17].items():
        np.testing.assert_array_equal(value, other[17][key])
    assert any(not np.array_equal(one[17][key], one[18][key]) for key in one[17])


def test_small_planes_are_mirrored_to_the_patch():
    example = WindowDataset([numbered((20, 30, 12))], 1, WindowOptions(patch=40))[0]
    assert example["slices"].shape == (6, 40, 40)
    assert np.isfinite(example["slices"]).all()


def test_no_room_is_said_in_one_sentence():
    with pytest.raises(InputError, match="none of the 1 nodules has room"):
        WindowDataset([numbered(spacing=(0.7, 0.7, 9.0))], 1)


def test_windows_of_targets_by_brute_force():
    positions = np.array([0.0, 2.0, 3.5, 7.0, 8.0, 8.5, 9.0])
    targets = np.array([-1.0, 0.5, 1.0, 2.5, 3.5, 5.0, 7.5, 9.0, 9.5])
    windows = windows_at(positions, targets)
    assert windows.window.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 6]
    for t, target in enumerate(targets):
        # the last observed slice is looked at from the last gap
        below = [k for k in range(7) if positions[k] <= target and not target == positions[k] == 9][-3:]
        above = [k for k in range(7) if positions[k] > target or target == positions[k] == 9][:3]
        wanted = [None] * (3 - len(below)) + below + above + [None] * (3 - len(above))
        for i, k in enumerate(wanted):
            assert windows.valid[windows.window[t], i] == (k is not None)
            if k is not None:
                assert windows.index[windows.window[t], i] == k
                assert windows.offsets[t, i] == pytest.approx(positions[k] - target)


def test_geometry_tells_the_profile_by_kriging_alone():
    offsets, valid = np.array([[-9.0, -6, -3, 0, 3, 6]]), np.ones((1, 6), bool)
    kinds = ((0, "box"), (3, "box"), (3, "bell"))
    thin, box, bell = (geometry_of(offsets, valid, *kind, (0.6, 0.8))[0] for kind in kinds)
    np.testing.assert_array_equal(box[[*range(12), 18, 19, 20]], bell[[*range(12), 18, 19, 20]])
    assert thin[18] == 0
    assert box[19:].tolist() == [0.6, 0.8]
    # a thin slice is nearly all that it takes; the neighbours of a thick one are taken from it
    assert box[15] > 1 > thin[15] > 0.9
    assert thin[14] > 0 > box[14]
    np.testing.assert_allclose([row[12:18].sum() for row in (thin, box, bell)], 1)


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


def test_patients_that_are_learned_from_and_validated_by_are_told(caplog):
    ids = ["LIDC-IDRI-0001_n", "LIDC-IDRI-0004_n"]
    assert in_folds(ids, [4], 5, [0, 1]) == [1]
    assert caplog.text == ""
    assert in_folds(ids, [4], 5, [0, 4]) == [1]
    assert "folds [4] are learned from and validated by" in caplog.text


def test_it_is_what_a_loader_takes():
    data = WindowDataset([numbered()], 8)
    batch = next(iter(torch.utils.data.DataLoader(data, batch_size=4, collate_fn=join_windows)))
    count = sum(len(data[i]["target"]) for i in range(4))
    assert batch["slices"].shape == (4, 6, 40, 40)
    assert batch["target"].shape == batch["mask"].shape == (count, 40, 40)
    assert batch["geometry"].shape == (count, 21)
    assert batch["window"].unique().tolist() == [0, 1, 2, 3]
    assert all(value.dtype == torch.float32 for key, value in batch.items() if key != "window")
