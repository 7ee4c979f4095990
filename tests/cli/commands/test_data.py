"""`vaeflow data inspect`: what it says, and that the command it prints runs."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from vaeflow.cli.tables import print_rows

RANDOM = np.random.RandomState(0)
ARRAYS = {
    "binary": (RANDOM.rand(40, 5) < 0.3, "bernoulli"),
    "bytes": (RANDOM.randint(0, 256, (40, 1, 4, 4)).astype(np.uint8), "discretized-logistic"),
    "grey numbers": (RANDOM.randint(0, 256, (40, 1, 4, 4)), "discretized-logistic"),
    "few levels": (RANDOM.randint(0, 4, (40, 5)) / 3, "categorical"),
    "unit": (RANDOM.rand(40, 5), "continuous-bernoulli"),
    "counts": (RANDOM.negative_binomial(2, 0.1, (40, 5)), "negative-binomial"),
    "rare events": (RANDOM.poisson(3, (200, 5)), "poisson"),
    "numbers": (RANDOM.randn(40, 5), "gaussian"),
    "outliers": (RANDOM.standard_t(2, (200, 5)), "student-t"),
    "gaps": (np.where(RANDOM.rand(40, 5) < 0.1, np.nan, RANDOM.randn(40, 5)), "gaussian"),
}
PEOPLE = "id,age,site,smokes\n" + "".join(
    f"p{i},{20 + i % 9 if i != 7 else ''},{'south' if i % 3 else 'north'},{('no', 'yes')[i % 2]}\n"
    for i in range(30)
)


def printed(done):
    assert done.code == 0, done.err
    return done.out.rstrip().splitlines()[-1].strip()


def train(cli, tiny, command):
    """Run a printed command with a small model."""
    program, *words = shlex.split(command)
    assert program == "vaeflow"
    done = cli(*words, *tiny, "--test-images", "3", "--no-tensorboard", "--run-dir", "run")
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ARRAYS)
def test_each_kind_of_array_meets_its_likelihood_and_the_command_runs(cli, tiny, here, name):
    array, likelihood = ARRAYS[name]
    np.save("x.npy", array)
    done = cli("data", "inspect", "x.npy")
    command = printed(done)
    assert f"--dataset file --dataset.path x.npy --likelihood {likelihood}" in command
    train(cli, tiny, command)


def test_the_first_loss_of_far_numbers_is_that_of_standardized_ones(cli, tiny, here):
    np.save("x.npy", RANDOM.randn(40, 5) * 500 + 3000)
    train(cli, tiny, printed(cli("data", "inspect", "x.npy")))
    (first,) = (here / "run" / "metrics.jsonl").read_text().splitlines()
    gaussian = 5 * (0.5 + np.log(2 * np.pi) / 2)  # nats, of 5 values of deviation 1
    assert json.loads(first)["train/loss"] < 2 * gaussian


def test_a_table_is_told_by_its_columns_and_its_command_runs(cli, tiny, here):
    (here / "people.csv").write_text(PEOPLE)
    done = cli("data", "inspect", "people.csv")
    for told in ("table: 24 / 3 / 3 train / validation / test", "1 of 90 cells are missing"):
        assert told in done.out
    for row in ("age +│ number +│ 20 … 28 +│ 3.3%", "site +│ category +│ 2 levels: north, south",
                "smokes +│ boolean"):  # fmt: skip
        assert re.search(row, done.out)
    command = printed(done)
    assert command == (
        "vaeflow train --dataset table --dataset.path people.csv --likelihood columns "
        "--objective iwae --run-dir runs/people"
    )
    train(cli, tiny, command)


def test_a_table_under_a_likelihood_of_other_values_is_refused_with_one_that_fits(cli, tiny, here):
    (here / "people.csv").write_text(PEOPLE.replace(",20,", ",28,"))
    words = ("--dataset", "table", "--dataset.path", "people.csv")
    done = cli("train", *words, "--dataset.kinds", "age=number")
    assert done.code == 3
    assert "'age', standardized, is " in done.err
    assert done.err.rstrip().endswith(
        "which the likelihood cannot score: it needs values 0 and 1; use --likelihood columns, "
        "which scores each column of a table by its kind"
    )
    train(cli, tiny, shlex.join(["vaeflow", "train", *words, "--likelihood", "columns"]))


def test_a_table_of_true_and_false_is_bernoulli(cli, tiny, here):
    rows = [["a", "b"], *[[str(i % 2), str(i % 3 // 2)] for i in range(30)]]
    (here / "x.csv").write_text("\n".join(map(",".join, rows)))
    command = printed(cli("data", "inspect", "x.csv"))
    assert command.endswith("--likelihood bernoulli --run-dir runs/x")
    train(cli, tiny, command)


def test_a_folder_of_pictures_is_told(cli, tiny, here):
    (here / "my pictures").mkdir()
    for i in range(12):
        pixels = RANDOM.randint(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(here / "my pictures" / f"{i}.png")
    done = cli("data", "inspect", "my pictures")
    assert "images: 10 / 1 / 1 train / validation / test examples of 3 × 4 × 4 values" in done.out
    assert "values in [0, 1], 256 levels" in done.out
    train(cli, tiny, printed(done))


def test_options_of_the_data_set_are_taken_and_printed(cli, here):
    (here / "people.csv").write_text(PEOPLE)
    words = ("--dataset.drop", "smokes,site", "--dataset.kinds", "age=category")
    done = cli("data", "inspect", "people.csv", *words, "--json")
    found = json.loads(done.out)
    assert [column["name"] for column in found["columns"]] == ["age"]
    assert found["labels"] == ["id", "site", "smokes"]
    assert shlex.join(words) in found["command"]


def test_a_data_set_by_name_is_told(cli):
    done = cli("data", "inspect", "--dataset", "digits")
    assert "1,297 / 200 / 300 train / validation / test examples of 1 × 8 × 8 values" in done.out
    assert "17 levels" in done.out
    assert "--likelihood discretized-logistic --likelihood.levels 17" in printed(done)


def test_copies_between_splits_are_counted(cli, here):
    x = RANDOM.rand(30, 5)
    np.savez(
        "x.npz", train=np.concatenate([x[:20], x[:2]]), validation=x[20:25], test=x[[1, 21, 26]]
    )
    done = cli("data", "inspect", "x.npz")
    for told in (
        "2 training examples are copies of others",
        "1 test example is a training one as well",
        "1 test example is a validation one as well",
    ):
        assert told in done.out
    assert "validation examples are training" not in done.out


def test_every_likelihood_is_told_how_it_meets_the_data(cli, here):
    from vaeflow.plugins.loading import load_plugins

    np.save("x.npy", ARRAYS["few levels"][0])
    found = json.loads(cli("data", "inspect", "x.npy", "--json").out)["likelihoods"]
    ours = {p.name for p in load_plugins().registry.parts("likelihood") if (
        p.distribution == "vaeflow")}  # fmt: skip
    assert ours - found.keys() == {"columns"}  # which is of tables
    assert found["gaussian"] == "as it is"
    assert found["categorical"] == "with --likelihood.levels 4"
    assert found["bernoulli"].startswith("with --binarization dynamic")
    assert found["poisson"] == "no: it needs whole numbers ≥ 0"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("none.csv",), 3, "none.csv is neither a file nor a folder: check the path"),
        ((), 2, "give a PATH, or --dataset NAME"),
        (("x.csv", "--likelihood.levels", "3"), 2, "only options of the data set are taken here"),
    ],
)
def test_what_cannot_be_told_is_refused(cli, here, words, code, told):
    done = cli("data", "inspect", *words)
    assert done.code == code
    assert told in done.err


def test_what_stands_beside_a_table_suits_a_condition_or_not(cli, here):
    rows = [f"p{i:02d},2024-01-{1 + i % 28:02d},{i % 3}.5,{'ab'[i % 2]}" for i in range(40)]
    (here / "x.csv").write_text("\n".join(["id,day,size,site", *rows]) + "\n")
    done = cli("data", "inspect", "x.csv", "--dataset.drop", "site")
    assert "beside the data: day, id\n" in done.out
    assert "for --condition: site\n" in done.out


def test_a_terminal_obeys_nothing_that_stands_in_a_table(cli, here):
    bad = "\x1b[31mred\x9b2J"
    rows = "".join(f"p{i},{i % 7},{(bad, 'b', 'c')[i % 3]},{i}\n" for i in range(60))
    (here / "bad.csv").write_text(f"{bad}id,age{bad},site{bad},w{bad}\n{rows}", encoding="utf-8")
    done = cli("data", "inspect", "bad.csv")
    assert done.code == 0, done.err
    assert "\\x1b[31mred" in done.out.replace("\n", "")
    assert not set(done.out + done.err) & {"\x1b", "\x9b"}


def test_a_table_of_scores_shows_headings_as_they_are(capsys):
    print_rows("\x1b[1m", {"a\x1b[31m[b]": np.array(["\x9b2J", "[red]x"], object)})
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x9b"}
    assert "a\\x1b[31m[b]" in out
    assert "[red]x" in out
