"""The config that calibrates expected errors: what it writes covers nodules of other patients, and what it refuses."""

import json
import os

import numpy as np
import pytest
from helpers.configs import make_study, mistake_in
from helpers.nodules import ROOT, small_nodule, write_nodule
from monai.bundle import ConfigParser

from bundle.inferers import read_calibrations
from bundle.inferers.calibration.fit import promised
from bundle.report.tidy import read_rows

CONFIGS = [str(ROOT / "configs" / f"{name}.json") for name in ("study", "calibrate")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten patients of one or two nodules, and an overlay that knows the tests' methods."""
    root = tmp_path_factory.mktemp("calibration")
    for patient in range(10):
        for k in range(1 + patient % 2):
            hu, mask = small_nodule((24, 22, 17), seed=10 * patient + k)
            write_nodule(root / "nodules", f"LIDC-IDRI-{patient:04d}_R_{k}", hu, mask)
    methods = {
        f"inferers#{name.lower()}": {"_target_": f"helpers.unsure.{name}Inferer", "_mode_": "callable"}
        for name in ("Unsure", "Wrong")
    }
    (root / "overlay.json").write_text(json.dumps(methods))
    return root


def calibrate(data, output, **options):
    """Run the config in this process."""
    parser = ConfigParser()
    parser.read_config([*CONFIGS, str(data / "overlay.json")])
    parser.update({"bundle_root": str(ROOT), "datalist": str(data / "nodules"), "output_file": str(output)})
    parser.update({"methods": ["unsure"], "workers": 1, "device": "cpu", "thick": [], **options})
    parser.get_parsed_content("run")


def test_a_calibration_on_some_patients_covers_others_in_a_study(data, tmp_path, capsys):
    output = tmp_path / "uncertainty.json"
    output.write_text(json.dumps({"methods": {"kept": {"scale": 1.0, "multipliers": {"0.9": 2.0}}}}))
    calibrate(data, output, test_folds=[0, 1, 2], strides=[3, 5], data_name="ours")
    printed = capsys.readouterr().out
    assert "unsure  5       tumour" in printed
    assert str(output) in printed
    written = json.loads(output.read_text())["methods"]
    assert set(written) == {"kept", "unsure"} == set(read_calibrations(output))
    on = written["unsure"]["calibrated_on"]
    assert (on["data"], on["patients"], on["nodules"], on["reconstructions"]) == ("ours", 6, 9, 18)
    assert (on["protocols"], on["folds_of_5"], on["left_out"]) == ([[3, 1], [5, 1]], [0, 1, 2], 0)
    held = written["unsure"]["coverage_of_other_patients"]
    # each of the six by the five others
    np.testing.assert_allclose(held["all"]["global"], promised(held["levels"], 5), atol=0.03)
    assert on["not_promised"] == [0.9, 0.95]
    assert "intervals of 90, 95 % take the largest error seen" in printed
    assert "6 patients can't promise more of the next one; give 10, 20 or more" in printed
    np.testing.assert_allclose(
        np.mean([held["3"]["global"], held["5"]["global"]], axis=0), held["all"]["global"], atol=2e-4
    )

    others = [f"LIDC-IDRI-{p:04d}_R_{k}" for p in range(10) if p % 5 > 2 for k in range(1 + p % 2)]
    for name in others:
        for kind in ("image", "mask"):
            (tmp_path / "others").mkdir(exist_ok=True)
            os.link(data / "nodules" / f"{name}_{kind}.nii.gz", tmp_path / "others" / f"{name}_{kind}.nii.gz")
    options = {**json.loads((data / "overlay.json").read_text()), "calibration": str(output), "stride": 4}
    make_study(tmp_path / "others", tmp_path / "out", ["unsure"], **options).run()
    result = next((tmp_path / "out" / "nodules").glob("*/unsure/*.json")).read_text()
    assert "calibrated on few patients: intervals of 90, 95 % take the largest error seen" in result
    rows = [r for r in read_rows(tmp_path / "out" / "uncertainty.csv") if r["slices"] == "unobserved"]
    for level in (50, 80, 90, 95):
        found = [r["value"] for r in rows if (r["region"], r["metric"]) == ("global", f"coverage_{level}")]
        assert len(found) == len(others)
        assert np.mean(found) == pytest.approx(promised([level / 100], 6)[0], abs=0.06)
    ratios = [r["value"] for r in rows if (r["region"], r["metric"]) == ("global", "error_ratio")]
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)


