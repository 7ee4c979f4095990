"""The directory of a benchmark: its grid, and the runs of the grid that are left to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import tomli_w

from vaeflow.benchmark.engines import Task, cores
from vaeflow.benchmark.grid import FILE, Cell, Grid
from vaeflow.config.flat import flatten
from vaeflow.config.way import Way
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.plugins.loading import Plugins
from vaeflow.storage import is_temporary, write_file


class Benchmark:
    """A benchmark in its directory, which may not exist yet."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def grid(self) -> Grid | None:
        """Return the grid that the directory holds, or None.

        Raises:
            ConfigError: if its file is damaged.
        """
        return Grid.read(self.out) if (self.out / FILE).exists() else None

    def threads(self, jobs: int, engine: str) -> int | None:
        """Return each run's share of the cores; a benchmark goes on with its first one."""
        if (before := self.grid()) is not None:
            found = before.cells[0].config.get("threads")
            return None if found is None else int(found)
        return None if jobs == 1 and engine == "local" else max(1, cores() // jobs)

    def begin(self, grid: Grid, plugins: Plugins, done: Callable[[Path], bool]) -> list[Task]:
        """Write the grid down, and return the tasks that are left.

        Arguments:
            grid: the grid of the directory, or a wider one.
            plugins: each task loads the same ones.
            done: tells of a run directory whether its run is trained and evaluated.

        Raises:
            ConfigError: if the directory is no benchmark's, or holds runs that the grid lacks.
            StorageError: if it cannot be written.
        """
        before = self.grid()
        self._check(before, grid)
        left = [cell for cell in grid.cells if not done(self.out / "runs" / cell.name)]
        shared_by = max(grid.jobs if left else 1, 1 if before is None else before.jobs)
        replace(grid, jobs=shared_by).write(self.out)
        return self._tasks(left, grid.way, plugins)

    def _check(self, before: Grid | None, grid: Grid) -> None:
        if before is None:
            taken = self.out.exists() and (
                not self.out.is_dir() or not all(map(is_temporary, self.out.iterdir()))
            )
            if taken:
                raise ConfigError(
                    f"--out {self.out}: it exists and is no benchmark's directory; choose another"
                )
        elif (difference := before.difference(grid)) is not None:
            raise ConfigError(
                f"--out {self.out}: it holds another grid, {difference}; give the same options, or "
                "more of them, to continue it, or another directory"
            )

    def _tasks(self, cells: Iterable[Cell], way: Way, plugins: Plugins) -> list[Task]:
        """Write the configuration of each cell down, and return the tasks."""
        root, chosen, tasks = self.out.absolute(), plugins.selection, []
        flags = [f"--plugin={file.absolute()}" for file in chosen.files]
        flags += ["--no-plugins"] if chosen.allowed == frozenset() else []
        flags += ["--strict-plugins"] if chosen.strict else []
        for cell in cells:
            config = root / "configs" / f"{cell.name}.toml"
            write_file(config, tomli_w.dumps(cell.config))
            task = Task(
                cell.name,
                run=root / "runs" / cell.name,
                config=config,
                log=root / "logs" / f"{cell.name}.log",
                way=way,
                flags=tuple(flags),
                gpu=str(cell.config["device"]).startswith("cuda"),
            )
            tasks.append(task)
        return tasks


def check_comparable(grid: Grid, baseline: str | None, *, anyway: bool) -> None:
    """Refuse a grid before the work that the comparison would refuse after it.

    Raises:
        ConfigError: if no run has the baseline's posterior, or if runs differ in their data.
    """
    flats = [flatten(cell.config) for cell in grid.cells]
    names = dict.fromkeys(flat["posterior.name"].removeprefix("vaeflow/") for flat in flats)
    asked = "" if baseline is None else baseline.partition(" (")[0].removeprefix("vaeflow/")
    if asked and asked not in names:
        raise ConfigError(
            f"--baseline {baseline}: no run has such a posterior{did_you_mean(asked, names)}; "
            f"there are {', '.join(names)}"
        )
    of_data = [k for k in flats[0] if k.startswith("dataset.")] + ["binarization", "dequantize"]
    for key in of_data:
        if not anyway and len({str(flat.get(key)) for flat in flats}) > 1:
            raise ConfigError(
                f"runs that differ in {key} cannot be compared: vary something else, or give "
                "--anyway"
            )
