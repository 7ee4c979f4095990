"""A run with a file of every kind, and all that any command reads of it."""

import logging
import shutil
from contextlib import contextmanager
from dataclasses import asdict

from vaeflow.diagnosis import stored as diagnoses
from vaeflow.errors import VaeflowError
from vaeflow.evaluation import stored as evaluations
from vaeflow.reading import digest
from vaeflow.runs.bound import check_config
from vaeflow.runs.directory import Run


def make(cli, tiny, grey_file, path):
    """Train three epochs, whose last two checkpoints stay, evaluate and diagnose."""
    often = ("--epochs", 3, "--checkpoint-seconds", 0)
    data = ("--dataset", "file", "--dataset.path", grey_file)
    for words in (
        ("train", *tiny, *data, "--posterior", "planar", *often, "--run-dir", path),
        ("evaluate", path, "-k", 3),
        ("diagnose", path, "--images", 3, "--skip", "gaps", "--skip", "ais", "-k", 5),
    ):
        done = cli(*words)
        assert done.code == 0, done.err
    return path


def everything(path):
    """Return all that any command reads of a run directory, as values that can be compared.

    Raises:
        VaeflowError: if a command would be refused.
    """
    run = Run.open(path)
    checkpoint = run.store.latest()
    assert checkpoint is not None
    check_config(path, run.settings(), checkpoint, resuming=True)
    found = {
        "settings": run.settings(),
        "environment": run.environment,
        "status": run.status,
        "summary": run.summary,
        "metrics": run.metrics,
        "step": checkpoint.step,
        "state": checkpoint.state,
        "progress": vars(checkpoint.progress),
        "weights": {w: digest(checkpoint.weights(w)) for w in ("best", "last")},
        "tensors": {name: digest(group) for name, group in checkpoint.tensors.items()},
    }
    for file in sorted((path / "evaluations").iterdir()):
        stored = evaluations.read(file)
        own = all(stored.about[name] == now for name, now in run.marks.items())
        code = None if stored.code is None else asdict(stored.code)
        found[file.name] = (own, stored.about, digest(evaluations._tensors(stored.bounds)), code)
    for file in sorted((path / "diagnoses").iterdir()):
        figures = diagnoses.read(file)
        found[file.name] = (digest(figures.tensors), figures.plain)
    return found


class Told(logging.Handler):
    """Keeps the warnings of vaeflow."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@contextmanager
def warnings():
    told, logger = Told(), logging.getLogger("vaeflow")
    logger.addHandler(told)
    try:
        yield told.messages
    finally:
        logger.removeHandler(told)


def outcome(path, before):
    """Return "found" where reading a run is refused or told, "without effect", or "silent"."""
    with warnings() as told:
        try:
            now = everything(path)
        except VaeflowError as error:
            return "silent" if "\n" in str(error) else "found"
    if told:
        return "found"
    return "without effect" if now == before else "silent"


def files(path):
    """Return all files below a run directory."""
    return sorted(file for file in path.rglob("*") if file.is_file())


@contextmanager
def replaced(file, content):
    """Give a file another content for the time of the block."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def copy(path, to):
    return shutil.copytree(path, to, symlinks=True)
