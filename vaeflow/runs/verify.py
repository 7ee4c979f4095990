"""Which files of a run directory are whole: each is read as the commands read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeflow.diagnosis import stored as diagnoses
from vaeflow.errors import CheckpointError, VaeflowError
from vaeflow.evaluation import stored as evaluations
from vaeflow.reading import SUM, plain_json, read_file, read_text
from vaeflow.runs.bound import changes, check_config
from vaeflow.runs.directory import Run
from vaeflow.training.checkpoints import Checkpoint, CheckpointStore
from vaeflow.training.observers.metrics_file import read_metrics

_JSON = ("environment.json", "status.json", "summary.json")
_UNSEALED = "older, without a checksum"


@dataclass(frozen=True)
class Checked:
    """What is known of a file, or of the directory of a checkpoint."""

    name: str  # within the run directory
    state: Literal["whole", "damaged", "missing", "not checked"]
    why: str = ""


def verify(run: Run) -> list[Checked]:
    """Check all files of a run directory.

    A file that an older vaeflow wrote without a checksum is whole if it can be read. Files that
    vaeflow does not read, such as TensorBoard's, are listed and not checked.
    """
    found = [
        _check(run, "config.toml", lambda: _config(run)),
        _check(run, "environment.json", lambda: _read(run.environment)),
        _check(run, "status.json", lambda: _read(run.status)),
    ]
    if (_completed(run) and _is_tested(run)) or (run.path / "summary.json").exists():
        found.append(_check(run, "summary.json", lambda: _read(run.summary)))
    if _completed(run) or (run.path / "metrics.jsonl").exists():
        found.append(_check(run, "metrics.jsonl", lambda: _metrics(run)))
    found += [*_checkpoints(run), *_figures(run)]
    known = {one.name for one in found}
    names = sorted(path.name for path in run.path.iterdir())
    others = [n for n in names if n not in known and n not in (*_FOLDERS, "lock")]
    return [*found, *(Checked(name, "not checked", "vaeflow does not read it") for name in others)]


_FOLDERS = ("checkpoints", "evaluations", "diagnoses")


def is_whole(found: list[Checked]) -> bool:
    """Tell whether nothing is damaged or missing."""
    return all(one.state in ("whole", "not checked") for one in found)


def _check(run: Run, name: str, read: Callable[[], str | None]) -> Checked:
    path = run.path / name
    if not path.exists():
        return Checked(name, "missing", "the commands need it")
    try:
        told = read()
        sealed = name not in _JSON or SUM in plain_json(read_text(path))
    except (VaeflowError, OSError, ValueError) as error:
        why = str(error).replace(f"{path} ", "").replace(f"checkpoint {path}: ", "")
        return Checked(name, "damaged", why)
    if not sealed:
        return Checked(name, "whole", _UNSEALED)
    return Checked(name, "whole", f"since the newest checkpoint {told}" if told else "")


def _read(content: object) -> None:
    """Take what was read: reading it is the check."""


def _completed(run: Run) -> bool:
    try:
        return run.status.get("state") == "completed"
    except CheckpointError:
        return False


def _is_tested(run: Run) -> bool:
    """Tell whether the run has test data: one that was fitted in Python has none."""
    with suppress(CheckpointError, KeyError, TypeError, AttributeError):
        return bool(run.environment["data_sizes"].get("test", 1))
    return True


def _config(run: Run) -> str:
    """Compare config.toml with the configuration that the newest whole checkpoint holds."""
    settings = run.settings()
    for path in _store(run).paths():
        try:
            newest = _store(run).read(path)
        except CheckpointError:
            continue
        check_config(run.path, settings, newest)
        return ", ".join(changes(settings, newest).values())
    return ""


def _metrics(run: Run) -> None:
    found = [record["epoch"] for record in read_metrics(run.path / "metrics.jsonl")]
    lines = sum(1 for line in read_file(run.path / "metrics.jsonl").split(b"\n") if line.strip())
    if len(found) < lines:
        raise CheckpointError(f"{lines - len(found)} of its lines are no records")
    done = max(run.status.get("epoch") or 0 if _completed(run) else 0, *found, 0)
    if found != [*range(1, done + 1)]:
        raise CheckpointError(f"it has the records of {len(found)} of {done} epochs")


def _checkpoints(run: Run) -> Iterator[Checked]:
    paths = _store(run).paths()
    for path in paths:
        name = path.relative_to(run.path).as_posix()
        yield _check(run, name, lambda path=path: _restored(_store(run).read(path)))  # type: ignore[misc]
    if _completed(run) and not paths:
        yield Checked("checkpoints", "missing", "the weights of the run")


def _store(run: Run) -> CheckpointStore:
    """Return the checkpoints of the run; of any run, where its id cannot be read."""
    try:
        return run.store
    except CheckpointError:
        return CheckpointStore(run.path / "checkpoints")


def _restored(checkpoint: Checkpoint) -> None:
    """Look at all that can be told without the model."""
    for which in ("best", "last"):
        checkpoint.weights(which)


def _figures(run: Run) -> Iterator[Checked]:
    for path in sorted((run.path / "evaluations").glob("*.safetensors")):
        name = path.relative_to(run.path).as_posix()
        yield _check(run, name, lambda path=path: _evaluation(run, path))  # type: ignore[misc]
    for path in sorted((run.path / "diagnoses").glob("*.safetensors")):
        name = path.relative_to(run.path).as_posix()
        yield _check(run, name, lambda path=path: _read(diagnoses.read(path)))  # type: ignore[misc]


def _evaluation(run: Run, path: Path) -> None:
    about = evaluations.read(path).about
    try:
        marks = run.marks
    except VaeflowError:  # they are found by themselves
        return
    for name, now in marks.items():
        if about.get(name, now) != now:
            raise CheckpointError(f"its {name} is {about[name]}, and that of the run is {now}")
