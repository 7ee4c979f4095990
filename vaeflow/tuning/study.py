"""The study of a search, by Optuna in a SQLite file: its trials, how they are drawn and pruned."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from vaeflow.errors import ConfigError, StorageError
from vaeflow.plugins.loading import Plugins
from vaeflow.runtime.noise import derived_seed
from vaeflow.tuning.search import Search
from vaeflow.tuning.space import Choice

FILE = "study.db"
_NAME = "vaeflow"
_VALUES = "values"  # of a trial, as its run has them
_SECONDS = 60  # that a process waits for another one's writing

State = Literal["complete", "pruned", "failed", "unfinished"]
_STATES: Mapping[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Trial:
    """A trial of a search.

    Attributes:
        number: from 0 on.
        state: "complete", "pruned" where it lay below the median, "failed", or "unfinished".
        value: the best bound on the validation data, in nats; of a pruned one, the last it reached.
        epochs: how many it reported.
        values: name -> what it varied.
        run: its run directory.
    """

    number: int
    state: State
    value: float | None
    epochs: int
    values: Mapping[str, Any]
    run: Path

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**vars(self), "values": dict(self.values), "run": str(self.run)}


class Study:
    """The study in a directory. Each process that takes part opens the file for itself.

    Raises:
        ConfigError: if Optuna is not installed, or the file is no study.
        StorageError: if it cannot be written.
    """

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self.folder = folder
        with _explained(folder / FILE):
            optuna = require_optuna()
            # Each trial has a sampler of its own, of a seed by its number: processes that run side
            # by side draw different values, and one after the other the same as ever.
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{FILE}",  # a URL cannot hold every path, but the connection can
                engine_kwargs={"creator": partial(_connected, (folder / FILE).absolute())},
            )
            self._study = optuna.create_study(
                study_name=_NAME,
                direction="maximize",
                storage=storage,
                sampler=sampler,
                pruner=optuna.pruners.MedianPruner(),
                load_if_exists=True,
            )

    @property
    def trials(self) -> list[Trial]:
        """Return the trials by their numbers."""
        return [self._trial(each) for each in self._study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """Return a trial.

        Raises:
            ConfigError: if there is none.
        """
        known = self.trials
        if not 0 <= number < len(known):
            raise ConfigError(f"{self.folder} has no trial {number}, but {len(known)} trials")
        return known[number]

    def plan(self, count: int) -> list[int]:
        """Make the study hold `count` trials at least; return the numbers of those to be done.

        A trial gets its values once it begins, when more is known of the others.
        """
        with _explained(self.folder / FILE):
            for _ in range(count - len(self._study.trials)):
                self._study.ask()
            return [t.number for t in self.trials[:count] if t.state == "unfinished"]

    def draw(self, number: int, search: Search, plugins: Plugins) -> dict[str, Any]:
        """Return the values of a trial: those that it was given before, or new ones."""
        trial, values = self.live(number), dict[str, Any]()
        with _explained(self.folder / FILE):
            for key, domain in search.space.items():
                if not search.applies(key, values, plugins):
                    continue
                if isinstance(domain, Choice):
                    values[key] = trial.suggest_categorical(key, domain.values)
                    continue
                suggest = trial.suggest_int if domain.whole else trial.suggest_float
                values[key] = domain.short(suggest(key, domain.low, domain.high, log=domain.log))
            trial.set_user_attr(_VALUES, values)
        return values

    def reported(self, number: int) -> set[int]:
        """Return the epochs that a trial has reported."""
        return {*self._study.get_trials(deepcopy=False)[number].intermediate_values}

    def live(self, number: int) -> Any:
        """Return Optuna's own trial, which takes reports."""
        found = self._study.get_trials(deepcopy=False)[number]
        return require_optuna().trial.Trial(self._study, found._trial_id)

    def close(self, number: int, state: State, value: float | None = None) -> None:
        """Write down how a trial ended."""
        kinds = require_optuna().trial.TrialState
        known = {name: kinds[key] for key, name in _STATES.items()}
        with _explained(self.folder / FILE):
            self._study.tell(number, value, state=known[state])

    def _trial(self, found: Any) -> Trial:
        reported = found.intermediate_values
        value = found.value
        if value is None and reported:
            value = reported[max(reported)]
        return Trial(
            number=found.number,
            state=_STATES.get(found.state.name, "unfinished"),
            value=value,
            epochs=max(reported, default=0),
            values=found.user_attrs.get(_VALUES, {}),
            run=run_of(self.folder, found.number),
        )


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_SECONDS, check_same_thread=False)


def run_of(folder: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return folder / "runs" / name_of(number)


def name_of(number: int) -> str:
    """Return what files and lines call a trial."""
    return f"trial-{number:03}"


def seed_of(seed: int, number: int) -> int:
    """Return the seed of the sampler of a trial."""
    return derived_seed(seed, "trial", number) % 2**32


def require_optuna() -> Any:
    """Import Optuna, and let it say only what goes wrong.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "vaeflow tune needs Optuna, which is not installed: pip install 'vaeflow[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors of the database into ours; Optuna's notes on new features go unsaid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("sqlalchemy", "sqlite3", "optuna"):
                raise
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StorageError(
                f"{path} cannot be read or written ({told}): free some space, restore the file, or "
                "choose another --out"
            ) from None
