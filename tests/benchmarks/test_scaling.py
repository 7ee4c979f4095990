"""The benchmark of growth, in small."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scaling():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import scaling

        yield scaling
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("scaling", "work", "common"):
            sys.modules.pop(name, None)


def test_a_line_is_found_and_what_is_none_deviates(scaling):
    sizes = (1, 2, 4, 8, 16)
    line = scaling.fit(sizes, [3 + 2 * n for n in sizes])
    assert (line.a, line.b) == pytest.approx((3, 2))
    assert line.deviation == pytest.approx(0, abs=1e-9)
    assert line.growth == pytest.approx((3 + 32) / (16 * 5))
    square = scaling.fit(sizes, [n**2 for n in sizes])
    assert square.deviation > 0.3
    assert square.growth == 16


def test_the_script_measures_each_size(scaling, tmp_path, monkeypatch):
    sizes = {"batch": (1, 16), "K": (1, 16), "planar steps": (1, 16)}
    monkeypatch.setattr(scaling, "SIZES", sizes)
    monkeypatch.setattr(scaling, "BATCH", 4)
    monkeypatch.setattr(sys.modules["work"], "IMAGES", 20)
    monkeypatch.setattr(sys.modules["work"], "HELD_OUT", 10)
    monkeypatch.setattr(sys.modules["common"], "RESULTS", tmp_path)
    args = ["--rounds", "1", "--steps", "1"]
    result = CliRunner().invoke(scaling.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "scaling.json").read_text(encoding="utf-8"))
    assert {*figures["seconds"]} == {f"{kind} {n}" for kind in sizes for n in sizes[kind]}
    assert {*figures["lines"]} == {*sizes}
    rows = [line for line in result.output.splitlines() if line.startswith("| K | ")]
    assert [row.split("|")[2].strip() for row in rows[1:]] == ["1", "16"]


@pytest.mark.parametrize(("kind", "what"), [("K", "samples"), ("planar steps", "steps")])
def test_what_grows_is_what_the_row_says(scaling, monkeypatch, kind, what):
    seen = []
    monkeypatch.setattr(scaling, "vaeflow_trainer", lambda options, *_: seen.append(options))
    monkeypatch.setattr(scaling, "vaeflow_step", lambda trainer, batch: batch)
    assert scaling.step_of(kind, 7, None) == scaling.BATCH
    assert scaling.step_of("batch", 7, None) == 7
    part = "objective" if what == "samples" else "posterior"
    assert seen[0][part][what] == 7
    assert seen[1] == scaling.WORK["identity"]