def test_the_numbers_are_those_of_the_nodules_at_hand(data, tmp_path):
    """Once more by hand: one nodule, one stride, every unobserved voxel of the crop."""
    import nibabel as nib
    from helpers.unsure import UnsureInferer

    from bundle.inferers import ObservedSlices

    ids, output = tmp_path / "ids.txt", tmp_path / "u.json"
    ids.write_text("LIDC-IDRI-0003_R_1\n")
    calibrate(data, output, ids=str(ids), strides=[5])
    hu = np.asarray(nib.load(data / "nodules" / "LIDC-IDRI-0003_R_1_image.nii.gz").dataobj, dtype=float)
    truth = (hu.clip(-1000, 400) + 1000) / 1400
    z = np.arange(17.0)
    made = UnsureInferer().reconstruct(ObservedSlices(truth[..., ::5], None, z[::5], z))
    unseen = z % 5 > 0
    off, raw = np.abs(made.image - truth), made.error
    found = read_calibrations(output)["unsure"]
    # the last slice, 16, lies beyond the last observed one, 15
    last, others = np.s_[..., 16:], np.s_[..., unseen & (z < 16)]
    ratios = [off[part].mean() / raw[part].mean() for part in (last, others)]
    assert found.beyond == pytest.approx(ratios[0] / ratios[1], rel=1e-4)
    raw[last] *= found.beyond
    off, raw = off[..., unseen].ravel(), raw[..., unseen].ravel()
    assert found.scale == pytest.approx(off.mean() / raw.mean(), rel=1e-4)
    # one patient more could have as much beyond as this one has within, so nothing above a half can be promised
    ratios = off / (found.scale * raw)
    np.testing.assert_allclose(found.multipliers, [ratios.max()] * 4, rtol=1e-4)
    # a single patient leaves no other to be tried on
    held = json.loads(output.read_text())["methods"]["unsure"]["coverage_of_other_patients"]
    assert held["all"]["global"] == [None] * 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"methods": ["unsur"]}, "did you mean 'unsure'?"),
        ({"methods": ["linear"]}, "linear gives no expected error"),
        ({"methods": ["wrong"]}, "negative or not finite"),
        ({"strides": [40]}, "1 observed slice"),
        ({"slices": "all"}, "--slices is 'all'"),
        ({"ids": "/no/ids.txt"}, "/no/ids.txt can't be read"),
        ({"ids": CONFIGS[0]}, "expected ids of the data's nodules"),
        ({"test_folds": [7]}, "folds [7]"),
        ({"datalist": None}, "phantoms say nothing about errors on CT"),
    ],
)
def test_a_mistake_ends_with_one_sentence_and_writes_nothing(data, tmp_path, options, sentence):
    output = tmp_path / "uncertainty.json"
    assert sentence in mistake_in(calibrate, data, output, **options)
    assert not output.exists()


def test_a_broken_file_is_not_written_over(data, tmp_path):
    output = tmp_path / "uncertainty.json"
    output.write_text('{"methods": {"ours": {"scale": -1}}}')
    assert "is no calibration" in mistake_in(calibrate, data, output)
    assert "ours" in output.read_text()


def test_two_workers_give_the_same(data, tmp_path):
    texts = []
    for workers in (1, 2):
        output = tmp_path / f"{workers}.json"
        calibrate(data, output, test_folds=[1], strides=[4], workers=workers)
        texts.append(output.read_text())
    assert texts[0] == texts[1]


def test_averages_are_calibrated_beside_planes(data, tmp_path):
    output = tmp_path / "u.json"
    calibrate(data, output, strides=[3], thick=[[3, 3]])
    entry = json.loads(output.read_text())["methods"]["unsure"]
    assert entry["calibrated_on"]["protocols"] == [[3, 1], [3, 3]]
    assert {"all", "3", "3 x 3"} < set(entry["coverage_of_other_patients"])
    assert np.shape(read_calibrations(output)["unsure"].factors) == (2, 3, 4)
