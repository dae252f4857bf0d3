"""A real Dask scheduler and real workers: the same figures, whatever dies, joins or has no folder."""

import threading
from collections import deque
from types import SimpleNamespace

import pytest
from helpers.configs import make_study, make_sweep
from helpers.dask_machines import Marked, dask_machines, free_port, wait_until

pytest.importorskip("distributed")

from bundle.cluster import DaskCluster, LocalProcesses, open_machines, worker
from bundle.cluster.dask_cluster import _Errand
from bundle.errors import InputError

TABLES = ("metrics.csv", "texture.csv", "failures.csv", "summary.csv")


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    with dask_machines(tmp_path_factory.mktemp("dask"), workers=2) as made:
        yield made


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in (folder / "nodules").rglob("*") if path.is_file())


def test_a_study_is_the_same_on_one_process_and_on_two_workers(machines, nodule_folder, tmp_path):
    folder = nodule_folder(3)
    (folder / "n1_mask.nii.gz").unlink()  # a failure is one everywhere
    options = {"epochs": 2, "shared_folder": True}
    for name, how in {
        "one": {"workers": 1},
        "dask": {"cluster": machines.address},
        "sent": {"cluster": machines.address, "shared_folder": False},
    }.items():
        make_study(folder, tmp_path / name, ["linear", "siren", "signed_distance"], **{**options, **how}).run()
    for name in ("dask", "sent"):
        for table in TABLES:
            assert (tmp_path / name / table).read_bytes() == (tmp_path / "one" / table).read_bytes(), (name, table)
        assert files(tmp_path / name) == files(tmp_path / "one")
    # and what was fetched counts as whole
    again = make_study(folder, tmp_path / "sent", ["linear", "siren", "signed_distance"], **options)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "sent").rglob("result.json")}
    again.run()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_sweep_is_the_same_here_and_on_workers_with_and_without_the_folder(machines, nodule_folder, tmp_path):
    folder = nodule_folder(2)
    for name, how in {
        "one": {},
        "dask": {"cluster": machines.address},
        "sent": {"cluster": machines.address, "shared_folder": False},
    }.items():
        make_sweep(folder, tmp_path / name, ["linear", "cubic", "siren"], strides=[2, 5], epochs=2, **how).run()
    for name in ("dask", "sent"):
        for table in ("sweep.csv", "stride_2/metrics.csv", "stride_5/metrics.csv"):
            assert (tmp_path / name / table).read_bytes() == (tmp_path / "one" / table).read_bytes(), (name, table)
        assert files(tmp_path / name / "stride_5") == files(tmp_path / "one" / "stride_5")


def test_the_longest_pieces_are_begun_first(machines, tmp_path):
    with DaskCluster(machines.address) as cluster:
        done = dict(cluster.run(Marked(tmp_path), range(6), "pieces", cost=lambda piece: piece))
    assert {piece: made[0] for piece, made in done.items()} == {piece: piece for piece in range(6)}
    begun = [path.name.split("-") for path in sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)]
    # which of two workers is the quicker one is not known: each of them takes the longest that is left
    for one in {pid for _, pid in begun}:
        taken = [int(piece) for piece, pid in begun if pid == one]
        assert taken == sorted(taken, reverse=True)
    assert int(begun[0][0]) >= 4


def test_a_deadly_piece_fails_alone_and_a_worker_that_comes_late_does_the_rest(tmp_path, capsys):
    marks = tmp_path / "marks"
    marks.mkdir()
    with dask_machines(tmp_path, workers=2) as machines, DaskCluster(machines.address) as cluster:
        results = {}
        run = cluster.run(Marked(marks, deadly=1), range(5), "pieces", lambda piece, reason: (piece, reason))
        for piece, made in run:
            results[piece] = made
            if piece == 1:  # which killed both
                machines.worker()
    assert results.pop(1) == (1, "2 workers died with it in hand: if memory ran out, give workers more")
    assert {piece: made[0] for piece, made in results.items()} == {0: 0, 2: 2, 3: 3, 4: 4}
    assert len(list(marks.glob("1-*"))) == 2
    assert "is gone; what it had in hand is given to another one" in capsys.readouterr().err


