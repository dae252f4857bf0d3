import json

import benchmark
import pytest

from bundle.engines.steps import native
from bundle.engines.steps.products import multiplies_bfloat16

KEYS = {
    "speedup_vs_usual_loop", "speedup_vs_plain_ignite", "steps_per_second", "gflops", "matmul_peak_gflops",
    "projected_study_hours", "device", "path", "peak_memory_mb",
}  # fmt: skip


def test_a_short_run_measures_every_figure(monkeypatch, capsys):
    real = benchmark.measure
    monkeypatch.setattr(benchmark, "measure", lambda *args: real(*args, seconds=0.5))
    benchmark.main(["--quick", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= KEYS
    times = result["ms_per_step"]
    assert result["speedup_vs_usual_loop"] == pytest.approx(times["usual"] / times["fast"])
    assert result["steps_per_second"] == pytest.approx(1000 / times["fast"])
    assert result["gflops"] == pytest.approx(2.416 * result["steps_per_second"], rel=1e-3)
    assert result["gflops"] < result["matmul_peak_gflops"]
    assert result["gflops_and_peak"].keys() == ({"fp32", "bf16"} if multiplies_bfloat16() else {"fp32"})
    assert all(0 < own < peak for own, peak in result["gflops_and_peak"].values())
    hours = 894 * 2000 / result["steps_per_second"] / result["projected_processes"] / 3600
    assert result["projected_study_hours"] == pytest.approx(hours)
    if native.find_compiler() is not None:
        assert "compiled" in result["path"]
        # far below what is claimed, since tests share the machine with others
        assert result["speedup_vs_usual_loop"] > 1.5
    assert "steps/s" in benchmark.table(result)


def test_turns_are_interleaved_and_measured(monkeypatch):
    clock = [0.0]
    order = []
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])

    def loop(name, cost):
        while True:
            clock[0] += cost
            order.append(name)
            yield 2

    taken = benchmark.take_turns({"a": loop("a", 1.0), "b": loop("b", 0.25)}, 0.9, 8.0, "cpu")
    assert set(taken["a"]) == {0.5}
    assert set(taken["b"]) == {0.125}
    assert "".join(order).startswith("ab" + "abbbb" * 3)


@pytest.mark.skipif(benchmark.torch.cuda.is_available(), reason="a GPU is here")
def test_a_missing_gpu_is_told(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--device", "cuda"])
    assert "no GPU" in capsys.readouterr().err
