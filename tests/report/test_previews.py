"""Previews of dense volumes: what is shown is what the volumes hold, and every result has one that is its own."""

import importlib.util
import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from helpers.configs import run_config, save
from helpers.nodules import small_nodule
from helpers.page import Page, Words
from monai.data import MetaTensor
from PIL import Image

from bundle.report.pictures import heat
from bundle.report.preview.planes import SIDE, WINDOWS, Dense, shown

LUNG, SOFT = WINDOWS


def volume(k=3, z=9, mask=None, error=None, is_mask=False, step=1.0, positions=(0.0, 2.0, 8.0)):
    """Noise of 4 x 6 pixels of 2 mm, so that a voxel is many pixels large."""
    draw = np.random.default_rng(0)
    hu = torch.from_numpy(draw.uniform(-1300, 100, (1, 4, 6, k)).round())
    image = hu if mask is None else torch.cat([hu, torch.from_numpy(mask)[None]])
    tensor = MetaTensor(image, affine=np.diag([2.0, 2.0, 4.0, 1.0]), meta={"slice_positions": np.array(positions)})
    dense = mask if is_mask else draw.uniform(-1300, 100, (4, 6, z)).round()
    return Dense(tensor, dense, is_mask, step, error)


def middles(picture: Image.Image, rows: int, columns: int) -> np.ndarray:
    """The pixels in the middle of each of so many voxels."""
    pixels = np.asarray(picture)
    y, x = (
        ((np.arange(n) + 0.5) * size / n).astype(int)
        for n, size in ((rows, pixels.shape[0]), (columns, pixels.shape[1]))
    )
    return pixels[y][:, x]


