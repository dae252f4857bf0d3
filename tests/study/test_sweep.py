"""A sweep: at each setting what the study alone gives there, resumed, locked, on any machines, with one report."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.configs import make_study, make_sweep, mistake_in
from helpers.nodules import ROOT, small_nodule, write_nodule
from monai.bundle import ConfigParser

from bundle.errors import InputError
from bundle.inferers import stored_methods
from bundle.lock import hold
from bundle.options.check import check_names
from bundle.store import ResultStore
from bundle.study.shards import Shard
from bundle.study.sweep import Setting, SweepWork, settings_of
from bundle.transforms import Decimate


def said(capsys) -> tuple[str, str]:
    """What was printed, on one line, and the lines of the bars."""
    told = capsys.readouterr()
    return " ".join(told.out.split()), told.err


def test_each_setting_is_the_study_at_it_to_the_last_digit(nodule_folder, tmp_path, capsys):
    folder, methods = nodule_folder(2), ["cubic", "gate", "siren", "morphological"]
    make_sweep(folder, tmp_path / "sweep", methods, strides=[2, 5], thick=[[3, 3]], epochs=2).run()
    told, bars = said(capsys)
    assert told.count("results in") == 1
    assert "3 settings x 2 nodules x 4 methods: 24 reconstructed (0 of them earlier), 0 failed" in told
    assert {line.split(":")[0] for line in bars.splitlines() if "nodules in" in line} == {"sweep"}
    for setting, options in (
        ("stride_2", {"stride": 2}),
        ("stride_5", {"stride": 5}),
        ("stride_3_average_3", {"stride": 3, "slice_average": 3}),
    ):
        make_study(folder, tmp_path / setting, methods, epochs=2, **options).run()
        for name in ("metrics.csv", "texture.csv", "clinical.csv", "summary.csv"):
            alone, swept = ((root / setting / name).read_bytes() for root in (tmp_path, tmp_path / "sweep"))
            assert alone == swept, (setting, name)
    said(capsys)
    # a study goes on in a setting's folder, and the sweep in it
    make_study(folder, tmp_path / "sweep" / "stride_5", methods, epochs=2).run()
    assert "8 reconstructed (8 of them earlier)" in said(capsys)[0]


def test_what_was_stopped_goes_on_where_it_was(nodule_folder, tmp_path, capsys, monkeypatch):
    folder, out, done = nodule_folder(2), tmp_path / "out", []
    call = SweepWork.__call__

    def stopped(self, piece, report):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(piece)
        return call(self, piece, report)

    monkeypatch.setattr(SweepWork, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_sweep(folder, out, ["linear", "cubic"], strides=[2, 3, 5]).run()
    monkeypatch.undo()
    make_sweep(folder, out, ["linear", "cubic"], strides=[2, 3, 5]).run()
    assert "12 reconstructed (6 of them earlier)" in said(capsys)[0]
    first = (out / "sweep.csv").read_bytes()
    shutil.rmtree(out / "stride_3")
    make_sweep(folder, out, ["linear", "cubic"], strides=[2, 3, 5]).run()
    assert "12 reconstructed (8 of them earlier)" in said(capsys)[0]
    assert (out / "sweep.csv").read_bytes() == first


def test_a_nodule_with_too_few_slices_for_a_stride_is_counted_and_its_reason_said(tmp_path, capsys):
    for name, slices in (("short", 7), ("long", 19)):
        write_nodule(tmp_path / "nodules", name, *small_nodule((20, 18, slices)))
    make_sweep(tmp_path / "nodules", tmp_path / "out", ["linear", "cubic"], strides=[3, 8], report=True).run()
    told = said(capsys)[0]
    assert "stride_8, every method failed on 1 nodules: short: only 1 observed slice" in told
    assert "stride_3, every" not in told
    with (tmp_path / "out" / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["nodule_id"] for r in rows if r["gain"] == "nan"} == {"short"}
    assert {(r["setting"], r["gap_mm"]) for r in rows if r["gain"] == "nan"} == {("stride_8", "8")}
    with (tmp_path / "out" / "tables" / "sweep_settings.csv").open(newline="") as file:
        counts = {(r["setting"], r["n"], r["n_failed"]) for r in csv.DictReader(file)}
    assert counts == {("stride_3", "2", "0"), ("stride_8", "1", "1")}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "short: only 1 observed slice" in page
    assert "By setting, nodules with a value of every method at every setting alone, 1 of 2" in page


def test_a_sweep_of_strides_beyond_every_nodule_leaves_a_report_of_its_failures(nodule_folder, tmp_path):
    with pytest.raises(InputError, match="nothing could be reconstructed at any setting: see "):
        make_sweep(nodule_folder(2), tmp_path / "out", ["linear", "cubic"], strides=[40, 50], report=True).run()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "2 nodules, 2 methods, 2 settings: 1 slice in 40; 1 slice in 50. 8 failed reconstructions." in page
    assert "n0: only 1 observed slice" in page
    with (tmp_path / "out" / "sweep.csv").open(newline="") as file:
        assert {row["gain"] for row in csv.DictReader(file)} == {"nan"}


def test_a_folder_has_one_sweep_and_no_study_beside_it(nodule_folder, tmp_path):
    folder = nodule_folder(1)
    for held in ("", "stride_2"):
        lock = tmp_path / "out" / held / ".lock"
        with hold(lock, "the folder"):
            assert "in use by another run" in mistake_in(make_sweep(folder, tmp_path / "out", ["linear"]).run)


def test_shards_share_a_sweep_and_the_last_writes_the_tables(nodule_folder, tmp_path, capsys):
    folder, out = nodule_folder(3), tmp_path / "out"
    make_sweep(folder, out, ["linear", "cubic"], strides=[2, 5], shard=Shard(0, 2)).run()
    assert "shard 0 of 2: done; shards [1] are not yet" in said(capsys)[0]
    assert not (out / "sweep.csv").exists()
    make_sweep(folder, out, ["linear", "cubic"], strides=[2, 5], shard=Shard(1, 2)).run()
    make_sweep(folder, tmp_path / "one", ["linear", "cubic"], strides=[2, 5]).run()
    assert (out / "sweep.csv").read_bytes() == (tmp_path / "one" / "sweep.csv").read_bytes()


def test_a_machine_without_the_folder_does_what_is_done_here(nodule_folder, tmp_path):
    sweep = make_sweep(nodule_folder(2), tmp_path / "a", ["linear", "morphological"], strides=[2, 5])
    whole = sweep.study.work()

    def works(root):
        stores = [ResultStore(root / one.folder) for one in sweep.settings]
        found = zip(sweep.decimations, stores, strict=True)
        return SweepWork([replace(whole, decimate=d, store=s) for d, s in found], ["two", "five"])

    def told(what):
        words.append(what)
        return lambda done, total, more: None

    here, there = works(tmp_path / "a"), works(tmp_path / "b")
    for piece in range(4):
        words: list[str] = []
        outcome = here(piece, told)
        name = ("two", "five")[piece // 2]
        assert words == [f"{name} n{piece % 2} linear", f"{name} n{piece % 2} morphological"]
        received = there.received(piece, there.elsewhere(there.sent(piece), told))
        assert received.rows == outcome.rows
        assert there.sent(piece) is None  # nothing is missing now
        assert there.died(piece, "why").failures == {}
    assert here.died(3, "why").failures == {}


@pytest.mark.parametrize(
    ("strides", "thick", "words"),
    [
        ([1, 5], [], "a stride of 1 leaves no slice out"),
        ([], [], "expected different whole numbers of 2 or more"),
        ([5, 5], [], "expected different"),
        ([2.5], [], "expected different"),
        ([True], [], "expected different"),
        (5, [], "--strides is 5, expected"),
        ("23", [], "--strides is '23', expected"),
        ([5], [[3]], "--thick is [[3]], expected different pairs"),
        ([5], [[3, 1]], "thin slices are those of --strides"),
        ([5], [[3, 3], [3, 3]], "expected different pairs"),
    ],
)
def test_settings_that_are_none_are_refused_in_a_sentence(strides, thick, words):
    with pytest.raises(InputError) as stop:
        settings_of(strides, thick)
    assert words in str(stop.value)


def test_what_a_sweep_can_not_do_is_refused_in_a_sentence(nodule_folder, tmp_path):
    folder, out = nodule_folder(1), tmp_path / "out"
    assert "--offsets all is for one stride" in mistake_in(make_sweep(folder, out, ["linear"], offsets="all").run)
    assert "offset 3 does not fit stride 2" in mistake_in(make_sweep, folder, out, ["linear"], offset=3)
    assert settings_of((2, 5), ((1, 3),)) == [Setting(2), Setting(5), Setting(1, 3)]
    stored = make_sweep(folder, out, ["linear"])
    (tmp_path / "made" / "ours").mkdir(parents=True)
    shutil.copy(folder / "n0_image.nii.gz", tmp_path / "made" / "ours" / "n0.nii.gz")
    stored.study.inferers, stored.study.methods = stored_methods(str(tmp_path / "made")), ["ours"]
    assert "reconstructions on disk have one stride" in mistake_in(stored.run)


def run_command(*words: str) -> subprocess.CompletedProcess:
    configs = "['configs/study.json','configs/sweep.json']"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", configs, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_says_phantom(tmp_path):
    words = [
        "--strides",
        "[2,5]",
        "--methods",
        "['linear','cubic']",
        "--limit",
        "1",
        "--workers",
        "1",
        "--report",
        "no",
    ]
    done = run_command(*words, "--output_dir", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "1 phantom: real LIDC-IDRI contours" in " ".join(done.stdout.split())
    assert "phantom data, not CT" in (tmp_path / "out" / "tables" / "sweep_settings.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["settings"] == ["stride_2", "stride_5"]


def test_the_stride_of_a_study_is_no_option_of_a_sweep():
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / name for name in ("study.json", "sweep.json")])
    for name in ("stride", "slice_average"):
        with pytest.raises(InputError, match=f"--{name} is no option here, nothing in the config reads it"):
            check_names(parser.get(), [name])
    check_names(parser.get(), ["strides", "thick", "offset", "axis", "slice_profile"])


def test_the_decimation_is_that_of_the_config(nodule_folder, tmp_path):
    options = {"strides": [3], "thick": [[4, 2]], "offset": 1, "slice_profile": "bell"}
    sweep = make_sweep(nodule_folder(1), tmp_path, ["linear"], **options)
    assert [vars(one) for one in sweep.decimations] == [
        vars(Decimate(3, 1, profile="bell")),
        vars(Decimate(4, 1, average=2, profile="bell")),
    ]


@pytest.mark.parametrize("methods", [["morphological"], ["cubic"]])
def test_methods_without_a_gain_have_a_report_that_says_so(nodule_folder, tmp_path, methods):
    make_sweep(nodule_folder(1), tmp_path / "out", methods, strides=[2, 5], report=True).run()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "give a method of brightness beside the reference" in page
    assert (tmp_path / "out" / "stride_5" / "metrics.csv").is_file()
