"""The benchmark of growth, in small."""

import json
import sys

import pytest
from click.testing import CliRunner


def test_a_line_is_found_and_a_curve_deviates(script):
    sizes = (1, 2, 4, 8, 16)
    line = script.fit(sizes, [3 + 2 * n for n in sizes])
    assert (line.a, line.b) == pytest.approx((3, 2))
    assert line.deviation == pytest.approx(0, abs=1e-9)
    assert line.growth == pytest.approx((3 + 32) / (16 * 5))
    square = script.fit(sizes, [n**2 for n in sizes])
    assert square.deviation > 0.3
    assert square.growth == 16


def test_the_script_measures_each_size(script, tmp_path, monkeypatch):
    sizes = {"batch": (1, 16), "K": (1, 16), "planar steps": (1, 16)}
    monkeypatch.setattr(script, "SIZES", sizes)
    monkeypatch.setattr(script, "BATCH", 4)
    monkeypatch.setattr(sys.modules["shared.work"], "IMAGES", 20)
    monkeypatch.setattr(sys.modules["shared.work"], "HELD_OUT", 10)
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path)
    args = ["--rounds", "1", "--steps", "1"]
    result = CliRunner().invoke(script.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "scaling.json").read_text(encoding="utf-8"))
    assert {*figures["seconds"]} == {f"{kind} {n}" for kind in sizes for n in sizes[kind]}
    assert {*figures["lines"]} == {*sizes}
    rows = [line for line in result.output.splitlines() if line.startswith("| K | ")]
    assert [row.split("|")[2].strip() for row in rows[1:]] == ["1", "16"]


@pytest.mark.parametrize(("kind", "what"), [("K", "samples"), ("planar steps", "steps")])
def test_the_row_names_the_size_that_grows(script, monkeypatch, kind, what):
    seen = []
    monkeypatch.setattr(script, "vaeflow_trainer", lambda options, *_: seen.append(options))
    monkeypatch.setattr(script, "vaeflow_step", lambda trainer, batch: batch)
    assert script.step_of(kind, 7, None) == script.BATCH
    assert script.step_of("batch", 7, None) == 7
    part = "objective" if what == "samples" else "posterior"
    assert seen[0][part][what] == 7
    assert seen[1] == script.WORK["identity"]
