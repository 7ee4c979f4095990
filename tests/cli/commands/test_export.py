"""`vaeflow export`: a part of a run's model as a program of its own."""

import json

import torch

from vaeflow.data.examples import Examples
from vaeflow.runs.directory import Run


def test_the_decoder_of_a_table_with_its_names(cli, people_run, here):
    done = cli("export", people_run, "--part", "decoder", "--out", "decoder.pt2")
    assert done.code == 0, done.err
    assert done.out.startswith("decoder: z (N, 3), condition (N, 1) → mean (N, ")
    assert done.out.endswith("wrote decoder.pt2\n")
    extra = {"about.json": ""}
    program = torch.export.load("decoder.pt2", extra_files=extra).module()
    notes, run = json.loads(extra["about.json"]), Run.open(people_run)
    assert notes["columns"] == json.loads(json.dumps(run.form.columns.as_list()))
    assert notes["config"]["posterior"]["name"] == run.settings()["posterior"]["name"]
    assert notes["run"] == people_run.name
    z, condition = torch.randn(4, 3), torch.ones(4, 1)
    expected = run.model.generate(z[None], Examples(condition, condition))
    torch.testing.assert_close(program(z, condition)["mean"], expected.mean[0])


def test_a_file_is_called_by_run_and_part(cli, people_run, here):
    done = cli("export", people_run, "--part", "decoder", "--format", "torch-export")
    name = f"{people_run.name}-decoder.pt2"
    assert done.out.endswith(f"wrote {name}\n"), done.err
    assert (here / name).is_file()
    assert cli("export", people_run, "--part", "decoder").code == 2  # nothing is overwritten


def test_wrong_words(cli, trained, here):
    (here / "taken.pt2").touch()
    for out, words in (
        ("taken.pt2", "it exists, and nothing is overwritten"),
        ("x.txt", "the name must end in .pt2 or .onnx"),
        ("none/x.pt2", "the directory none does not exist"),
    ):
        done = cli("export", trained, "--out", out)
        assert done.code == 2
        assert words in done.err
    assert cli("export", here, "--out", "x.pt2").code == 4
