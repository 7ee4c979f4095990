"""Messages in the words of their reader: flags in the shell, arguments in Python."""

import logging
import re
from pathlib import Path

import pytest

import vaeflow
from vaeflow.config.settings import Config
from vaeflow.errors import WORDS_AFTER_FLAGS, ConfigError, in_shell, one_line, printable, spoken
from vaeflow.options import describe
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS


@pytest.fixture(autouse=True)
def words_of_the_shell():
    """Let each test choose between flags and arguments."""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("lower --lr (it is 0.1), set --clip, or", "lower lr (it is 0.1), set clip, or"),
        ("--lr 0.1: too large", "lr=0.1: too large"),
        ("by --condition age=3", 'by condition={"age": 3}'),
        ("by --condition 'city=New York'", 'by condition={"city": "New York"}'),
        ("use --binarization none", 'use binarization="none"'),
        ("use --binarization dynamic, or stop", 'use binarization="dynamic", or stop'),
        ("give --posterior.steps 8", "give the posterior's option steps=8"),
        ("--encoder.batch-norm: got 3", "the encoder's option batch_norm: got 3"),
        ("lower --batch-size or leave it", "lower batch_size or leave it"),
        ("with --data-root DIR", "with data_root=DIR"),
        ("with --no-plugins", "with no_plugins"),
        ("give -k, such as -k 500", "give samples, such as samples=500"),
        ("go on with `vaeflow resume --epochs 3`", "go on with `vaeflow resume --epochs 3`"),
        ("failed (x): --debug says where", "failed (x): the traceback says where"),
        ("--capture false", "capture=False"),
        ("a long -- dash", "a long -- dash"),
        ("--run-dir '/tmp/my dir': it exists", 'run_dir="/tmp/my dir": it exists'),
        ("--device cuda:0: there is none", 'device="cuda:0": there is none'),
        ("--objective ELBO: unknown", 'objective="ELBO": unknown'),
        ("--dequantize True needs", "dequantize=True needs"),
        ("do `pip install --upgrade x`", "do `pip install --upgrade x`"),
    ],
)
def test_python_reads_flags_as_arguments(written, read):
    assert spoken(written) == read
    assert str(ConfigError(written)) == read
    with in_shell():
        assert spoken(written) == str(ConfigError(written)) == written
    assert spoken(written) == read


def test_words_after_a_flag_are_values_or_known_words():
    """Each word after a flag in the source is a possible value or in WORDS_AFTER_FLAGS."""
    plugins = load_plugins()
    values = {part.name for kind in KINDS for part in plugins.registry.parts(kind)}
    fields = [*Config.model_fields.values()]
    for kind in KINDS:
        for part in plugins.registry.parts(kind):
            for option in describe(part.load()):
                values |= set(re.findall(r"[a-z][\w-]*", option.type))
    for field in fields:
        for choice in re.findall(r"'([\w-]+)'", str(field.annotation)):
            values.add(choice)
    values |= {"auto", "cpu", "cuda", "mps", "none", "skip"}  # of settings that are texts
    values |= {"label", "posterior", "seed"}  # of --dataset.drop, --tune and --vary
    values |= {"local", "ray", "onnx", "torch-export", "straight", "spherical"}
    values |= {"again", "config", "runs"}  # the begin of a path
    values |= {"csv", "driver_version", "torch", "vaeflow"}  # of nvidia-smi and pip
    found = {}
    for path in Path(vaeflow.__file__).parent.rglob("*.py"):
        if "cli" in path.parts or "template" in path.parts:  # read only in the shell
            continue
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8"))
        for word in re.findall(r"(?<![\w-])--[a-z][\w.-]*[ =]([a-z][\w-]*)", text):
            found.setdefault(word, path.name)
    unknown = {w: p for w, p in found.items() if w not in values | WORDS_AFTER_FLAGS}
    assert not unknown
    assert len(found) > 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\x1b[2J\x1b]0;mine\x07", r"\x1b[2J\x1b]0;mine\x07"),
        ("right\rwrong", r"right\rwrong"),
        ("\x9b31m", r"\x9b31m"),  # one character that begins a sequence
        ("a\u202eb", r"a\u202eb"),  # from here on, from right to left
        ("σ ≤ 1,\tβ\n", "σ ≤ 1,\tβ\n"),
        ("\\x1b", "\\x1b"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled(text, told):
    assert printable(text) == told
    assert str(ConfigError(text)) == told
    assert "\x1b" not in one_line(ValueError(text))


def test_the_log_speaks_to_its_reader(caplog):
    logging.getLogger("vaeflow").warning("%s is too large: lower --lr", 3)
    with in_shell():
        logging.getLogger("vaeflow").warning("%s is too large: lower --lr", 3)
    found = [record.getMessage() for record in caplog.records]
    assert found == ["3 is too large: lower lr", "3 is too large: lower --lr"]
