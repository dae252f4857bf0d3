"""Decimation: which slices, where they lie in the world, and the way back."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, MetaTensor, decollate_batch
from monai.transforms import Compose, Flipd, Invertd, SaveImage, ScaleIntensityRanged

from bundle.errors import InputError
from bundle.transforms import CropWithMargind, Decimate, Decimated, observed_indices
from bundle.transforms.decimate import observed_centres


def volume(shape=(6, 5, 13), seed=0) -> MetaTensor:
    """Noise on an oblique, shifted grid with three spacings."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 0.6, 1.25])
    affine[:3, 3] = [10, -20, 30]
    return MetaTensor(torch.as_tensor(rng.normal(size=(1, *shape)).astype(np.float32)), affine=torch.as_tensor(affine))


@given(n=st.integers(1, 60), stride=st.integers(1, 9), data=st.data())
def test_indices_by_brute_force(n, stride, data):
    offset = data.draw(st.integers(0, min(stride, n) - 1))
    kept = observed_indices(n, stride, offset)
    assert kept.tolist() == [i for i in range(n) if i >= offset and (i - offset) % stride == 0]


@settings(max_examples=60, deadline=None)
@given(stride=st.integers(1, 6), axis=st.integers(0, 2), data=st.data())
def test_kept_slices_keep_their_place_in_the_world(stride, axis, data):
    offset = data.draw(st.integers(0, min(stride, 5) - 1))
    dense = volume()
    sparse = Decimate(stride, offset, axis)(dense)
    index = np.array([data.draw(st.integers(0, n - 1)) for n in sparse.shape[1:]])
    original = index.copy()
    original[axis] = offset + index[axis] * stride
    assert float(sparse[(0, *index)]) == float(dense[(0, *original)])
    here, there = (np.asarray(v.affine) @ np.append(i, 1.0) for v, i in ((sparse, index), (dense, original)))
    assert np.allclose(here, there, atol=1e-9)
    assert np.isclose(float(sparse.pixdim[axis]), float(dense.pixdim[axis]) * stride)


@settings(max_examples=60, deadline=None)
@given(stride=st.integers(1, 6), axis=st.integers(0, 2), fill=st.sampled_from([None, -3.0]), data=st.data())
def test_inverse_puts_slices_back(stride, axis, fill, data):
    offset = data.draw(st.integers(0, min(stride, 5) - 1))
    dense = volume()
    decimate = Decimate(stride, offset, axis, fill)
    back = decimate.inverse(decimate(dense))
    assert back.shape == dense.shape
    assert torch.allclose(back.affine, dense.affine)
    assert not back.applied_operations
    kept = observed_indices(dense.shape[1 + axis], stride, offset)
    for i in range(dense.shape[1 + axis]):
        slice_i = back.as_tensor().select(1 + axis, i)
        if i in kept or fill is None:
            nearest = min(kept, key=lambda k: (abs(k - i), k))
            assert torch.equal(slice_i, dense.as_tensor().select(1 + axis, int(nearest)))
        else:
            assert torch.all(slice_i == fill)


def test_one_slice_left_is_no_error():
    dense = volume((4, 4, 4))
    decimate = Decimate()
    sparse = decimate(dense)
    assert sparse.shape == (1, 4, 4, 1)
    assert torch.equal(decimate.inverse(sparse).as_tensor(), dense.as_tensor()[..., :1].expand(1, 4, 4, 4))


def test_input_is_left_alone():
    dense = volume()
    before = dense.clone()
    Decimate()(dense).zero_()
    assert torch.equal(dense.as_tensor(), before.as_tensor())
    assert torch.equal(dense.affine, before.affine)
    assert not dense.applied_operations


def test_saved_volume_overlays_the_original(tmp_path):
    dense = volume()
    dense.meta["filename_or_obj"] = "nodule.nii.gz"
    for name, data in (("dense", dense), ("sparse", Decimate(5, 2)(dense))):
        how = {"output_dtype": np.float32, "resample": False, "separate_folder": False, "print_log": False}
        SaveImage(tmp_path, output_postfix=name, **how)(data)
    dense_nii, sparse_nii = (nib.load(tmp_path / f"nodule_{name}.nii.gz") for name in ("dense", "sparse"))
    assert sparse_nii.shape == (6, 5, 3)
    # look up every voxel of the decimated file at the same world coordinates in the original file
    to_dense = np.linalg.inv(dense_nii.affine) @ sparse_nii.affine
    for index in np.ndindex(*sparse_nii.shape):
        found = to_dense @ np.append(index, 1.0)
        there = np.rint(found[:3]).astype(int)
        assert np.allclose(found[:3], there, atol=1e-4)
        assert sparse_nii.get_fdata()[index] == dense_nii.get_fdata()[tuple(there)]
    assert np.allclose(sparse_nii.header.get_zooms(), (0.7, 0.6, 6.25), atol=1e-5)


