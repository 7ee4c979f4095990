"""The benchmark of the GPU takes its path on the CPU, and keeps nothing of it."""

import pytest
import torch
from click.testing import CliRunner


@pytest.fixture
def gpu(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    return script


def test_on_the_cpu_it_runs_small_and_writes_nothing(gpu, tmp_path):
    words = "--device cpu --only identity --images 1000 --rounds 1 --steps 1"
    result = CliRunner().invoke(gpu.main, words.split(), catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line.split("|") for line in result.output.splitlines() if "| identity" in line]
    assert [row[2].strip() for row in rows[:2]] == ["100", "1000"]
    for row in rows[:2]:
        eager, by_hand, products = (int(row[i]) for i in (3, 7, 8))
        assert eager > 0
        assert by_hand > 0
        assert products > 0
        assert not row[5].strip(), "a figure of a captured step without a GPU"
    assert "nothing is kept" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_captured_steps_agree_with_the_eager_ones(gpu):
    bench = gpu.Bench(torch.device("cuda"), gpu.data(), rounds=1, steps=1)
    for kind in gpu.KINDS:
        assert bench.disagreement(kind, 100) < gpu.TOLERANCE
