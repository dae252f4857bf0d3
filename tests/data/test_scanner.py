"""What DICOM or a datalist says of the scanner travels with a nodule into its result; what names a patient does not."""

import json

import numpy as np
import pydicom
import pytest
from helpers.configs import make_study
from helpers.lidc_series import cluster_of, series_around
from helpers.synthetic_dicom import write_series
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from bundle.data import open_source
from bundle.data.datalist import datalist_entries
from bundle.data.dicom.geometry import read_geometry
from bundle.data.lidc.nodules import LoadLidcNodule, lidc_entries
from bundle.data.scanner import FACTS, check_scanner, scanner_facts
from bundle.errors import InputError

KNOWN = {"manufacturer": "SIEMENS", "model": "Sensation 64", "kernel": "B30f", "kvp": 120.0, "exposure_mas": 40.0}
PRIVATE = {"PatientName": "Doe^Jane", "PatientBirthDate": "19500101", "InstitutionName": "St Elsewhere",
           "StationName": "CT77", "OperatorsName": "Roe^Rick", "DeviceSerialNumber": "SN4711"}  # fmt: skip


def told(k: int, header: Dataset) -> None:
    header.Manufacturer, header.ManufacturerModelName, header.ConvolutionKernel = "SIEMENS ", "Sensation  64", "B30f"
    header.KVP, header.Exposure = "120.0", str(30 + 10 * (k % 3))  # the tube's current follows the body
    for name, value in PRIVATE.items():
        setattr(header, name, value)


def test_a_nodule_of_a_dicom_series_keeps_its_scanner_and_no_name(tmp_path):
    cluster = cluster_of("LIDC-IDRI-0314")
    volume, z, _ = series_around(cluster)
    spacing = (cluster.pixel_spacing, cluster.pixel_spacing)
    write_series(tmp_path / "s", volume, z, series_uid=cluster.series_uid, spacing=spacing, edit=told)
    item = LoadLidcNodule()(lidc_entries(tmp_path).entries[0])
    assert item["scanner"] == KNOWN
    words = repr({key: value for key, value in item.items() if key not in ("image", "label")}) + repr(
        item["image"].meta
    )
    assert not [value for value in PRIVATE.values() if value in words]


def test_a_series_that_says_nothing_has_no_facts_and_one_that_is_odd_is_read_all_the_same(tmp_path):
    volume = np.zeros((4, 4, 3), np.float32)
    write_series(tmp_path / "none", volume, range(3))
    assert read_geometry(tmp_path / "none").scanner == {}

    def odd(k: int, header: Dataset) -> None:
        header.Manufacturer, header.ConvolutionKernel = "", ["I30f", "2"]
        header.KVP, header.Exposure = None, 0

    write_series(tmp_path / "odd", volume, range(3), edit=odd)
    assert read_geometry(tmp_path / "odd").scanner == {"kernel": "I30f\\2"}


def test_an_enhanced_file_tells_them_in_its_groups(tmp_path):
    first, second = write_series(tmp_path, np.zeros((4, 4, 2), np.float32), [0, 1])
    for path, exposure in ((first, 35.5), (second, 36.5)):
        header = pydicom.dcmread(path)
        reconstruction, beam, dose = Dataset(), Dataset(), Dataset()
        reconstruction.ConvolutionKernel, beam.KVP, dose.ExposureInmAs = "FC01", 135.0, exposure
        group = Dataset()
        group.CTReconstructionSequence, group.CTXRayDetailsSequence = [reconstruction], [beam]
        group.CTExposureSequence = [dose]
        header.SharedFunctionalGroupsSequence = [group]
        header.save_as(path)
    assert read_geometry(tmp_path).scanner == {"kernel": "FC01", "kvp": 135.0, "exposure_mas": 36.0}


@given(st.lists(st.dictionaries(st.sampled_from(["Manufacturer", "KVP", "Exposure", "PatientName"]), st.text())))
def test_facts_are_known_keys_words_or_numbers_above_0(slices):
    for key, value in scanner_facts(slices).items():
        assert value > 0 if FACTS[key][1] else 0 < len(value) <= 64


def test_a_datalist_gives_the_same_and_the_study_stores_them(nodule_folder, tmp_path):
    folder = nodule_folder(2)
    rows = [{"image": f"nodules/n{k}_image.nii.gz", "label": f"nodules/n{k}_mask.nii.gz"} for k in range(2)]
    rows[0]["scanner"] = KNOWN | {"model": None}
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows))
    known = {key: value for key, value in KNOWN.items() if key != "model"}
    assert [item["scanner"] for item in open_source(datalist=path)] == [known, {}]
    (folder / "index.json").write_text(json.dumps([{"nodule_id": "n1", "scanner": {"kvp": 80}}]))
    assert [entry.get("scanner") for entry in datalist_entries(folder)] == [None, {"kvp": 80.0}]
    make_study(path, tmp_path / "out", ["linear"]).run()
    kept = [json.loads((tmp_path / f"out/nodules/n{k}/truth/result.json").read_text())["scanner"] for k in range(2)]
    assert kept == [known, {}]


@pytest.mark.parametrize(
    ("scanner", "words"),
    [
        ("GE", "has scanner 'GE', expected {"),
        ({"kernal": "B"}, "'kernal': did you mean 'kernel'?"),
        ({"patient": "Doe"}, "'patient', expected some of manufacturer, model"),
        ({"kvp": "120"}, "kvp '120', expected a number above 0"),
        ({"kvp": -1}, "kvp -1, expected a number"),
        ({"exposure_mas": True}, "expected a number"),
        ({"kernel": 7}, "kernel 7, expected a word"),
    ],
)
def test_other_facts_are_refused_in_a_sentence(scanner, words):
    with pytest.raises(InputError) as stop:
        check_scanner(scanner, "list.json, entry 0,")
    assert words in str(stop.value)
    assert str(stop.value).startswith("list.json, entry 0, has scanner")