def test_in_a_chain_cached_batched_and_inverted():
    keys = ["image", "label"]
    items = []
    for seed in (0, 1):
        image = volume((12, 12, 23), seed) * 300 - 300
        label = MetaTensor(torch.zeros(image.shape, dtype=torch.uint8), affine=image.affine)
        label[:, 5:8, 5:8, 9:14] = 1
        items.append({"image": image, "label": label})
    chain = Compose(
        [
            Flipd(keys, spatial_axis=0),
            CropWithMargind(keys, margin_mm=2.0),
            ScaleIntensityRanged("image", -1000, 400, 0, 1, clip=True),
            Decimated(keys, stride=3, offset=1),
        ]
    )
    (batch,) = DataLoader(CacheDataset(items, chain, progress=False), batch_size=2)
    assert batch["image"].shape == (2, 1, 9, 11, 3)  # 9 slices after the crop, of which 1, 4 and 7 are kept
    for item, source in zip(decollate_batch(batch), items, strict=True):
        back = Invertd("label", chain, orig_keys="label")(item)["label"]
        assert back.shape == source["label"].shape
        assert np.allclose(back.affine, source["label"].affine)
        # slices 8, 11 and 14 were kept
        assert torch.equal(back.as_tensor()[..., 11], source["label"].as_tensor()[..., 11])
        assert not back.as_tensor()[..., 14].any()


def test_plain_tensors_and_arrays():
    dense = np.arange(13.0)[None, None, None]
    assert np.asarray(Decimate(4, 1)(dense))[0, 0, 0].tolist() == [1, 5, 9]
    assert Decimate(4, 1)(torch.as_tensor(dense))[0, 0, 0].tolist() == [1, 5, 9]
    assert "none" not in Decimated(["image", "none"], allow_missing_keys=True)({"image": dense})
    with pytest.raises(KeyError):
        Decimated("none")({"image": dense})


@pytest.mark.parametrize(
    ("stride", "offset", "axis", "said"),
    [(0, 0, 2, "stride"), (1.5, 0, 2, "stride"), (5, 5, 2, "offset"), (5, -1, 2, "offset"), (5, 0, 3, "axis")],
)
def test_bad_settings(stride, offset, axis, said):
    with pytest.raises(InputError, match=said):
        Decimate(stride, offset, axis)(volume())


def test_bad_input():
    with pytest.raises(InputError, match="offset 4 lies beyond a volume of 3"):
        Decimate(5, 4)(volume((4, 4, 3)))
    decimate = Decimate()
    sparse = decimate(volume())
    dense = MetaTensor(torch.zeros(1, 6, 5, 13)).copy_meta_from(sparse)
    with pytest.raises(InputError, match="cannot be put back"):
        decimate.inverse(dense)


@settings(max_examples=40, deadline=None)
@given(stride=st.integers(1, 5), average=st.integers(1, 5), axis=st.integers(0, 2), data=st.data())
def test_thick_slices_are_averages_at_their_centres(stride, average, axis, data):
    offset = data.draw(st.integers(0, stride - 1))
    dense = volume((11, 12, 13))
    count = dense.shape[1 + axis]
    if offset + average > count:
        return
    thick = Decimate(stride, offset, axis, average=average)(dense)
    starts = range(offset, count - average + 1, stride)
    planes = np.moveaxis(np.asarray(dense), 1 + axis, -1)
    means = [planes[..., start : start + average].mean(-1) for start in starts]
    np.testing.assert_allclose(np.moveaxis(np.asarray(thick), 1 + axis, -1), np.stack(means, -1), atol=1e-5)
    # the centre of the first thick slice in the world is the mean of the places of its thin ones
    affine = np.asarray(dense.affine)
    places = [affine[:3, 3] + i * affine[:3, axis] for i in range(offset, offset + average)]
    np.testing.assert_allclose(np.asarray(thick.affine)[:3, 3], np.mean(places, axis=0), atol=1e-9)
    back = Decimate(stride, offset, axis, average=average)
    assert torch.allclose(back.inverse(back(dense)).affine, dense.affine)


def test_a_bell_weighs_neighbours_too_and_a_mistake_is_a_sentence():
    dense = volume((4, 4, 13))
    box, bell = (Decimate(4, average=4, profile=kind)(dense) for kind in ("box", "bell"))
    assert not torch.allclose(box.as_tensor(), bell.as_tensor())
    assert observed_centres(13, 4, 0, 4).tolist() == [1.5, 5.5, 9.5]
    with pytest.raises(InputError, match="holds no 14 slices from slice 0 on"):
        Decimate(5, average=14)(dense)
    with pytest.raises(InputError, match="average of 0 slices"):
        Decimate(5, average=0)
    with pytest.raises(InputError, match="expected one of box, trapezoid, bell"):
        Decimate(5, average=2, profile="square")
