"""The study from end to end on small nodules: run through monai.bundle, resumed, and fed with mistakes."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import make_study, mistake_in
from helpers.nodules import ROOT, small_nodule, write_nodule

from bundle.errors import InputError
from bundle.inferers.names import chosen_names
from bundle.report.tidy import COLUMNS, read_rows

TABLES = ("metrics", "texture", "failures", "summary")
QUICK = ["nearest", "linear", "cubic", "pchip", "morphological", "signed_distance"]


def run_command(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/study.json", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **kwargs)


def test_what_is_odd_about_a_nodules_files_is_told_also_when_it_is_resumed(nodule_folder, tmp_path, capsys):
    folder, out = nodule_folder(2), tmp_path / "out"
    for path in folder.glob("*.nii.gz"):
        image = nib.load(path)
        affine = np.diag([1000.0, 1000, 1000, 1]) @ image.affine if "n1_image" in path.name else image.affine
        made = nib.Nifti1Image(np.asarray(image.dataobj), affine)
        made.header.set_xyzt_units("micron" if "n1_image" in path.name else "mm")
        nib.save(made, path)
    for _ in range(2):
        make_study(folder, out, ["linear"]).run()
        said = " ".join(capsys.readouterr().out.split())
        assert "the CT, note on 1 nodules: n1: the header is in microns: converted to mm" in said
    kept = json.loads((out / "nodules" / "n1" / "truth" / "result.json").read_text(encoding="utf-8"))
    assert "the header is in microns: converted to mm" in json.dumps(kept)


def test_files_and_columns(nodule_folder, tmp_path):
    out = tmp_path / "out"
    make_study(nodule_folder(2), out, [*QUICK, "siren"], epochs=2).run()
    with (out / "metrics.csv").open() as file:
        assert file.readline().strip() == ",".join(COLUMNS)
    rows = read_rows(out / "metrics.csv")
    assert {row["method"] for row in rows} == {*QUICK, "siren"}
    assert {row["slices"] for row in rows} == {"unobserved", "interpolated", "all"}
    assert {row["region"] for row in rows} == {"global", "tumour", "roi"}
    assert {row["metric"] for row in rows} == {"mae", "rmse", "psnr", "ssim", "dsc", "hd_mm", "arve"}
    keys = [tuple(row[c] for c in COLUMNS[:-1]) for row in rows]
    assert len(keys) == len(set(keys))
    for nodule in ("n0", "n1"):
        siren = out / "nodules" / nodule / "siren"
        assert {p.name for p in siren.iterdir()} >= {"image.nii.gz", "network.pt", "history.csv", "result.json"}
        truth = nib.load(out / "nodules" / nodule / "truth" / "image.nii.gz")
        made = nib.load(siren / "image.nii.gz")
        assert made.get_data_dtype() == np.int16
        assert made.shape == truth.shape
        np.testing.assert_allclose(made.affine, truth.affine)
        seen = nib.load(out / "nodules" / nodule / "truth" / "observed.nii.gz")
        np.testing.assert_array_equal(np.asarray(seen.dataobj), np.asarray(truth.dataobj)[..., ::5])
        np.testing.assert_allclose(seen.affine @ [1, 2, 1, 1], truth.affine @ [1, 2, 5, 1])
    for name in ("table1", "table3", "methods"):
        assert (out / "tables" / f"{name}.md").read_text().startswith(("Table", "PSNR"))
    with (out / "summary.csv").open() as file:
        assert {"mean", "sd", "n", "n_failed", "data"} <= set(next(csv.DictReader(file)))
    assert json.loads((out / "study.json").read_text())["methods"]["siren"]["options"]["epochs"] == 2


def test_workers_do_not_change_a_digit(nodule_folder, tmp_path):
    folder = nodule_folder(3)
    (folder / "n1_mask.nii.gz").unlink()  # a failure is one everywhere
    found = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        make_study(folder, out, ["pchip", "siren", "signed_distance"], epochs=2, workers=workers).run()
        files = sorted(path.relative_to(out).as_posix() for path in (out / "nodules").rglob("*") if path.is_file())
        found.append((files, *((out / f"{name}.csv").read_text() for name in TABLES)))
    assert found[0] == found[1]


def test_order_and_company_do_not_change_a_nodule(nodule_folder, tmp_path):
    folder = nodule_folder(2)
    make_study(folder, tmp_path / "both", ["siren"], epochs=2).run()
    (folder / "n0_image.nii.gz").unlink()
    (folder / "n0_mask.nii.gz").unlink()
    make_study(folder, tmp_path / "alone", ["linear", "siren"], epochs=2).run()
    siren = [
        [r for r in read_rows(tmp_path / o / "metrics.csv") if (r["nodule_id"], r["method"]) == ("n1", "siren")]
        for o in ("both", "alone")
    ]
    assert siren[0] == siren[1] != []


def test_a_changed_parameter_is_noticed_and_not_mixed(nodule_folder, tmp_path, capsys):
    folder, out = nodule_folder(1), tmp_path / "out"
    make_study(folder, out, ["linear", "siren"], epochs=2).run()
    first = (out / "metrics.csv").read_text()
    make_study(folder, out, ["linear", "siren"], epochs=2).run()
    assert "(2 of them earlier)" in capsys.readouterr().out
    make_study(folder, out, ["linear", "siren"], epochs=3).run()
    printed = capsys.readouterr().out
    assert "1 results in" in printed
    assert "other parameters" in printed
    assert (out / "metrics.csv").read_text() != first
    assert len(list((out / "superseded" / "n0").glob("siren-*/image.nii.gz"))) == 1
    for change in ({"stride": 4}, {"seed": 1}, {"margin_mm": 2.0}, {"thresholds_hu": [-400]}):
        before = json.loads((out / "nodules" / "n0" / "siren" / "result.json").read_text())["fingerprint"]
        make_study(folder, out, ["siren"], epochs=3, **change).run()
        after = json.loads((out / "nodules" / "n0" / "siren" / "result.json").read_text())["fingerprint"]
        assert before != after, change


def test_killed_and_resumed_equals_never_killed(nodule_folder, tmp_path):
    folder, methods, epochs = nodule_folder(3), ["linear", "siren"], 40
    make_study(folder, tmp_path / "whole", methods, epochs=epochs).run()

    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/study.json"]
    command += ["--datalist", str(folder), "--methods", str(methods), "--epochs", str(epochs), "--device", "cpu"]
    command += ["--workers", "1", "--report", "False", "--output_dir"]
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = tmp_path / "killed" / "nodules" / "n0" / "siren" / "result.json"
    deadline = time.monotonic() + 120
    while not first.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert first.exists()
    assert not (tmp_path / "killed" / "metrics.csv").exists()
    stamp = first.stat().st_mtime_ns

    make_study(folder, tmp_path / "killed", methods, epochs=epochs).run()
    assert first.stat().st_mtime_ns == stamp
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_one_bad_nodule_fails_alone(nodule_folder, tmp_path, capsys):
    folder = nodule_folder(1)
    hu, mask = small_nodule()
    write_nodule(folder, "bad_empty", hu, np.zeros_like(mask))
    write_nodule(folder, "bad_thin", hu[..., 5:9], mask[..., 5:9])
    write_nodule(folder, "bad_maskless", hu, None)
    write_nodule(folder, "bad_shape", hu, mask[1:])
    noisy = hu.astype(np.float32)
    noisy[3, 3, 3] = np.nan
    write_nodule(folder, "bad_nan", noisy, mask)
    write_nodule(folder, "bad_truncated", hu, mask)
    path = folder / "bad_truncated_image.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    make_study(folder, tmp_path / "out", ["linear", "morphological"]).run()
    with (tmp_path / "out" / "failures.csv").open() as file:
        failures = {row["nodule_id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(failures) == {f"bad_{n}" for n in ("empty", "thin", "maskless", "shape", "nan", "truncated")}
    assert "1 observed slice" in failures["bad_thin"]
    assert all(len(reason) > 20 and "Traceback" not in reason for reason in failures.values())
    rows = read_rows(tmp_path / "out" / "metrics.csv")
    assert all(math.isnan(r["value"]) is (r["nodule_id"] != "n0") for r in rows)
    assert {r["nodule_id"] for r in rows} == {"n0", *failures}
    assert "12 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"datalist": "/no/such/folder"}, "/no/such/folder"),
        ({"methods": ["cubc"]}, "did you mean 'cubic'?"),
        ({"methods": []}, "--methods is empty"),
        ({"methods": ["linear", "linear"]}, "twice"),
        ({"limit": 0}, "limit"),
        ({"workers": 0}, "--workers is 0"),
        ({"seed": "x"}, "--seed is 'x'"),
        ({"output_dir": "/proc/no/such"}, "can't be written"),
        ({"stride": 0}, "stride"),
        ({"epochs": -1, "methods": ["siren"]}, "epochs"),
    ],
)
def test_a_mistake_ends_with_one_sentence(nodule_folder, tmp_path, overrides, sentence):
    arguments = {"methods": ["linear"], **overrides}
    datalist = arguments.pop("datalist", None) or nodule_folder(1)
    output_dir, methods = arguments.pop("output_dir", tmp_path / "out"), arguments.pop("methods")
    assert sentence in mistake_in(lambda: make_study(datalist, output_dir, methods, **arguments).run())


def test_a_mistake_on_the_command_line_shows_no_traceback(nodule_folder, tmp_path):
    done = run_command(
        "--datalist", str(nodule_folder(1)), "--methods", "['cubc']", "--output_dir", str(tmp_path / "out")
    )
    assert done.returncode == 1
    assert "error: --methods has 'cubc', which is no method: did you mean 'cubic'?" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_chosen_names_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'signed_distance'"):
        chosen_names(["signed_dist"], QUICK)
    with pytest.raises(InputError, match="which is no method: choose from"):
        chosen_names(["zzz"], QUICK)


@pytest.mark.realdata
def test_all_nodules_of_the_real_cohort_run(real_data: Path, tmp_path):
    make_study(real_data / "lidc_cohort", tmp_path, QUICK, workers=max(1, len(os.sched_getaffinity(0)))).run()
    rows = read_rows(tmp_path / "metrics.csv")
    assert len({row["nodule_id"] for row in rows}) == 28
    failed = {r["nodule_id"] for r in rows if r["metric"] == "mae" and r["slices"] == "unobserved"
              and r["region"] == "global" and math.isnan(r["value"])}  # fmt: skip
    # three crops have five slices: only the first is observed
    assert failed == {"LIDC-IDRI-0674_nodule_3", "LIDC-IDRI-0775_nodule_0", "LIDC-IDRI-0898_nodule_2"}
