"""Where a dense volume lies and which HU it has, from file to file, against SimpleITK."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bundle.data import load_volume
from bundle.data.formats import write_image
from bundle.data.save import save_volume
from bundle.inferers import LinearInferer
from bundle.inferers.dense.inferer import DenseInferer

HU = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 7 - 900 + np.random.default_rng(0).integers(-9, 9, (4, 5, 6))).astype(
    "i2"
)
# stored as, slope, intercept
KINDS = [
    ("i2", 1, 0), ("u2", 1, -1024), ("f4", 1, 0), ("i4", 0.5, -1000), ("f8", 1, 0), (">i2", 1, 0), ("i1", 8, -100),
]  # fmt: skip


def in_ras(image: sitk.Image, index: np.ndarray) -> np.ndarray:
    return np.array(image.TransformContinuousIndexToPhysicalPoint([float(v) for v in index])) * [-1, -1, 1]


@settings(max_examples=40, deadline=None)
@given(
    angles=st.tuples(*[st.integers(-2000, 2000)] * 3),
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    kind=st.sampled_from(KINDS),
    suffix=st.sampled_from([".nii", ".nii.gz", ".mha", ".nrrd"]),
    unit=st.sampled_from([("mm", 1.0), ("micron", 1000.0), ("meter", 0.001)]),
    out=st.sampled_from([".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr"]),
    step=st.floats(0.2, 3),
)
def test_every_voxel_of_the_result_is_what_itk_finds_at_its_place(
    tmp_path_factory, angles, order, flips, spacing, origin, kind, suffix, unit, out, step
):
    """The voxels read lie where ITK has them, to 0.01 mm, and those made have its linear interpolation, to 1 HU."""
    dtype, slope, inter = kind
    folder = tmp_path_factory.mktemp("p")
    path = folder / f"a{suffix}"
    stored = np.rint((HU - inter) / slope).astype(dtype)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", np.divide(angles, 100), degrees=True).as_matrix()
    affine[:3, :3] = (turn @ np.diag(np.where(flips, -1.0, 1)) * spacing)[:, list(order)]
    affine[:3, 3] = origin
    if suffix.startswith(".nii"):
        image = nib.Nifti1Image(stored, np.diag([unit[1]] * 3 + [1.0]) @ affine)
        image.header.set_slope_inter(slope, inter)
        image.header.set_xyzt_units(unit[0])
        nib.save(image, path)
    else:
        write_image(path, HU, affine)
    theirs, volume = sitk.ReadImage(str(path)), load_volume(path)
    source, ours = sitk.GetArrayFromImage(theirs).T.astype(float), volume[0].numpy()
    for voxel in (np.zeros(3), np.array(ours.shape) - 1, np.array([1, 2, 1])):
        ras = (volume.affine.numpy() @ [*voxel, 1])[:3]
        index = np.rint(theirs.TransformPhysicalPointToContinuousIndex((ras * [-1, -1, 1]).tolist())).astype(int)
        assert np.linalg.norm(in_ras(theirs, index) - ras) < 0.01
        assert abs(source[tuple(index)] - ours[tuple(voxel.astype(int))]) < 1

    dense = DenseInferer({"linear": LinearInferer()}, "linear", slice_spacing=step, progress=False)(volume[None])
    save_volume(folder / f"dense{out}", dense[0, 0].numpy(), dense.affine.numpy().reshape(4, 4))
    result = sitk.ReadImage(str(folder / f"dense{out}"))
    assert abs(result.GetSpacing()[2] - step) < 1e-4
    assert np.linalg.norm(in_ras(result, np.zeros(3)) - (volume.affine.numpy() @ [0, 0, 0, 1])[:3]) < 0.01
    expected = sitk.Resample(
        sitk.Cast(theirs, sitk.sitkFloat64), result, sitk.Transform(), sitk.sitkLinear, -9999.0, sitk.sitkFloat64
    )
    off = np.abs(sitk.GetArrayFromImage(expected) - sitk.GetArrayFromImage(result).astype(float))
    assert off.max() < 1
