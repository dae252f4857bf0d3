"""The download of LIDC-IDRI: the list offline, the copy from a bucket on loopback, every mistake in one sentence."""

from __future__ import annotations

import os
import shutil
import sys
from types import SimpleNamespace

import download_lidc
import pytest
from helpers.fake_archive import fake_archive

from bundle.errors import InputError

COHORT_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.430109407146633213496148200410"


@pytest.fixture
def script():
    return download_lidc


def ends_with(script, capsys, *arguments) -> str:
    """The sentence that a command ends with."""
    with pytest.raises(SystemExit) as stop:
        script.main([str(argument) for argument in arguments])
    assert str(stop.value).startswith("error: ")
    assert "\n" not in str(stop.value)
    return str(stop.value)


def test_what_is_wanted(script):
    cohort, thin = script.wanted_series(), script.wanted_series(1.0)
    assert len(cohort) == 39
    assert cohort[COHORT_UID] == "LIDC-IDRI-0066"
    assert cohort.items() < thin.items()
    assert script.wanted_series(0.6).keys() < thin.keys()
    with pytest.raises(InputError, match=r"thinnest have 0\.6 mm"):
        script.wanted_series(0.5)


def test_dry_run_lists_the_cohort_offline(script, capsys, tmp_path, monkeypatch):
    pytest.importorskip("idc_index_data", reason="idc-index is not installed: pip install -e .[download]")
    monkeypatch.setattr("socket.socket", None)
    monkeypatch.setitem(sys.modules, "idc_index", None)
    script.main(["--dry-run", "--output_dir", str(tmp_path / "absent")])
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "39 series, 14,519 files, 7.64 GB"
    assert said.count("1.3.6.1.4.1.14519.5.2.1.6279.6001.") == 39
    assert "733    385.8  -           " + COHORT_UID in said
    assert "CC BY 3.0" in said
    assert "10.7937/K9/TCIA.2015.LO9QL9SX" in said
    assert not (tmp_path / "absent").exists()


def test_complete_means_files_and_bytes(script, tmp_path):
    one = script.Series("P", "1.2", files=2, size=7)
    assert one.present(tmp_path) == (0, 0)
    one.folder(tmp_path).mkdir(parents=True)
    (one.folder(tmp_path) / "a.dcm").write_bytes(b"abc")
    (one.folder(tmp_path) / "left.dcm.tmp").write_bytes(b"abcd")
    assert one.present(tmp_path) == (1, 3)
    assert "1 files" in script.table_of([one], tmp_path)
    (one.folder(tmp_path) / "b.dcm").write_bytes(b"cut")
    assert not one.complete(tmp_path)
    (one.folder(tmp_path) / "b.dcm").write_bytes(b"full")
    assert one.complete(tmp_path)
    assert "complete" in script.table_of([one], tmp_path)


class TestArchive:
    """The copy itself, by idc-index and s5cmd, from a bucket on loopback that holds two tiny series."""

    @pytest.fixture
    def archive(self, script, monkeypatch, tmp_path):
        pytest.importorskip("idc_index", reason="idc-index is not installed: pip install -e .[download]")
        pandas = pytest.importorskip("pandas")
        uids = list(script.wanted_series())[:2]
        objects = {f"u{i}/{k}.dcm": bytes([i, k]) * (100 + k) for i in range(2) for k in range(3 + i)}
        rows = [
            {
                "collection_id": "lidc_idri", "PatientID": script.wanted_series()[uid], "SeriesInstanceUID": uid,
                "StudyInstanceUID": f"9.{i}", "Modality": "CT", "aws_bucket": "idc-open-data",
                "series_aws_url": f"s3://idc-open-data/u{i}/*", "crdc_series_uuid": f"u{i}", "instanceCount": 3 + i,
                "series_size_MB": sum(len(v) for k, v in objects.items() if k.startswith(f"u{i}/")) / 1e6,
            }
            for i, uid in enumerate(uids)
        ]  # fmt: skip
        monkeypatch.setattr(pandas, "read_parquet", lambda path, **_: pandas.DataFrame(rows))
        monkeypatch.setattr(
            script, "wanted_series", lambda thin=None: {r["SeriesInstanceUID"]: r["PatientID"] for r in rows}
        )
        with fake_archive(objects) as (address, fetched):
            monkeypatch.setattr(sys.modules["idc_index.index"], "aws_endpoint_url", address)
            monkeypatch.setitem(script.ENDPOINTS, "aws", address)
            folders = [tmp_path / "ct" / row["PatientID"] / row["SeriesInstanceUID"] for row in rows]
            yield SimpleNamespace(objects=objects, fetched=fetched, folders=folders, root=tmp_path / "ct")

    def test_download_and_resume(self, script, archive, capsys):
        script.main(["--output_dir", str(archive.root)])
        assert "complete: every file" in capsys.readouterr().out
        for i, folder in enumerate(archive.folders):
            there = {f"u{i}/{path.name}": path.read_bytes() for path in folder.iterdir()}
            assert there == {key: data for key, data in archive.objects.items() if key.startswith(f"u{i}/")}

        # one file gone, one cut short: these two are fetched, nothing else
        (archive.folders[1] / "0.dcm").unlink()
        (archive.folders[1] / "2.dcm").write_bytes(b"cut")
        archive.fetched.clear()
        script.main(["--output_dir", str(archive.root)])
        assert set(archive.fetched) == {"u1/0.dcm", "u1/2.dcm"}
        assert (archive.folders[1] / "2.dcm").read_bytes() == archive.objects["u1/2.dcm"]

        # all there: the server is not even asked
        archive.fetched.clear()
        script.check_network = lambda *_: pytest.fail("asked for the network")
        script.main(["--output_dir", str(archive.root)])
        assert archive.fetched == []

    def test_a_series_that_does_not_come_whole_is_named(self, script, archive, capsys):
        del archive.objects["u1/3.dcm"]
        said = ends_with(script, capsys, "--output_dir", archive.root)
        assert "1 of 2 series are not complete" in said
        assert archive.folders[1].name in said
        assert "3 of 4 files" in capsys.readouterr().err
        assert len(list(archive.folders[0].iterdir())) == 3


