"""Bad input, as people type it: it gets one sentence and an exit code, and changes nothing."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from vaeflow.reading import unsealed


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained) -> Path:
    """A working directory of unusable files and damaged runs.

    Each test checks that it changed nothing, so all tests share it.
    """
    root = tmp_path_factory.mktemp("bad input")
    x = np.random.RandomState(0).rand(40, 4, 4).astype(np.float32)

    def changed(where, value):
        y = x.copy()
        y[where] = value
        return y

    splits = {"train": x[:24], "validation": x[24:32], "test": x[32:]}
    for name, array in {
        "grey": x,
        "grey255": (x * 255).round(),
        "negative": x - 0.5,
        "vectors": x.reshape(40, 16) - 0.5,
        "empty": x[:0],
        "two": x[:2],
        "flat": x[:, 0, 0],
        "complex": x.astype(np.complex64),
        "text": np.array([["a"]] * 9),
    }.items():
        np.save(root / f"{name}.npy", array)
    np.save(root / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    for split, (first, last) in {
        "train": (0, 23),
        "validation": (24, 31),
        "test": (32, 39),
    }.items():
        for name, array in {
            "nan-first": changed((first, 0, 0), np.nan),
            "nan-last": changed((last, 3, 3), np.nan),
            "inf": changed((first, 1, 2), np.inf),
            "large": changed((last, 1, 2), 7777.0),
        }.items():
            parts = {"train": array[:24], "validation": array[24:32], "test": array[32:]}
            np.savez(root / f"{split}-{name}.npz", **parts)
    np.savez(root / "unequal.npz", **{**splits, "test": x[:4, :3]})
    np.savez(root / "no-test.npz", train=x, validation=x)
    (root / "cut.npy").write_bytes((root / "grey.npy").read_bytes()[:-100])
    (root / "cut.npz").write_bytes((root / "unequal.npz").read_bytes()[:-100])
    (root / "words.npy").write_text("hello")
    (root / "zero.npy").touch()
    for name, text in {
        "syntax": "epochs = = 1",
        "unknown": "epoch = 3",
        "kind": "posterior = 3",
        "name": "[posterior]\nname = 3",
        "option": '[posterior]\nname = "planar"\nstep = 3',
        "typed": 'epochs = "three"',
        "boolean": "epochs = true",
    }.items():
        (root / f"{name}.toml").write_text(text)
    (root / "folder").mkdir()
    (root / "mnist").mkdir()
    (root / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"<html>not found</html>")
    (root / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"<html>not found</html>")
    (root / "picture.png").write_text("mine")
    (root / "folder.png").mkdir()

    shutil.copytree(trained, root / "run")

    def damaged(name: str) -> Path:
        return shutil.copytree(trained, root / name)

    for file in (damaged("run-bits") / "checkpoints").glob("*/*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    for file in (damaged("run-cut") / "checkpoints").glob("*/best.safetensors"):
        file.write_bytes(file.read_bytes()[:-10])
    for file in (damaged("run-newer") / "checkpoints").glob("*/manifest.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    for file in (damaged("run-lacks") / "checkpoints").glob("*/best.safetensors"):
        file.unlink()
    shutil.rmtree(damaged("run-none") / "checkpoints")
    (damaged("run-bare") / "environment.json").unlink()
    (damaged("run-toml") / "config.toml").write_text("= =")
    file = damaged("run-other") / "config.toml"
    file.write_text(file.read_text().replace("latent = 3", "latent = 4"))
    file = damaged("run-plugin") / "environment.json"
    environment = unsealed(json.loads(file.read_text()))
    environment["parts"]["posterior"] = {
        "name": "vaeflow-twist/twist",
        "distribution": "vaeflow-twist",
        "version": "1.2",
    }
    file.write_text(json.dumps(environment))
    return root


TRAIN = "train --encoder.hidden 8 --decoder.hidden 8 --epochs 1 --no-tensorboard "
FILE = TRAIN + "--dataset file --dataset.path "

# Command line, exit code, and parts of the message.
USAGE: list[tuple[str, int, list[str]]] = [
    ("trian", 2, ["trian: unknown command", "'train'", "there are train, data, resume"]),
    ("--frobnicate", 2, ["--frobnicate"]),
    ("list posteriors", 2, ["posteriors", "'posterior'"]),
    ("info posterior", 2, ["NAME"]),
    ("info posterior planr", 2, ["--posterior planr", "'planar'", "iaf, identity, mixture"]),
    ("info posteriors planar", 2, ["posteriors", "'posterior'"]),
    ("plugins extra", 2, ["extra"]),
    # parts
    (TRAIN + "--posterior planr", 2, ["--posterior planr", "'planar'", "iaf, identity, mixture"]),
    (TRAIN + "--posterior vaeflow/planr", 2, ["did you mean 'vaeflow/planar'"]),
    (TRAIN + "--posterior ''", 2, ["unknown posterior", "iaf, identity, mixture"]),
    (TRAIN + "--posterior", 2, ["--posterior", "requires an argument"]),
    (TRAIN + "--encoder cnn", 2, ["--encoder cnn", "there are conv, gated-conv, mlp"]),
    (TRAIN + "--dataset mnst", 2, ["--dataset mnst", "'mnist'", "file, freyfaces, given, images"]),
    (TRAIN + "--set posterior=planr", 2, ["--posterior planr", "'planar'"]),
    # a part's options
    (TRAIN + "--posterior.steps 3", 2, ["--posterior.steps", "unknown option", "Identity has"]),
    (TRAIN + "--posterior planar --posterior.step 3", 2, ["did you mean 'steps'", "Planar has"]),
    (TRAIN + "--posterior planar --posterior.steps", 2, ["--posterior.steps needs a value"]),
    (TRAIN + "--posterior planar --posterior.steps --seed 1", 2, ["needs a value, as in"]),
    (TRAIN + "--posterior planar --posterior.steps many", 2, ["got many", "integer"]),
    (TRAIN + "--posterior planar --posterior.steps -1", 2, ["got -1", "integer"]),
    (TRAIN + "--posterior planar --posterior.steps 1e999", 2, ["got 1e999", "integer"]),
    (TRAIN + "--encoder.hidden 8,x", 2, ["--encoder.hidden", "got x", "integer > 0, …"]),
    (TRAIN + "--encoder.hidden 8,0", 2, ["--encoder.hidden", "got 0", "integer > 0, …"]),
    (TRAIN + "--encoder.activation swish", 2, ["got swish", "one of relu | tanh"]),
    (TRAIN + "--likelihood.grey maybe", 2, ["got maybe", "true | false"]),
    (TRAIN + "--likelihood gaussian --likelihood.sigma nan", 2, ["got nan", "number > 0"]),
    (TRAIN + "--likelihood gaussian --likelihood.sigma inf", 2, ["got inf", "number > 0"]),
    (TRAIN + "--likelihood gaussian --likelihood.sigma 0", 2, ["got 0", "number > 0"]),
    (TRAIN + "--prior.scale 2", 2, ["--prior.scale", "Normal has no options"]),
    (TRAIN + "--posterio.steps 2", 2, ["--posterio.steps"]),
    (TRAIN + "--dataset file", 2, ["--dataset.path is required"]),
    (TRAIN + "--objective.kl analytic --posterior planar", 2, ["--objective.kl sampled"]),
    # settings
    (TRAIN + "--epoch 3", 2, ["--epoch", "'--epochs'"]),
    (TRAIN + "--epochs 0", 2, ["--epochs", "got 0", "integer > 0"]),
    (TRAIN + "--epochs 1.5", 2, ["--epochs", "got 1.5", "integer > 0"]),
    (TRAIN + "--epochs many", 2, ["--epochs", "got many", "integer > 0"]),
    (TRAIN + "--batch-size 0", 2, ["--batch-size", "got 0", "integer > 0"]),
    (TRAIN + "--batch-size 99999999999999999999", 2, ["--batch-size", "≤ 1e+09"]),
    (TRAIN + "--latent 0", 2, ["--latent", "got 0", "integer > 0"]),
    (TRAIN + "--seed -1", 2, ["--seed", "got -1", "integer ≥ 0"]),
    (TRAIN + "--lr 0", 2, ["--lr", "got 0", "number > 0"]),
    (TRAIN + "--lr nan", 2, ["--lr", "got nan", "number > 0"]),
    (TRAIN + "--lr inf", 2, ["--lr", "got inf", "number > 0"]),
    (TRAIN + "--clip 0", 2, ["--clip", "got 0", "number > 0 or none"]),
    (TRAIN + "--lr-gamma 2", 2, ["--lr-gamma", "got 2", "≤ 1"]),
    (TRAIN + "--lr-milestones 3,0", 2, ["--lr-milestones", "got 0", "integer > 0, …"]),
    (TRAIN + "--early-stopping 0", 2, ["--early-stopping", "got 0", "or none"]),
    (TRAIN + "--threads 0", 2, ["--threads", "got 0", "integer > 0"]),
    (TRAIN + "--threads 100000", 2, ["--threads", "got 100000", "≤ 1024"]),  # would abort torch
    (TRAIN + "--checkpoint-seconds -1", 2, ["--checkpoint-seconds", "got -1", "number ≥ 0"]),
    (TRAIN + "--image-every -1", 2, ["--image-every", "got -1", "integer ≥ 0"]),
    (TRAIN + "--optimizer sgd", 2, ["--optimizer", "got sgd", "adam | adamw"]),
    (TRAIN + "--schedule cosin", 2, ["--schedule", "got cosin", "cosine"]),
    (TRAIN + "--binarization dynamc", 2, ["--binarization", "got dynamc", "dynamic"]),
    (TRAIN + "--device gpu", 2, ["--device", "got gpu", "auto, cpu, cuda"]),
    (TRAIN + "--device cuda:99", 2, ["--device cuda:99", "this machine has none", "auto or cpu"]),
    (TRAIN + "extra words", 2, ["extra words"]),
    (TRAIN + "--set epochs", 2, ["--set epochs", "KEY=VALUE"]),
    (TRAIN + "--set =1", 2, ["--set =1", "KEY=VALUE"]),
    (TRAIN + "--set foo.bar=1", 2, ["--set foo.bar=1", "KIND.OPTION=VALUE"]),
    (TRAIN + "--set epoch=1", 2, ["unknown setting 'epoch'", "'epochs'", "--help"]),
    (TRAIN + "--set epochs=zero", 2, ["--epochs", "got zero", "integer > 0"]),
    # files of settings
    (TRAIN + "--recipe zoltowski", 2, ["unknown recipe", "zoltowski-mnist", ".toml"]),
    (TRAIN + "--recipe ''", 2, ["unknown recipe", "zoltowski-mnist"]),
    (TRAIN + "--recipe none.toml", 2, ["none.toml does not exist", "path of a TOML file"]),
    (TRAIN + "--config none.toml", 2, ["none.toml does not exist", "path of a TOML file"]),
    (TRAIN + "--config folder", 2, ["folder cannot be read", "check the path"]),
    (TRAIN + "--config grey.npy", 2, ["grey.npy is not valid TOML"]),
    (TRAIN + "--config syntax.toml", 2, ["syntax.toml is not valid TOML", "line 1"]),
    (TRAIN + "--config unknown.toml", 2, ["unknown setting 'epoch'", "'epochs'"]),
    (TRAIN + "--config kind.toml", 2, ["posterior is 3", "a table [posterior]"]),
    (TRAIN + "--config name.toml", 2, ["name of posterior is 3", "vaeflow list posterior"]),
    (TRAIN + "--config option.toml", 2, ["--posterior.step", "did you mean 'steps'"]),
    ("train --config typed.toml", 2, ["--epochs", "got three", "integer > 0"]),
    ("train --config boolean.toml", 2, ["--epochs", "got true", "integer > 0"]),
    # the run directory
    (TRAIN + "--run-dir folder", 2, ["--run-dir folder: it exists", "vaeflow resume folder"]),
    (TRAIN + "--run-dir picture.png", 2, ["--run-dir picture.png: it exists"]),
    (
        TRAIN + "--run-dir picture.png/run",
        8,
        ["picture.png/run cannot be written", "check the"],
    ),
    # other commands
    ("evaluate", 2, ["RUN"]),
    ("evaluate run -k 0", 2, ["--importance-samples", "0", "x>=1"]),
    ("evaluate run -k many", 2, ["--importance-samples", "many"]),
    ("evaluate run --split tst", 2, ["tst", "'validation'"]),
    ("evaluate run --weights worst", 2, ["worst", "'best'"]),
    ("evaluate run --device cuda:99", 2, ["--device cuda:99", "auto or cpu"]),
    ("sample run -n 0", 2, ["-n", "0", "1<=x"]),
    ("sample run -n 99999999999", 2, ["-n", "99999999999", "100000"]),
    ("sample run --seed -1", 2, ["--seed", "-1"]),
    ("sample run --seed 99999999999999999999", 2, ["--seed", "99999999999999999999"]),
    ("sample run --out picture.png", 2, ["--out picture.png: it exists", "choose another"]),
    ("sample run --out folder.png", 2, ["folder.png", "is a directory"]),
    ("sample run --out x.jpg", 2, ["--out x.jpg", ".png or .npz"]),
    ("sample run --out none/x.png", 2, ["--out none/x.png", "none does not exist", "make it"]),
    ("reconstruct run --out picture.png", 2, ["--out picture.png: it exists"]),
    ("reconstruct run --out x.jpg", 2, ["--out x.jpg", ".png or .npz"]),
    ("reconstruct run -n 0", 2, ["-n"]),
    ("resume", 2, ["RUN"]),
    ("resume run --epochs 0", 2, ["--epochs", "0"]),
]

DATA: list[tuple[str, int, list[str]]] = [
    (FILE + "none.npy", 3, ["none.npy is no file", "--dataset.path"]),
    (FILE + "folder", 3, ["folder is no file", "--dataset.path"]),
    (FILE + "grey.npy --data-root absent", 3, ["absent/grey.npy is no file", "--data-root"]),
    (FILE + "empty.npy", 3, ["shape (0, 4, 4)", "at least one of each"]),
    (FILE + "two.npy", 3, ["holds 2 examples", "at least one more"]),
    (FILE + "flat.npy", 3, ["shape (40,)", "(examples, values…)"]),
    (FILE + "complex.npy", 3, ["type complex64", "store it as float32"]),
    (FILE + "text.npy", 3, ["type <U1", "store it as float32"]),
    (FILE + "objects.npy", 3, ["objects.npy is not a readable", "numpy.save"]),
    (FILE + "cut.npy", 3, ["cut.npy is not a readable", "numpy.save"]),
    (FILE + "cut.npz", 3, ["cut.npz is not a readable", "numpy.savez"]),
    (FILE + "words.npy", 3, ["words.npy is not a readable", "starts with b'hello'"]),
    (FILE + "zero.npy", 3, ["zero.npy is not a readable", "it is empty"]),
    (FILE + "unequal.npz", 3, ["test examples have shape (3, 4)", "(4, 4)", "same shape"]),
    (FILE + "no-test.npz", 3, ["arrays train, validation", "x_train and x_test"]),
    (FILE + "grey.npy --dataset.scale 0", 2, ["--dataset.scale", "got 0", "number > 0"]),
    (FILE + "grey.npy --dataset.test 1", 2, ["--dataset.test", "got 1", "< 1"]),
    (FILE + "grey.npy --dataset.test 0.6 --dataset.validation 0.6", 2, ["below 1"]),
    (FILE + "grey255.npy", 3, ["values 0 and 1", "--dataset.scale 25", "gaussian"]),
    (FILE + "negative.npy", 3, ["values 0 and 1", "--likelihood gaussian"]),
    (FILE + "negative.npy --binarization threshold", 3, ["'threshold' needs grey values"]),
    (FILE + "grey255.npy --binarization dynamic", 3, ["in [0, 1]", "--dataset.scale"]),
    (FILE + "grey.npy --binarization none", 3, ["values 0 and 1", "--binarization dynamic"]),
    (FILE + "vectors.npy --likelihood.grey true", 3, ["values in [0, 1]", "gaussian"]),
    (TRAIN + "--dataset mnist --data-root folder", 3, ["folder holds no train-images", "download"]),
    (
        TRAIN + "--dataset mnist --data-root absent",
        3,
        ["absent holds no train-images", "--data-root"],
    ),
    (TRAIN + "--dataset mnist --data-root mnist", 3, ["SHA-256", "fetch the file again"]),
]

CHECKPOINTS: list[tuple[str, int, list[str]]] = [
    (f"{command} {run}{rest}", code, told)
    for command, rest in (("evaluate", " -k 2"), ("sample", " --out new.png"), ("reconstruct", ""))
    for run, code, told in (
        ("none", 4, ["none is no run directory", "`vaeflow train` printed"]),
        ("folder", 4, ["folder is no run directory", "`vaeflow train` printed"]),
        ("grey.npy", 4, ["grey.npy is no run directory"]),
        ("run-bits", 4, ["run-bits/checkpoints holds no whole checkpoint", "was changed"]),
        ("run-cut", 4, ["best.safetensors has ", " bytes, and its manifest says "]),
        ("run-newer", 4, ["format 99", "update vaeflow"]),
        ("run-lacks", 4, ["lacks best.safetensors"]),
        ("run-none", 4, ["has no checkpoint yet", "`vaeflow resume run-none`"]),
        ("run-bare", 4, ["run-bare/environment.json", "restore the file"]),
        ("run-toml", 2, ["run-toml/config.toml is not valid TOML", "line 1"]),
        ("run-other", 2, ["config.toml was changed", "latent: 3 → 4: restore it"]),
        ("run-plugin", 6, ["vaeflow-twist 1.2", "pip install vaeflow-twist"]),
    )
] + [
    ("resume none", 4, ["none is no run directory"]),
    ("resume run-bits", 4, ["no whole checkpoint", "was changed"]),
    ("resume run-newer", 4, ["format 99", "update vaeflow"]),
    ("resume run-bare", 4, ["environment.json", "restore the file"]),
    ("resume run-toml", 2, ["config.toml is not valid TOML"]),
    ("resume run-plugin", 6, ["pip install vaeflow-twist"]),
]


@pytest.fixture
def refused(cli, place, snapshot, one_sentence, monkeypatch, plugin, request):
    """Run a command line that must fail, and check the rules of every failure."""

    def run(line: str, code: int, told: list[str]) -> None:
        monkeypatch.chdir(place)
        monkeypatch.delenv("VAEFLOW_DATA", raising=False)
        monkeypatch.setattr("pooch.retrieve", lambda *a, **k: pytest.fail("a download was tried"))
        before = snapshot(place)
        done = cli(*shlex.split(line))
        assert snapshot(place) == before
        # click prints the command's usage before the error of a misused command.
        usage, _, message = done.err.rpartition("Error: ")
        one_sentence(message.strip().replace("\n", " ") if usage else message.strip())
        # A warning of a first attempt, such as a damaged checkpoint, comes before the error.
        warned = all(text.startswith("Warning: ") for text in usage.splitlines())
        assert warned or usage.startswith("Usage: vaeflow")
        assert "Error" not in usage
        assert done.out == ""
        for words in told:
            assert words in message
        assert done.code == code
        request.node.user_properties.append(("faults", ["bad inputs", 1, 0, 0]))

    return run


def ids(table: list[tuple[str, int, list[str]]]) -> list[str]:
    return [line.replace(FILE, "FILE ").replace(TRAIN, "train ") for line, *_ in table]


@pytest.mark.parametrize(("line", "code", "told"), USAGE, ids=ids(USAGE))
def test_bad_usage_is_refused(refused, line, code, told):
    refused(line, code, told)


@pytest.mark.parametrize(("line", "code", "told"), DATA, ids=ids(DATA))
def test_bad_data_is_refused(refused, line, code, told):
    refused(line, code, told)


@pytest.mark.parametrize(("line", "code", "told"), CHECKPOINTS, ids=ids(CHECKPOINTS))
def test_bad_runs_are_refused(refused, line, code, told):
    refused(line, code, told)


SPLITS = ["train", "validation", "test"]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nan-first", "{split}[0, 0, 0] is nan: replace or drop"),
        ("nan-last", "{split}[{last}, 3, 3] is nan: replace or drop"),
        ("inf", "{split}[0, 1, 2] is inf: replace or drop"),
    ],
)
def test_a_nonfinite_value_is_refused_in_every_split(refused, likelihood, split, name, told):
    told = told.format(split=split, last={"train": 23, "validation": 7, "test": 7}[split])
    refused(f"{FILE}{split}-{name}.npz --likelihood {likelihood}", 3, [told])


@pytest.mark.parametrize(
    "how", ["--binarization dynamic", "--binarization threshold", "--likelihood.grey true"]
)
@pytest.mark.parametrize("split", SPLITS)
def test_an_unsupported_value_is_refused_in_every_split(refused, split, how):
    refused(f"{FILE}{split}-large.npz {how}", 3, ["7777", "[0, 1]"])


@pytest.mark.parametrize("row", [2, 17, 41])  # of the file, whichever split they are in
@pytest.mark.parametrize(
    ("cell", "likelihood", "told"),
    [
        ("nan", "gaussian", "is nan: replace or drop"),
        ("nan", "poisson", "is nan: replace or drop"),
        ("nan", "bernoulli", "is nan: replace or drop"),
        ("2.5", "poisson", "is 2.5, which the likelihood cannot score"),
        ("2.5", "bernoulli", "is 2.5, which the likelihood cannot score"),
        ("2.5", "gaussian --dequantize 2", "needs the values k/1, but "),
        ("2.5", "bernoulli --binarization threshold", "needs grey values in [0, 1], but "),
    ],
)
def test_a_wrong_cell_of_a_table_is_named_by_row_and_column(
    cli, tmp_path, row, cell, likelihood, told
):
    rows = np.random.RandomState(0).randint(0, 2, (40, 3)).astype(str)
    rows[row - 2, 1] = cell
    path = tmp_path / "people.csv"
    path.write_text("age,height,weight\n" + "\n".join(map(",".join, rows)))
    words = shlex.split(f"{FILE}{path} --likelihood {likelihood} --run-dir {tmp_path / 'run'}")
    done = cli(*words)
    assert done.code == 3
    assert told in done.err
    assert f"{path}: row {row}, column 'height' is {cell}" in done.err


def test_an_unknown_device_is_refused(refused):
    refused("evaluate run --device gpu", 2, ["--device gpu", "auto", "cpu"])
