"""`vaeflow.tune`: the trials that are left, spread by an engine, and what came of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from vaeflow.benchmark.engines import Outcome, Stop, cores, spread
from vaeflow.config.files import read_recipe
from vaeflow.config.layers import part_table
from vaeflow.config.settings import Config
from vaeflow.config.signature import documented
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.plugins.registry import BUILTIN, KINDS
from vaeflow.runs.directory import Run
from vaeflow.runs.lock import locked
from vaeflow.runs.paths import path_of
from vaeflow.runs.prepare import prepare
from vaeflow.storage import ensure_folder, is_temporary, writing
from vaeflow.text import html_table, show
from vaeflow.tuning import search as searches
from vaeflow.tuning.command import train_command
from vaeflow.tuning.search import Search
from vaeflow.tuning.study import Study, Trial, name_of, require_optuna

Tell = Callable[[Trial, Outcome], None]


@dataclass(frozen=True)
class TrialTask:
    """A trial, as another process is told of it."""

    out: Path
    number: int
    threads: int | None = None  # its share of the cores
    flags: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def name(self) -> str:
        """Return what lines call it."""
        return name_of(self.number)

    @property
    def log(self) -> Path:
        """Return the file of its output."""
        return self.out / "logs" / f"{self.name}.log"

    def steps(self) -> Iterator[list[str]]:
        """Yield its one command."""
        share = [] if self.threads is None else ["--threads", str(self.threads)]
        yield ["tune", "--out", str(self.out), "--trial", str(self.number), *share]


@dataclass(frozen=True)
class Tuned:
    """What came of a search: its trials, of which the best has the highest validation bound.

    Attributes:
        out: the directory of the search.
        trials: by their numbers.
        command: which trains the best one again; "" where no trial was completed.
        selected_by: the bound: "ELBO", or "objective" where that has its own.
    """

    out: Path
    trials: tuple[Trial, ...]
    command: str = ""
    selected_by: str = "ELBO"

    @cached_property
    def best(self) -> Trial | None:
        """Return the best trial that was completed."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return min(done, key=_by_value, default=None)

    @property
    def run(self) -> Run:
        """Return the run of the best trial.

        Raises:
            NonFiniteError: if no trial was completed.
        """
        if self.best is None:
            raise NonFiniteError(
                f"{self.out}: no trial was completed: read {self.out / 'logs'}, and try other "
                "ranges"
            )
        return Run.open(self.best.run)

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def counts(self) -> str:
        """Return in words how the trials ended."""
        states = ("complete", "pruned", "failed", "unfinished")
        return ", ".join(f"{n} {state}" for state in states if (n := self.count(state)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "out": str(self.out),
            "selected_by": self.selected_by,
            "best": None if self.best is None else self.best.as_dict(),
            "command": self.command,
            "trials": [trial.as_dict() for trial in self.trials],
        }

    def __repr__(self) -> str:
        best = self.best
        told = f", best {name_of(best.number)} with {best.value:.2f}" if best else ""
        return f"Tuned({str(self.out)!r}: {self.counts}{told})"

    def _repr_html_(self) -> str:
        rows = [
            (
                name_of(t.number),
                t.state,
                "" if t.value is None else f"{t.value:.2f}",
                t.epochs,
                told(t),
            )
            for t in sorted(self.trials, key=_by_value)
        ]
        headings = ("trial", "state", f"validation {self.selected_by}, nats", "epochs", "values")
        return html_table(f"Search {self.out}, {self.counts}", rows, headings)


def _by_value(trial: Trial) -> tuple[bool, float]:
    """Put whole trials first, and the better one before the other."""
    value = -inf if trial.value is None else trial.value
    return trial.state != "complete", -value


@documented(Config.model_fields)
def tune(
    out: str | Path,
    tune: Mapping[str, object],
    *,
    trials: int = 20,
    jobs: int = 1,
    engine: str = "local",
    recipe: str | Path | None = None,
    plugins: Plugins | None = None,
    tell: Tell = lambda trial, outcome: None,
    **settings: Any,
) -> Tuned:
    """Search for the options with the best validation bound, as `vaeflow tune` does.

    Each trial is a run below `out`, in a process of its own. A trial whose bound lies below the
    median of the others at the same epoch is pruned. The same call again goes on where it stopped.

    Arguments:
        out: the directory of the search.
        tune: name -> range or values: {"posterior.steps": "4..32", "lr": "1e-4..1e-2:log",
            "posterior": ["planar", "iaf"]}; None stands for all values that an option has.
        trials: how many there are in the end, those of before included.
        jobs: trials at a time; each gets its share of the cores.
        engine: "local" for processes of this machine, "ray", or a plugin's.
        recipe: a recipe, or the path of a TOML file, over which the settings are laid.
        plugins: where the parts are looked up; by default all that the environment selects.
        tell: called as each trial ends.

    Returns:
        The trials, the best one and its command.

    Raises:
        ConfigError: if an option or a range cannot be used, or `out` holds another search.
        StorageError, RunLockedError: if the directory cannot be written, or another process does.
    """
    layers = [] if recipe is None else [(read_recipe(str(recipe)), f"recipe {recipe}")]
    line = {k: part_table(k, v, "tune") if k in KINDS else v for k, v in settings.items()}
    found = plugins or load_plugins()
    search = Search.of(layers, line, tune, found)
    # Absolute: the runs are found again after a change of the working directory.
    folder = path_of(out, "tune").absolute()
    return run_search(folder, search, found, trials=trials, jobs=jobs, engine=engine, tell=tell)


def run_search(
    out: Path,
    search: Search,
    plugins: Plugins,
    *,
    trials: int,
    jobs: int = 1,
    engine: str = "local",
    stop: Stop = lambda: 0,
    tell: Tell = lambda trial, outcome: None,
    begin: Callable[[int, int], None] = lambda left, total: None,
) -> Tuned:
    """Do the trials that are left of a search; `begin` is told their number, and that of all."""
    spreads = plugins.require("engine", engine)
    spreads.load()  # a fault is told before anything is written
    for name, number in (("trials", trials), ("jobs", jobs)):
        if type(number) is not int or number < 1:
            raise ConfigError(f"--{name} {number!r}: a whole number from 1 on is expected")
    _check(out, search, plugins)
    require_optuna()  # before anything is written
    if not (out / searches.FILE).exists():  # data that is missing would fail every trial
        prepare(search.first(plugins).but(device="cpu"))
    with writing(out):
        ensure_folder(out)
    with locked(out):
        study = Study(out)
        search.write(out)
        alone = jobs == 1 and spreads.qualified == f"{BUILTIN}/local"
        threads = None if alone else max(1, cores() // jobs)
        tasks = _tasks(out, study.plan(trials), search, plugins, threads)
        begin(len(tasks), len(study.trials))
        for outcome in spread(spreads, tasks, jobs, stop) if tasks else ():
            if not outcome.interrupted:
                number = next(t.number for t in tasks if t.name == outcome.name)
                tell(study.trial(number), outcome)
        return outcome_of(out, search, study, plugins)


def outcome_of(out: Path, search: Search, study: Study, plugins: Plugins) -> Tuned:
    """Return what came of a search so far."""
    found = Tuned(out, tuple(study.trials))
    if found.best is None:
        return found
    plan = search.plan(found.best.values, plugins)
    objective: Any = plan.parts["objective"].load()
    return replace(found, command=train_command(plan), selected_by=objective.selects_by)


def told(trial: Trial) -> str:
    """Return in words what a trial varied."""
    each = {key.replace("_", "-"): show(value) for key, value in trial.values.items()}
    return ", ".join(f"{key} {value}" for key, value in each.items())


def _check(out: Path, search: Search, plugins: Plugins) -> None:
    if (out / searches.FILE).exists():
        before = Search.read(out, plugins)
        if (difference := before.difference(search, plugins)) is not None:
            raise ConfigError(
                f"--out {out}: it holds another search, {difference}; give the same options to "
                "continue it, or another directory"
            )
    elif out.exists() and (not out.is_dir() or not all(map(_is_ours, out.iterdir()))):
        raise ConfigError(f"--out {out}: it exists and is no search's directory; choose another")


def _is_ours(path: Path) -> bool:
    """Tell whether a file is what a search leaves that is killed as it begins."""
    return is_temporary(path) or path.name in ("lock", "study.db", "study.db-journal")


def _tasks(
    out: Path, numbers: list[int], search: Search, plugins: Plugins, threads: int | None
) -> list[TrialTask]:
    chosen = plugins.selection
    flags = [f"--plugin={file.absolute()}" for file in chosen.files]
    flags += ["--no-plugins"] if chosen.allowed == frozenset() else []
    flags += ["--strict-plugins"] if chosen.strict else []
    gpu = str(search.fixed("device")).startswith("cuda")
    share = None if search.fixed("threads") else threads
    root = out.absolute()
    return [TrialTask(root, number, share, tuple(flags), gpu) for number in numbers]
