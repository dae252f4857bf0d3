"""The region that is made dense: around a mask, around a point, the lungs; slices wherever they lie."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from bundle.errors import InputError
from bundle.transforms import CropRegiond, CropWithMargin, box_around_mask, box_around_point, lung_box, slice_positions

AFFINE = np.diag([-0.7, -0.8, 2.5, 1.0])
AFFINE[:3, 3] = 40, -20, 100


def scan(shape=(60, 50, 12), affine=AFFINE, positions=None):
    data = torch.arange(np.prod(shape), dtype=torch.float32).reshape(1, *shape)
    meta = {} if positions is None else {"slice_positions": np.asarray(positions, dtype=float)}
    return MetaTensor(data, affine=torch.from_numpy(affine), meta=meta)


@given(
    gaps=st.lists(st.floats(0.5, 5), min_size=2, max_size=20),
    place=st.floats(0, 1),
    size=st.floats(0.1, 60),
)
def test_a_region_holds_its_box_and_no_slice_more(gaps, place, size):
    axis = np.concatenate([[0.0], np.cumsum(gaps)])
    where = place * (len(axis) - 1)
    start, end = (edge[0] for edge in box_around_point([where] * 3, [axis] * 3, [size] * 3))
    centre = np.interp(where, np.arange(len(axis)), axis)
    low, high = centre - size / 2, centre + size / 2
    inside = np.flatnonzero((axis >= low) & (axis <= high))
    assert set(inside) <= set(range(start, end))
    assert start == 0 or axis[start] <= low + 0.01
    assert end == len(axis) or axis[end - 1] >= high - 0.01
    assert len(inside) + 2 >= end - start


def test_around_a_mask_it_is_the_studys_crop():
    mask = np.zeros((60, 50, 12), bool)
    mask[20:25, 30:33, 5:7] = True
    label = MetaTensor(torch.from_numpy(mask)[None].float(), affine=torch.from_numpy(AFFINE))
    image = scan()
    for margin in (0, 2.5, 7, 10):
        start, end = CropWithMargin(margin_mm=margin).box(label)
        found = box_around_mask(mask, [np.arange(60) * 0.7, np.arange(50) * 0.8, np.arange(12) * 2.5], margin)
        np.testing.assert_array_equal(found, (start, end))
    cut = CropRegiond(["image", "mask"])({"image": image, "mask": label})
    assert cut["image"].shape == cut["mask"].shape
    voxel = np.array([2, 3, 1, 1.0])
    start = [20 - 15, 30 - 13, 5 - 4]
    assert cut["image"][0, 2, 3, 1] == image[0, 2 + start[0], 3 + start[1], 1 + start[2]]
    np.testing.assert_allclose(cut["image"].affine @ voxel, AFFINE @ np.add(voxel, [*start, 0]))


def test_center_in_mm_and_in_voxels_of_the_file():
    image = scan()
    mm = (AFFINE @ [30, 20, 6, 1])[:3].tolist()
    by_mm = CropRegiond("image", center=mm, size_mm=[14, 8, 10])({"image": image})["image"]
    assert by_mm.shape == (1, 21, 11, 5)
    # the file was stored the other way round along x and z
    image.meta["original_affine"] = AFFINE @ np.array([[-1, 0, 0, 59], [0, 1, 0, 0], [0, 0, -1, 11], [0, 0, 0, 1]])
    by_voxel = CropRegiond("image", center=[29, 20, 5], center_unit="voxel", size_mm=[14, 8, 10])({"image": image})
    assert torch.equal(by_mm.as_tensor(), by_voxel["image"].as_tensor())
    # an item's own centre goes first
    own = CropRegiond("image", center=[0, 0, 0])({"image": image, "center": mm, "size_mm": [14, 8, 10]})["image"]
    assert torch.equal(by_mm.as_tensor(), own.as_tensor())


def test_uneven_slices_are_measured_where_they_lie():
    positions = [0, 1, 2, 3, 10, 11, 12, 20, 25, 26, 27, 27.5]
    image = scan(positions=positions)
    # 11 mm up from the first slice is slice 5
    crop = CropRegiond("image", center=[20, -40, 111], size_mm=4)({"image": image})["image"]
    # 109 to 113 mm: the slices at 110, 111 and 112, and those around them at 103 and 120
    np.testing.assert_allclose(slice_positions(crop), [0, 7, 8, 9, 17])
    assert crop.affine[2, 3] == 103
    assert crop[0, 0, 0, 1] - crop[0, 0, 0, 0] == 1
    np.testing.assert_allclose(crop.affine[2, 2], 17 / 4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"center": [500, 0, 110]}, r"the centre is voxel \(.*\), outside of the image of \(60, 50, 12\) voxels"),
        ({"center": [20, -40]}, r"center is \[20, -40\], expected three numbers"),
        ({"center": "here"}, "center is 'here', expected three numbers"),
        ({"center": [20, -40, 110], "size_mm": -1}, "size_mm is -1, expected three numbers above 0"),
        ({"center": [20, -40, 110], "center_unit": "inch"}, "center_unit is 'inch', expected"),
    ],
)
def test_mistakes(options, sentence):
    with pytest.raises(InputError, match=sentence):
        CropRegiond("image", **options)({"image": scan()})


def test_a_region_with_one_slice():
    mask = MetaTensor(torch.zeros(1, 60, 50, 12), affine=torch.from_numpy(AFFINE))
    mask[0, 5, 5, 5] = 1
    with pytest.raises(InputError, match="holds 1 observed slice"):
        CropRegiond(["image", "mask"], margin_mm=0)({"image": scan(), "mask": mask})
    with pytest.raises(InputError, match="the image holds 1 observed slice"):
        CropRegiond("image")({"image": scan((60, 50, 1))})
    with pytest.raises(InputError, match="margin_mm is -1"):
        CropRegiond(["image", "mask"], margin_mm=-1)({"image": scan(), "mask": mask})


def chest(table=True):
    """Two ellipsoid lungs in an elliptic body in air, with a gas bubble; 3 mm voxels."""
    x, y, z = np.meshgrid(*(np.arange(n) * 3.0 for n in (120, 100, 40)), indexing="ij")
    hu = np.full(x.shape, -1000.0)
    hu[((x - 180) / 160) ** 2 + ((y - 150) / 110) ** 2 < 1] = 40
    lungs = np.zeros(x.shape, bool)
    for side in (110, 250):
        lungs |= ((x - side) / 50) ** 2 + ((y - 150) / 70) ** 2 + ((z - 60) / 40) ** 2 < 1
    hu[lungs] = -850
    hu[((x - 180) ** 2 + (y - 60) ** 2 + (z - 6) ** 2) < 64] = -1000
    if table:
        hu[:, 95:97] = 100
    return hu, lungs


def test_lungs_are_found_and_the_air_outside_is_not():
    hu, lungs = chest()
    axes = [np.arange(n) * 3.0 for n in hu.shape]
    start, end = lung_box(hu, axes, margin_mm=6)
    where = np.argwhere(lungs)
    np.testing.assert_allclose(start, where.min(0) - 2, atol=1)
    np.testing.assert_allclose(end, where.max(0) + 3, atol=1)
    image = MetaTensor(torch.from_numpy(hu)[None].float(), affine=torch.diag(torch.tensor([3.0, 3, 3, 1])))
    assert CropRegiond("image")({"image": image})["image"].shape[1:] < hu.shape


def test_a_crop_or_a_scan_without_lungs_is_kept_whole():
    hu, _ = chest()
    small = hu[20:60, 30:70]
    assert lung_box(small, [np.arange(n) * 3.0 for n in small.shape])[1].tolist() == list(small.shape)
    body = np.full_like(hu, 40)
    assert lung_box(body, [np.arange(n) * 3.0 for n in body.shape])[1].tolist() == list(body.shape)
