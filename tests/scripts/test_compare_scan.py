"""The script that compares methods on a whole scan: its thick slices, its errors by tissue, a pair of files."""

import compare_scan
import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter1d


@pytest.fixture
def scan(tmp_path):
    """Noise of air to bone, smooth enough that methods do not all fail; the file and its HU."""
    hu = gaussian_filter(np.random.default_rng(0).normal(size=(12, 10, 25)), 1.5)
    hu = np.round(700 * hu / hu.std() - 300).clip(-1000, 1500)
    affine = np.diag([-0.7, -0.7, 1.25, 1])
    nib.save(nib.Nifti1Image(hu.astype(np.int16), affine), tmp_path / "thin.nii.gz")
    return tmp_path / "thin.nii.gz", hu


def rows_of(text):
    return {line.split()[0]: line.split() for line in text.splitlines()[1:-1]}


def expected(made, truth):
    """RMSE in HU in lung, soft tissue and above 300 HU."""
    parts = [(truth >= -1000) & (truth < -500), (truth >= -200) & (truth < 300), truth >= 300]
    return [np.sqrt(((made - truth)[part] ** 2).mean()) for part in parts]


def test_slices_left_out(scan, capsys):
    path, hu = scan
    compare_scan.main([str(path), "--stride", "4", "--methods", "nearest", "linear"])
    row = rows_of(capsys.readouterr().out)["linear"]
    z = np.arange(25)
    made = np.stack([np.interp(z, z[::4], line[::4]) for line in hu.reshape(-1, 25)]).reshape(hu.shape)
    np.testing.assert_allclose(
        [float(v) for v in row[1:4]], expected(made[..., z % 4 > 0], hu[..., z % 4 > 0]), atol=0.1
    )


def test_a_pair_is_compared_at_the_places_of_both(scan, tmp_path, capsys):
    path, hu = scan
    thick = uniform_filter1d(hu, 3, axis=2)[..., 4:23:3]  # the first is centred on the fifth thin slice
    affine = np.diag([-0.7, -0.7, 3.75, 1])
    affine[2, 3] = 4 * 1.25
    nib.save(nib.Nifti1Image(thick.astype(np.float32), affine), tmp_path / "thick.nii.gz")
    arguments = ["--thick", str(tmp_path / "thick.nii.gz"), "--thickness_mm", "0", "--methods", "linear"]
    compare_scan.main([str(path), *arguments])
    row, z = rows_of(capsys.readouterr().out)["linear"], np.arange(4, 23)
    made = np.stack([np.interp(z, z[::3], line) for line in thick.reshape(-1, 7)]).reshape(12, 10, 19)
    made = made[..., (z - 4) % 3 > 0]
    np.testing.assert_allclose([float(v) for v in row[1:4]], expected(made, hu[..., z[(z - 4) % 3 > 0]]), atol=0.6)


def test_thick_slices_are_told_to_the_methods(scan, capsys):
    path, _ = scan
    arguments = [str(path), "--stride", "2", "--average", "4", "--methods", "pchip"]
    compare_scan.main(arguments)
    told = capsys.readouterr().out
    compare_scan.main([*arguments, "--told", "0.01"])
    as_planes = capsys.readouterr().out
    assert "slices 5 mm thick to 25" in told
    better, worse = (float(rows_of(text)["pchip"][2]) for text in (told, as_planes))
    assert better < worse


def test_a_wrong_stride_is_one_sentence(scan, capsys):
    with pytest.raises(SystemExit) as ended:
        compare_scan.main([str(scan[0]), "--stride", "25"])
    assert ended.value.code
    assert "fewer than the 25 slices" in capsys.readouterr().err + str(ended.value.code)