def test_pictures_are_the_voxels_of_the_planes_as_a_radiologist_sees_them():
    error = np.random.default_rng(1).uniform(0, 300, (4, 6, 9))
    given = volume(error=error)
    coronal, sagittal = shown(given, LUNG).rows
    # the slices at 0, 2 and 8 mm, for planes at 0 to 8 mm; 5 is as far from both, and has the first
    nearest = [0, 0, 1, 1, 1, 1, 2, 2, 2]
    hu = given.image[0].numpy()
    for row, pick, columns in ((coronal, lambda v: v[:, 3], 4), (sagittal, lambda v: v[2], 6)):
        before, after, expected = (middles(p.picture, 9, columns) for p in row.panels)
        for got, wanted in ((before, pick(hu)[:, nearest]), (after, pick(given.dense))):
            grey = (wanted.T[::-1] + 1350) / 1500 * 255
            np.testing.assert_allclose(got, grey.clip(0, 255), atol=0.51)
        np.testing.assert_array_equal(expected, heat(pick(error).T[::-1], shown(given, LUNG).limit))
    assert coronal.words == "coronal, y = 6.0 mm"
    assert max(sagittal.panels[0].picture.size) == SIDE
    assert sagittal.panels[0].picture.size == (SIDE, SIDE * 9 // 12)  # 12 mm wide, 9 mm high
    soft = middles(shown(given, SOFT).rows[0].panels[1].picture, 9, 4)
    np.testing.assert_allclose(soft, ((given.dense[:, 3].T[::-1] + 135) / 350 * 255).clip(0, 255), atol=0.51)


def test_planes_go_through_the_largest_nodule_and_masks_are_outlined():
    mask = np.zeros((4, 6, 3))
    mask[0, 1, 0], mask[2:4, 4:6] = 7, 2
    given = volume(mask=mask)
    assert given.centre() == ((2, 4), "the largest nodule, label 2")
    colors = [
        np.unique(np.asarray(p.picture).reshape(-1, 3), axis=0).tolist() for p in shown(given, LUNG).rows[0].panels[:1]
    ]
    assert [0x56, 0xB4, 0xE9] in colors[0]
    carried = volume(mask=mask, is_mask=True, positions=(0.0, 1.0, 2.0))
    after = np.asarray(shown(carried, LUNG).rows[0].panels[1].picture)
    assert (after == (0xE8, 0x74, 0x1E)).all(axis=2).any()


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 300, 2), (300, 1, 3)])
def test_any_shape_has_pictures(shape):
    tensor = MetaTensor(torch.zeros(1, *shape), affine=torch.diag(torch.tensor([0.1, 0.1, 50.0, 1.0])))
    rows = shown(Dense(tensor, np.zeros((*shape[:2], 40)), False, 50.0), LUNG).rows
    assert all(min(panel.picture.size) >= 1 for row in rows for panel in row.panels)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two scans, one by a method that expects errors, and a broken one."""
    root = tmp_path_factory.mktemp("scans")
    hu, _ = small_nodule((20, 18, 6))
    save(root / "in" / "a.nii.gz", hu)
    save(root / "in" / "b & <b>.nii.gz", hu + 1)
    (root / "in" / "cut <i>.nii.gz").write_bytes((root / "in" / "a.nii.gz").read_bytes()[:200])
    run_config(root / "out", image=str(root / "in"), method="auto")
    return root


def test_each_result_has_a_page_and_a_picture_and_all_an_index(results):
    record = json.loads((results / "out" / "a_dense_auto.json").read_text(encoding="utf-8"))
    text = (results / "out" / "a_dense_auto_preview.html").read_text(encoding="utf-8")
    page, words = Page(text), " ".join(Words(text).words)
    assert [len(page.all(tag)) for tag in ("script", "h1", "main")] == [0, 1, 1]
    assert len(page.all("img")) == 2 * 2 * 3
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.all("img"))
    assert any("auto chose prior" in note for note in record["notes"])
    for told in (
        *record["notes"],
        "prior made 21 slices 0.5 mm apart of 6 slices 2 mm apart",
        "the middle of the region",
    ):
        assert told in words
    with Image.open(results / "out" / "a_dense_auto_preview.png") as picture:
        assert picture.size[0] > 3 * 200
    index = (results / "out" / "index.html").read_text(encoding="utf-8")
    assert [image["src"][:11] for image in Page(index).all("img")] == ["data:image/"] * 2
    assert {a["href"] for a in Page(index).all("a")} == {
        "#main", "a_dense_auto_preview.html", "b%20%26%20%3Cb%3E_dense_auto_preview.html",
    }  # fmt: skip
    assert "copy it again" in index
    assert "cut &lt;i&gt;.nii.gz" in index


def test_a_lost_preview_is_made_again_from_the_files_alone(results):
    out = results / "out"
    dense, pages = out / "a_dense_auto.nii.gz", [out / f"a_dense_auto_preview.{end}" for end in ("html", "png")]
    before, content = dense.stat().st_mtime_ns, [path.read_bytes() for path in pages]
    pages[0].unlink()
    run_config(out, image=str(results / "in"), method="auto")
    assert dense.stat().st_mtime_ns == before
    assert [path.read_bytes() for path in pages] == content


def test_a_result_made_anew_loses_the_old_preview_and_none_is_made_unasked(tmp_path):
    hu, mask = small_nodule((20, 18, 6))
    files = {"image": save(tmp_path / "a.nii.gz", hu), "mask": save(tmp_path / "m.nii.gz", mask)}
    run_config(tmp_path / "out", **files, method="signed_distance")
    page = tmp_path / "out" / "a_dense_signed_distance_preview.html"
    assert "mask of the method" in page.read_text(encoding="utf-8")
    run_config(tmp_path / "out", **files, method="signed_distance", slice_spacing=1.0)
    assert "1 mm apart" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "index.html").exists()
    run_config(tmp_path / "none", **files, method="linear", preview=False)
    assert {path.suffix for path in (tmp_path / "none").iterdir()} == {".gz", ".json", ".csv"}


def test_without_its_packages_there_is_none_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "jinja2" else found(name, *a))
    run_config(tmp_path / "out", image=save(tmp_path / "a.nii.gz", small_nodule((20, 18, 6))[0]), method="linear")
    assert [r.message for r in caplog.records if "preview" in r.message] == [
        "no previews: Jinja2 is not installed (pip install '.[report]')"
    ]
    assert not list((tmp_path / "out").glob("*preview*"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_axe_finds_nothing(browser, results, scheme):
    axe = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for name in ("index.html", "a_dense_auto_preview.html"):
        for width in (1280, 390):
            browser.open(results / "out" / name, width)
            browser.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.messages == []
            assert {url.split(":")[0] for url in browser.requests} == {"file", "data"}
            browser.run(axe + ";0")
            assert browser.run("axe.run(document).then(r => r.violations.map(v => v.id + v.nodes[0].html))") == []
    browser.call("Emulation.setEmulatedMedia", features=[])