def test_a_lost_scheduler_ends_the_study_and_the_next_run_goes_on(nodule_folder, tmp_path, capfd):
    folder, out, methods = nodule_folder(2, shape=(24, 24, 21)), tmp_path / "out", ["linear", "siren"]

    def lose_it():
        wait_until(lambda: list(out.glob("nodules/*/linear/result.json")))
        machines.processes[0].kill()

    with dask_machines(tmp_path, workers=1) as machines:
        loser = threading.Thread(target=lose_it)
        loser.start()
        with pytest.raises(InputError, match="is gone: what was finished is kept: start it and give") as stop:
            make_study(folder, out, methods, epochs=40, cluster=machines.address).run()
        loser.join()
    assert "\n" not in str(stop.value)
    assert "Traceback" not in "".join(capfd.readouterr())
    assert not (out / "metrics.csv").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("nodules/*/*/result.json")}
    assert kept
    make_study(folder, out, methods, epochs=40).run()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    make_study(folder, tmp_path / "one", methods, epochs=40).run()
    assert (tmp_path / "one" / "metrics.csv").read_bytes() == (out / "metrics.csv").read_bytes()


def test_what_nobody_waits_for_stops(machines, tmp_path):
    with DaskCluster(machines.address) as cluster:
        run = cluster.run(Marked(tmp_path, waits=1), range(2), "pieces")
        assert next(run)[0] == 0
        run.close()
        # both workers are free again for the next work
        assert len({made[1] for _, made in cluster.run(Marked(tmp_path), range(8), "pieces")}) == 2


def test_wrong_addresses_and_versions_are_one_sentence(machines, tmp_path, monkeypatch, capsys):
    nobody = f"tcp://127.0.0.1:{free_port()}"
    monkeypatch.setattr("bundle.cluster.dask_cluster.CONNECT_SECONDS", 1)
    for address in (nobody, "nonsense://x", "127.0.0.1:x"):
        with pytest.raises(InputError, match="no Dask scheduler answers at") as stop, DaskCluster(address):
            pass
        assert "\n" not in str(stop.value)
    known = worker.about()
    monkeypatch.setattr(worker, "about", lambda: {**known, "torch": "0.1"})
    errand = _Errand(None, None, deque(), None)

    answers = {name: {**known, "torch": "0.2"} for name in ("tcp://a", "tcp://c")}
    errand.cluster = SimpleNamespace(_client=SimpleNamespace(run=lambda *_, **__: answers))
    with pytest.raises(InputError, match=r"the worker tcp://a has torch 0\.2 where this machine has 0\.1: install"):
        errand._check(["tcp://a"])
    errand.hands["tcp://b"] = None
    errand._check(["tcp://c"])
    assert errand.refused == {"tcp://c"}
    assert "tcp://c has torch 0.2 where this machine has 0.1: install the same there; the others go on" in (
        capsys.readouterr().err
    )


def test_without_dask_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("bundle.cluster.dask_cluster.distributed", None)
    with pytest.raises(InputError, match=r"not installed: pip install -e '\.\[cluster\]'"), DaskCluster("tcp://a:1"):
        pass
    with LocalProcesses(1) as here:
        assert not here.elsewhere


def test_local_pool_begins_the_longest_first(tmp_path):
    with LocalProcesses(1) as here:
        assert [piece for piece, _ in here.run(Marked(tmp_path), range(4), "pieces", cost=float)] == [3, 2, 1, 0]


def test_only_workers_with_the_resource_are_given_work(machines, tmp_path, monkeypatch):
    """Declared by hand: no GPU is needed to see who is asked."""
    said, joined = [], []

    def say(sentence):
        said.append(sentence)
        joined.append(machines.worker("--resources", "GPU=1"))

    monkeypatch.setattr("bundle.cluster.dask_cluster._say", say)
    asked = open_machines(machines.address, device="cuda:0")
    assert asked.resource == "GPU"
    with asked as cluster:
        done = dict(cluster.run(Marked(tmp_path), range(4), "pieces"))
    wanted = f"the resource GPU (dask worker --resources GPU=1) is at {machines.address}: waiting until one joins"
    assert said == [f"no worker with {wanted}"]
    assert {made[1] for made in done.values()} == {joined[0].pid}
    joined[0].kill()
