"""Places of runs: directories that are named, and the runs of a benchmark's grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaeflow.benchmark.grid import FILE, Grid
from vaeflow.config.way import Way
from vaeflow.errors import CheckpointError
from vaeflow.evaluation.findings import Finding
from vaeflow.runs.directory import Run


@dataclass(frozen=True)
class Place:
    """A run directory to compare; if a benchmark's grid names it, it may not exist yet."""

    name: str  # without a place of this machine
    run: Run
    log: Path | None = None  # of the benchmark that trains it
    benchmark: str | None = None  # its name
    way: Way | None = None  # of its evaluations


def find(paths: Iterable[Path]) -> tuple[list[Place], list[Finding]]:
    """Return the runs of paths, a benchmark's as its grid lists them, and warnings of shared times.

    A run is named by its directory, with as many folders above it as tell it from the others.

    Raises:
        CheckpointError: if a path is neither.
    """
    runs: dict[Path, tuple[Run, Path | None, str | None, Way | None]] = {}
    shared: dict[int, list[str]] = {}  # jobs -> benchmarks
    for path in paths:
        if (path / FILE).is_file():
            grid, benchmark = Grid.read(path), path.resolve().name
            for cell in grid.cells:
                run, text = path / "runs" / cell.name, path / "logs" / f"{cell.name}.log"
                runs.setdefault(run.resolve(), (Run(run), text, benchmark, grid.way))
            if grid.jobs > 1:
                shared.setdefault(grid.jobs, []).append(benchmark)
        elif (path / "config.toml").is_file():
            runs.setdefault(path.resolve(), (Run(path), None, None, None))
        else:
            raise CheckpointError(
                f"{path} is neither a run directory (it has no config.toml) nor that of a "
                f"benchmark (it has no {FILE}): give what `vaeflow train` printed"
            )
    places = [Place(name, *runs[path]) for path, name in names_of([*runs]).items()]
    return places, [
        Finding("machine-shared", name, severity="warning", details={"jobs": jobs})
        for jobs, names in shared.items()
        for name in dict.fromkeys(names)
    ]


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each path by its shortest tail that no other path has."""
    found = {}
    for path in paths:
        ends = (path.parts[-n:] for n in range(1, len(path.parts) + 1))
        end = next(e for e in ends if sum(p.parts[-len(e) :] == e for p in paths) == 1)
        found[path] = Path(*end).as_posix()
    return found
