"""Run directories as a comparison reads them, without their data or models."""

from __future__ import annotations

import logging
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaeflow.benchmark.engines import trouble
from vaeflow.comparison.places import Place
from vaeflow.config.files import read_toml
from vaeflow.config.flat import flatten
from vaeflow.config.way import PROPOSALS, Way
from vaeflow.errors import CheckpointError, ConfigError, VaeflowError
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.stored import Stored, read
from vaeflow.runs.directory import Run

Evaluate = Callable[[Run, Way], object]
log = logging.getLogger("vaeflow")
_WEIGHTS = "best"
_ENDING = f"-{_WEIGHTS}.safetensors"


@dataclass(frozen=True)
class Finished:
    """A run that is trained and evaluated."""

    name: str
    run: Run
    config: Mapping[str, Any]  # flat
    stored: Stored
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    milliseconds: float | None  # per training step, the median over epochs

    def __repr__(self) -> str:
        return f"Finished({self.name!r}, NLL {self.stored.bounds.nll.over_images})"

    @property
    def seed(self) -> int:
        """Return the seed of its training."""
        return int(self.config["seed"])

    @property
    def active_units(self) -> float | None:
        """Return how many latent dimensions the evaluation found in use."""
        code = self.stored.code
        return None if code is None else float(code.active_units)

    @property
    def undecided_units(self) -> float | None:
        """Return how many more may be in use."""
        code = self.stored.code
        return None if code is None else float(code.units.undecided)

    @property
    def bits_per_dimension(self) -> float | None:
        """Return the NLL in bits, where the run's own evaluation has them."""
        if self.summary.get("bits_per_dimension") is None:
            return None
        levels = self.summary["dequantize"]  # a level's share of [0, 1] has the size 1/levels
        unit: float = math.prod(self.environment["data_shape"]) * math.log(2)
        nll: float = self.stored.bounds.nll.weighed.mean().item()
        return nll / unit + (math.log2(levels) if levels else 0.0)

    @property
    def scores(self) -> str:
        """Return "probabilities" or, of data without levels, "densities": the NLL is of either."""
        known = self.summary.get("bits_per_dimension") is not None
        return "probabilities" if known and not self.summary["dequantize"] else "densities"


def trained(run: Run) -> bool:
    """Tell whether a training came to its end, its own evaluation included.

    If its files cannot be read it did not, and `look` gives the reason.
    """
    try:
        return run.status.get("state") == "completed" and bool(run.summary)
    except CheckpointError:
        return False


def is_evaluated(path: Path, way: Way) -> bool:
    """Tell whether the run at a path is trained, and evaluated in this way on the test data."""
    run = Run(path)
    return trained(run) and kept_evaluation(run, "test", way) is not None


def kept_evaluation(run: Run, split: str, way: Way) -> Stored | None:
    """Return the whole evaluation of the run's present weights in this way, if it is kept.

    An evaluation that cannot be read counts as none, after a warning.
    """
    path = run.evaluation(split, way, _WEIGHTS)
    if not path.is_file():
        return None
    try:
        stored = read(path)
    except CheckpointError as error:
        log.warning("%s", error)
        return None
    if not _of(run, stored):
        log.warning("%s is of another run than %s, or of another config.toml", path, run.path)
        return None
    epoch = run.summary.get("best_epoch") or run.status.get("epoch")
    return stored if stored.complete and stored.about.get("epoch") == epoch else None


def _of(run: Run, stored: Stored) -> bool:
    """Tell whether an evaluation is the run's own; an older one does not tell."""
    try:
        marks = run.marks
    except VaeflowError:  # the run itself is refused, with the reason
        return True
    return all(stored.about.get(name, now) == now for name, now in marks.items())


def not_done(places: Iterable[Place]) -> Iterator[Finding]:
    """Yield a note on each benchmark that is not done."""
    of: dict[str, list[bool]] = {}
    for place in places:
        if place.benchmark is not None and place.way is not None:
            done = trained(place.run) and kept_evaluation(place.run, "test", place.way) is not None
            of.setdefault(place.benchmark, []).append(done)
    for name, each in of.items():
        if not all(each):
            counts = {"done": sum(each), "total": len(each)}
            yield Finding("benchmark-not-done", name, details=counts)