def test_mistakes(script, capsys, tmp_path, monkeypatch):
    series = [script.Series("P", "1.2", files=2, size=7_000)]
    monkeypatch.setattr(script, "read_index", lambda wanted: series)
    assert "--output_dir is missing" in ends_with(script, capsys)
    assert "--limit is 0, expected 1 or more" in ends_with(script, capsys, "--limit", 0)

    (tmp_path / "file").write_text("no folder")
    assert "can't be written to" in ends_with(script, capsys, "--output_dir", tmp_path / "file" / "ct")

    monkeypatch.setattr(script.shutil, "disk_usage", lambda _: SimpleNamespace(free=6_999))
    assert "0.00 GB free" in ends_with(script, capsys, "--output_dir", tmp_path / "ct")
    monkeypatch.undo()
    monkeypatch.setattr(script, "read_index", lambda wanted: series)

    with pytest.MonkeyPatch.context() as closed:
        closed.setitem(script.ENDPOINTS, "aws", "http://127.0.0.1:9")
        said = ends_with(script, capsys, "--output_dir", tmp_path / "ct")
        assert "http://127.0.0.1:9 can't be reached" in said
        assert "try --source gcs" in said

    monkeypatch.setattr(script, "check_network", lambda *_: None)
    monkeypatch.setitem(sys.modules, "idc_index", None)
    assert 'pip install -e ".[download]"' in ends_with(script, capsys, "--output_dir", tmp_path / "ct")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a read-only folder means nothing to this user")
def test_read_only_folder(script, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="can't be written to"):
        script.check_folder(tmp_path, [])


def test_index_not_installed_or_without_a_series(script, monkeypatch):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "idc_index_data", None)
        with pytest.raises(InputError, match=r"idc_index_data is not installed.*pip install idc-index"):
            script.read_index({"1.2": "P"})
    rows = [SimpleNamespace(SeriesInstanceUID="1.2", instanceCount=3, series_size_MB=0.000123)]
    frames = SimpleNamespace(read_parquet=lambda *_, **__: SimpleNamespace(itertuples=lambda: rows))
    monkeypatch.setitem(sys.modules, "idc_index_data", SimpleNamespace(IDC_INDEX_PARQUET_FILEPATH="index.parquet"))
    monkeypatch.setitem(sys.modules, "pandas", frames)
    assert script.read_index({"1.2": "P"}) == [script.Series("P", "1.2", 3, 123)]
    with pytest.raises(InputError, match=r"1 of 2 series are not in the index.*first is 1\.3"):
        script.read_index({"1.2": "P", "1.3": "P"})


def test_a_full_disk_counts_only_what_is_missing(script, tmp_path, monkeypatch):
    one = script.Series("P", "1.2", files=2, size=10)
    one.folder(tmp_path).mkdir(parents=True)
    (one.folder(tmp_path) / "a.dcm").write_bytes(b"123456")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4))
    script.check_folder(tmp_path, [one])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(InputError, match="make room"):
        script.check_folder(tmp_path, [one])
