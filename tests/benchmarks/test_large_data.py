"""The benchmark of data in its file, in small: its contenders take the same steps."""

import json
import sys

from click.testing import CliRunner


def test_the_script_measures_each_contender(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path)
    monkeypatch.setattr(script, "NETWORKS", ("mlp",))
    models = []
    made = script.trainer
    monkeypatch.setattr(script, "trainer", lambda *a: models.append(made(*a)) or models[-1])
    args = ["--rounds", "2", "--steps", "1", "--images", "1000"]
    assert CliRunner().invoke(script.main, args, catch_exceptions=False).exit_code == 0
    figures = json.loads((tmp_path / "large_data.json").read_text("utf-8"))
    assert {len(times) for times in figures["seconds"]["mlp"].values()} == {2}
    assert "| mlp | bytes in a file |" in (tmp_path / "large_data.md").read_text("utf-8")
    assert isinstance(models[-1].data.train.x, script.feed.Fed)