def choose_way(places: Sequence[Place], split: str, *, anyway: bool = False) -> dict[Path, Way]:
    """Return for each trained run the best way in which all were evaluated, if there is any.

    All images are better than the first ones, the NLL of the model is better than one under q, and
    a larger K than a smaller. A benchmark's run that is not evaluated yet is left out, if other
    runs are.

    Arguments:
        anyway: take the best of each run by itself if they have none in common.

    Raises:
        ConfigError: if there is no such way.
    """
    ready = [place for place in places if trained(place.run)]
    known = {place.run.path: _ways(place.run, split) for place in ready}
    if not known:
        return {}
    if split == "test" and any(known.values()):
        for place in ready:
            if place.benchmark is not None and not known[place.run.path]:
                del known[place.run.path]
    common = set.intersection(*known.values())
    if common:
        return dict.fromkeys(known, max(common, key=_rank))
    if anyway and all(known.values()):
        return {path: max(found, key=_rank) for path, found in known.items()}
    lacking = next((path for path, found in known.items() if not found), None)
    if lacking is not None:
        usual = next((place.way for place in ready if place.way is not None), Way())
        raise ConfigError(
            f"{lacking} has no evaluation on the {split} data: give {usual.advice}, and the "
            "missing evaluations are made"
        )
    one = next(iter(known))
    other = next(path for path in known if known[path] != known[one])
    having = Counter(way for found in known.values() for way in found)
    cheapest = max(having, key=lambda way: (having[way], *_rank(way)))
    raise ConfigError(
        f"the runs were evaluated in different ways, {_list(known[one])} in {one} and "
        f"{_list(known[other])} in {other}: give {cheapest.advice}, with which "
        f"{len(known) - having[cheapest]} of {len(known)} runs will be evaluated"
    )


def _rank(way: Way) -> tuple[float, int, int]:
    images = math.inf if way.limit is None else way.limit
    return images, PROPOSALS.index(way.proposal), way.samples


def look(
    place: Place, split: str, way: Way, evaluate: Evaluate | None = None
) -> Finished | Finding:
    """Return a run, or a finding that tells why it cannot be compared.

    A run that lacks the evaluation is evaluated, where `evaluate` is given.
    """
    run = place.run
    try:
        if not trained(run):
            return _not_trained(place)
        if (stored := kept_evaluation(run, split, way)) is None and evaluate is not None:
            evaluate(run, way)
            stored = kept_evaluation(run, split, way)
        if stored is None:
            return _not_evaluated(place, way)
        environment = run.environment
        return Finished(
            name=place.name,
            run=run,
            config=flatten(run.settings()),
            stored=stored,
            environment=environment,
            summary=run.summary,
            milliseconds=_milliseconds(run, environment["data_sizes"]["train"]),
        )
    except VaeflowError as error:
        return _failed(place, str(error))
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:  # others are compared
        details = {"reason": f"{type(error).__name__}, {error}"}
        return Finding("run-damaged", place.name, severity="warning", details=details)


def _ways(run: Run, split: str) -> set[Way]:
    found = {
        Way.of(path.name.removeprefix(f"{split}-").removesuffix(_ENDING))
        for path in (run.path / "evaluations").glob(f"{split}-*{_ENDING}")
    }
    return {way for way in found if way and kept_evaluation(run, split, way) is not None}


def _failed(place: Place, reason: str) -> Finding:
    return Finding("run-failed", place.name, severity="warning", details={"reason": reason})


def _not_trained(place: Place) -> Finding:
    """Return why the training of a run did not come to its end."""
    status = place.run.status
    logged = place.log if place.log is not None and place.log.exists() else None
    if status.get("error"):
        return _failed(place, str(status["error"]))
    if not status:
        return _failed(place, trouble(logged)) if logged else Finding("run-not-begun", place.name)
    if _fitted_in_python(place.run):
        return Finding("run-fitted-in-python", place.name)
    if status["state"] == "completed":
        return Finding("run-not-evaluated", place.name)
    state = "not done" if status["state"] == "running" else status["state"]
    details = {"state": state, "epoch": status.get("epoch")}
    found = Finding("run-not-done", place.name, details=details)
    if status["state"] == "killed" and logged:
        reason = trouble(logged, otherwise=str(found))
        return found if reason == str(found) else _failed(place, reason)
    return found


def _fitted_in_python(run: Run) -> bool:
    """Tell whether `vaeflow.save` made the run: it holds no data to be evaluated on."""
    name: str = read_toml(run.path / "config.toml")["dataset"]["name"]
    return name.removeprefix("vaeflow/") == "given"


def _not_evaluated(place: Place, way: Way) -> Finding:
    """Return why a trained run has no evaluation."""
    if place.log is None:
        return Finding("run-lacks-evaluation", place.name, details={"way": str(way)})
    why = trouble(place.log)
    if place.log.exists() and f"Error: {why}" in place.log.read_text("utf-8", "replace"):
        return _failed(place, why)
    return Finding("run-waits-for-evaluation", place.name)


def _milliseconds(run: Run, images: int) -> float | None:
    """Return the time of a step, the median over epochs; the first one warms up.

    It is unknown where metrics.jsonl was lost: nothing else of a comparison needs that file.
    """
    each: list[float] = [
        1000 * images / (e["step"] / e["epoch"]) / e["images_per_second"]
        for e in run.metrics
        if e["step"] > 0 and e["epoch"] > 0 and _positive(e.get("images_per_second"))
    ]
    return statistics.median(each[1:] or each) if each else None


def _positive(figure: object) -> bool:
    return isinstance(figure, int | float) and figure > 0


def _list(ways: Iterable[Way]) -> str:
    return " or ".join(str(way) for way in sorted(ways, key=_rank))
