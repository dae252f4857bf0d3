"""The bundle in MONAI Label: requests, masks, and a real server on loopback that is asked over HTTP.

The server needs an environment with monailabel; it is skipped where there is none. ``MONAILABEL_PYEXE``, MONAI Label's
own variable, may name the Python of another environment than the tests'.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.label_server import NAME, PYTHON, Server
from helpers.nodules import ROOT, small_nodule
from monai.bundle import ConfigParser
from scipy import ndimage

from bundle.errors import InputError
from bundle.inferers import MorphologicalInferer, SignedDistanceInferer
from bundle.label import carry_mask, onto_full_grid, read_request, threshold_nodule
from bundle.label.server import one_sentence

METHODS = ["linear", "pchip", "signed_distance", "siren"]
SHAPE = (24, 20, 8)
# stored towards right and anterior, so that the bundle turns it; 4 new slices to one gap
AFFINE = np.array([[0.5, 0, 0, -20], [0, 0.5, 0, 30], [0, 0, 2.0, -100], [0, 0, 0, 1]])


def drawn_on(mask: np.ndarray, slices: list[int]) -> np.ndarray:
    """The mask, drawn on some slices only."""
    out = np.zeros_like(mask)
    out[..., slices] = mask[..., slices]
    return out


class TestRequest:
    def request(self, tmp_path, **asked):
        (tmp_path / "scan.nii.gz").touch()
        return read_request({"image": str(tmp_path / "scan.nii.gz"), **asked}, METHODS)

    def test_defaults(self, tmp_path):
        got = self.request(tmp_path, center="", size_mm="", method="", answer=None)
        assert (got.method, got.answer, got.center, got.size_mm) == ("auto", "image", None, (50.0, 50.0, 50.0))
        assert got.max_seconds == 300

    @pytest.mark.parametrize("center", ["1, 2.5, -3", "[1 2.5 -3]", [1, 2.5, -3], ("1", "2.5", "-3")])
    def test_viewers_send_text(self, tmp_path, center):
        got = self.request(tmp_path, center=center, size_mm="30", epochs="7", max_seconds="20.5")
        assert got.center == (1.0, 2.5, -3.0)
        assert got.size_mm == (30.0, 30.0, 30.0)
        assert (got.epochs, got.max_seconds) == (7, 20.5)

    @pytest.mark.parametrize(
        ("asked", "answer", "method"),
        [
            ({"result_dtype": "uint8"}, "mask", "signed_distance"),
            ({"method": "signed_distance"}, "mask", "signed_distance"),
            ({"method": "linear"}, "image", "linear"),
            ({"method": "siren", "answer": "mask"}, "mask", "signed_distance"),
            ({"result_dtype": "float32"}, "image", "auto"),
        ],
    )
    def test_what_is_answered(self, tmp_path, asked, answer, method):
        got = self.request(tmp_path, **asked)
        assert (got.answer, got.method) == (answer, method)

    def test_the_label_of_the_datastore_is_found(self, tmp_path):
        assert self.request(tmp_path).mask is None
        for tag in ("original", "final"):
            (tmp_path / "labels" / tag).mkdir(parents=True)
            (tmp_path / "labels" / tag / "scan.nii.gz").touch()
            assert self.request(tmp_path).mask == str(tmp_path / "labels" / tag / "scan.nii.gz")
        assert self.request(tmp_path, label="sent.nii.gz").mask == "sent.nii.gz"

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"image": ""}, "no such image"),
            ({"method": "sirn"}, "did you mean 'siren'"),
            ({"answer": "both"}, "answer is 'both'"),
            ({"answer": "image", "result_dtype": "uint8"}, "don't fit into result_dtype uint8"),
            ({"answer": "image", "method": "signed_distance"}, "carries masks"),
            ({"center": "1, 2"}, "center is '1, 2', expected three numbers"),
            ({"center": [1, 2, float("nan")]}, "center is"),
            ({"center_unit": "inch"}, "center_unit is 'inch'"),
            ({"size_mm": [10, 0, 10]}, "size_mm is [10, 0, 10], expected three numbers above 0"),
            ({"epochs": 1.5}, "epochs is 1.5, expected a whole number above 0"),
            ({"epochs": "many"}, "epochs is 'many', expected a number above 0"),
            ({"max_seconds": 0}, "max_seconds is 0"),
            ({"threshold_hu": "soft"}, "threshold_hu is 'soft'"),
        ],
    )
    def test_mistakes(self, tmp_path, asked, sentence):
        with pytest.raises(InputError) as refused:
            self.request(tmp_path, **asked)
        assert sentence in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("method", [SignedDistanceInferer(), MorphologicalInferer()])
def test_carried_mask(method):
    mask = small_nodule(SHAPE)[1] > 0
    seen = np.flatnonzero(mask.any(axis=(0, 1)))
    slices = [int(seen[0]), int(seen[len(seen) // 2]), int(seen[-1])]
    positions = np.array([0, 2, 4, 5, 6, 9, 11, 13.0])  # uneven
    got = carry_mask(drawn_on(mask, slices), positions, (0.5, 0.5), method)
    np.testing.assert_array_equal(got[..., slices], mask[..., slices])
    np.testing.assert_array_equal(got.any(axis=(0, 1)), mask.any(axis=(0, 1)))
    assert 2 * (got & mask).sum() / (got.sum() + mask.sum()) > 0.8
    # a mask drawn on all of its slices stays as it is
    np.testing.assert_array_equal(carry_mask(mask, positions, (0.5, 0.5), method), mask)
    for few in (0, 1):
        with pytest.raises(InputError, match=rf"drawn on {few} slice\(s\)"):
            carry_mask(drawn_on(mask, slices[:few]), positions, (0.5, 0.5), method)


def test_thresholded_nodule_is_the_part_at_the_centre():
    hu = np.full((30, 30, 12), -850.0)
    hu[10:20, 10:20, 3:9] = 20
    hu[22:, :, :] = 60  # a wall that does not touch
    got = threshold_nodule(hu, np.array([14.5, 14.5, 5.5]), np.array([1, 1, 2.0]), -400, np.full(3, 40.0))
    expected = ndimage.label(hu > -400)[0] == ndimage.label(hu > -400)[0][15, 15, 5]
    np.testing.assert_array_equal(got, expected)
    # a centre beside the nodule finds it; one far from anything bright does not
    beside = threshold_nodule(hu, np.array([8.0, 14.5, 5.5]), np.array([1, 1, 2.0]), -400, np.full(3, 40.0))
    np.testing.assert_array_equal(beside, expected)
    with pytest.raises(InputError, match="nothing within 5 mm"):
        threshold_nodule(hu, np.array([2.0, 2, 5]), np.array([1, 1, 2.0]), -400, np.full(3, 40.0))


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_full_grid_is_the_files(axes, signs):
    stored_shape = (5, 6, 7)
    stored = np.random.default_rng(0).random(stored_shape) > 0.5
    stored_affine = np.diag([2.0, 3, 4, 1])[:, [*np.argsort(axes), 3]] @ np.diag([*signs, 1.0])
    lps = nib.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(stored_affine), lps)
    volume = nib.orientations.apply_orientation(stored, turn)
    affine = stored_affine @ nib.orientations.inv_ornt_aff(turn, stored_shape)
    start = np.array([1, 2, 0])
    part = volume[1:4, 2:5, 0:3]
    got = onto_full_grid(part, start, volume.shape, affine, stored_affine)
    assert got.dtype == np.uint8
    kept = np.zeros(volume.shape, bool)
    kept[1:4, 2:5, 0:3] = part
    back = nib.orientations.ornt_transform(lps, nib.orientations.io_orientation(stored_affine))
    np.testing.assert_array_equal(got, nib.orientations.apply_orientation(kept, back))
    assert got.shape == stored_shape
    assert not got[~stored].any()


def test_a_mistake_becomes_one_sentence_for_the_client():
    starlette = pytest.importorskip("starlette.exceptions", reason="starlette, the web server's, is not installed")
    wrapped = RuntimeError("wrapped by a Compose")
    wrapped.__cause__ = InputError("give one, in voxels with --center_unit voxel")
    with pytest.raises(starlette.HTTPException) as answer, one_sentence():
        raise wrapped
    assert answer.value.status_code == 400
    assert answer.value.detail == "give one, in voxels with center_unit voxel"


def test_a_fault_of_the_program_stays_one():
    with pytest.raises(ZeroDivisionError), one_sentence():
        1 / 0  # noqa: B018


def test_what_the_server_offers_is_what_a_request_understands():
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser["bundle_root"] = str(ROOT)
    offered = parser.get_parsed_content("displayable_configs")
    request = read_request({"image": str(ROOT), **offered}, list(parser.get_parsed_content("inferers")))
    assert (request.method, request.answer, request.epochs) == ("auto", "image", 100)


def test_the_guide_knows_every_parameter():
    text = (ROOT / "docs" / "monai_label.md").read_text(encoding="utf-8")
    config = json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert [name for name in config["displayable_configs"] if f"| `{name}` |" not in text] == []


# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    look = "import importlib.util as u, sys; print(sys.prefix if u.find_spec('monailabel') else '')"
    prefix = subprocess.run([PYTHON, "-c", look], capture_output=True, text=True, check=True).stdout.strip()
    if not prefix:
        pytest.skip('monailabel is not installed: pip install -e ".[label]", or name its Python in MONAILABEL_PYEXE')
    folder = tmp_path_factory.mktemp("label")
    made = Server(folder, Path(prefix))
    hu, mask = small_nodule(SHAPE)
    seen = np.flatnonzero(mask.any(axis=(0, 1)))
    made.hu, made.mask, made.slices = hu, mask, [int(seen[0]), int(seen[-1])]
    made.center = (AFFINE @ [SHAPE[0] / 2, SHAPE[1] / 2, SHAPE[2] / 2, 1])[:3].tolist()
    for name, array in {"thick": hu, "flat": hu[..., 0], "one": hu[..., :1], "other": hu[:12]}.items():
        nib.save(nib.Nifti1Image(array, AFFINE), made.studies / f"{name}.nii.gz")
    made.drawn = folder / "drawn.nii.gz"
    nib.save(nib.Nifti1Image(drawn_on(mask, made.slices), AFFINE), made.drawn)
    try:
        made.wait(240)
        yield made
    finally:
        made.stop()


@pytest.mark.slow
class TestServer:
    def test_info_lists_it(self, server):
        status, body = server.call("GET", "/info/")
        model = json.loads(body)["models"][NAME]
        assert status == 200
        assert list(model["labels"]) == ["nodule"]
        assert {"method", "epochs", "center", "size_mm", "max_seconds"} <= model["config"].keys()

    def test_dense_image(self, server, tmp_path):
        dense = server.volume(tmp_path, method="linear", center=server.center, size_mm=100)
        values = np.asarray(dense.dataobj)
        assert values.dtype == np.float32
        assert values.shape == (*SHAPE[:2], 4 * (SHAPE[2] - 1) + 1)
        assert np.allclose(nib.affines.voxel_sizes(dense.affine), 0.5)
        # each voxel of the answer, by its place, against interpolation in the source
        places = np.stack(np.indices(values.shape), -1).reshape(-1, 3)
        there = nib.affines.apply_affine(np.linalg.inv(AFFINE) @ dense.affine, places)
        expected = ndimage.map_coordinates(
            np.clip(server.hu, -1000, 400).astype(float), there.T, order=1, mode="nearest"
        )
        np.testing.assert_allclose(values.ravel(), expected, atol=0.05)

    def test_region_and_network(self, server, tmp_path):
        asked = {"center": server.center, "size_mm": [6, 5, 6]}
        dense = server.volume(tmp_path, method="siren", epochs=10, **asked)
        cubic = server.volume(tmp_path, method="cubic", **asked)
        assert dense.shape == cubic.shape
        assert np.prod(dense.shape[:2]) < np.prod(SHAPE[:2])
        np.testing.assert_allclose(dense.affine, cubic.affine)
        a, b = np.asarray(dense.dataobj), np.asarray(cubic.dataobj)
        np.testing.assert_array_equal(a[..., ::4], b[..., ::4])  # observed
        assert np.abs(a - b).max() > 1
        assert "siren: 50 % after" in server.log()

    @pytest.mark.parametrize("way", ["sent", "kept"])
    def test_mask_is_carried_to_every_slice(self, server, tmp_path, way):
        if way == "kept":
            status, _ = server.call("PUT", "/datastore/label?image=thick&tag=final", {"label": server.drawn})
            assert status == 200
            carried = server.volume(tmp_path, result_dtype="uint8")
        else:
            carried = server.volume(tmp_path, result_dtype="uint8", label=server.drawn)
        got = np.asarray(carried.dataobj)
        assert got.dtype == np.uint8
        assert got.shape == SHAPE
        np.testing.assert_allclose(carried.affine, AFFINE, atol=1e-5)
        expected = carry_mask(
            drawn_on(server.mask, server.slices) > 0, np.arange(SHAPE[2]) * 2.0, (0.5, 0.5), SignedDistanceInferer()
        )
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got.any(axis=(0, 1)), server.mask.any(axis=(0, 1)))

    def test_mask_without_a_drawing(self, server, tmp_path):
        nib.save(nib.Nifti1Image(server.hu, AFFINE), server.studies / "undrawn.nii.gz")
        path = server.studies / "undrawn.nii.gz"
        found = np.asarray(server.volume(tmp_path, image=path, result_dtype="uint8", center=server.center).dataobj)
        assert found.shape == SHAPE
        assert 2 * (found * server.mask).sum() / (found.sum() + server.mask.sum()) > 0.8

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"image": "flat"}, "has 2 axes"),
            ({"image": "absent"}, "no such image"),
            ({"image": "one", "center": [-17.0, 33.0, -100.0]}, "1 observed slice"),
            ({"center": [500, 0, 0]}, "outside of the image"),
            ({"method": "cubc"}, "did you mean 'cubic'?"),
            ({"epochs": "many"}, "epochs is 'many'"),
            ({"image": "other", "result_dtype": "uint8", "label": "DRAWN"}, "drawn on this image"),
            ({"image": "other", "result_dtype": "uint8"}, "neither a mask nor a centre"),
            ({"method": "siren", "epochs": 10**6, "max_seconds": 1, "size_mm": 100}, "after max_seconds 1"),
        ],
    )
    def test_a_mistake_is_answered_with_one_sentence(self, server, asked, sentence):
        if asked.get("label"):
            asked = asked | {"label": server.drawn}
        if "image" not in asked:
            asked = {"center": server.center} | asked
        status, body = server.infer(**asked)
        detail = json.loads(body)["detail"]
        assert status == 400
        assert sentence in detail
        assert "\n" not in detail
        assert "--" not in detail
        assert server.call("GET", "/info/")[0] == 200

    def test_a_cancelled_request_does_not_harm_the_server(self, server):
        with pytest.raises(TimeoutError):
            server.infer(method="siren", epochs=10**6, max_seconds=5, center=server.center, size_mm=100, timeout=1)
        status, _ = server.infer(center=server.center, timeout=60)
        assert status == 200
        assert server.process.poll() is None
