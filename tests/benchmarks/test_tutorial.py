"""The benchmark of the tutorial, in small: one epoch on the digits."""

SMALL = {
    "dataset": "digits",
    "encoder": {"hidden": (8,)},
    "decoder": {"hidden": (8,)},
    "epochs": 1,
    "test_samples": 2,
    "tensorboard": False,
}


def test_a_run_is_trained_once_and_found_again(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "K", 2)
    options = {**script.BINARY, **SMALL}
    run = script.finished(tmp_path / "identity", options, None)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("identity epoch 1")]
    found = script.figures(run)
    assert f"loss {found['losses'][1]:.2f}" in line
    assert found["images"] == 300
    assert found["binarization"] == "dynamic"
    script.finished(tmp_path / "identity", options, None)
    assert "epoch" not in capsys.readouterr().out
