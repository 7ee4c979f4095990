"""Which files belong to a run on the Hub, and the check of a folder that anybody wrote."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vaeflow.errors import CheckpointError, printable
from vaeflow.reading import TEXT, plain_json, read_text
from vaeflow.runs.directory import Run

CARD, PICTURE = "README.md", "samples.png"
_RUN = re.compile(
    r"config\.toml|environment\.json|status\.json|summary\.json|metrics\.jsonl"
    r"|checkpoints/step-[0-9]{8,12}/(?:manifest\.json|state\.json|[a-z0-9_]{1,40}\.safetensors)"
    r"|(?:evaluations|diagnoses)/[\w.+-]{1,200}\.safetensors",
    re.ASCII,
)
_BESIDE = (CARD, PICTURE, ".gitattributes")  # on the Hub, and no part of a run directory
_MANIFEST = "manifest.json"
_LINES = 16 * TEXT  # bytes of metrics.jsonl
_NEEDED = ("config.toml", "environment.json")


def files_of(run: Run) -> list[str]:
    """Return the files of a run that go to the Hub: no log, no events, the newest checkpoint."""
    newest = run.checkpoint().path.relative_to(run.path).as_posix()
    found = []
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path).as_posix()
        old = name.startswith("checkpoints/") and not name.startswith(f"{newest}/")
        if _RUN.fullmatch(name) and not old and path.is_file():
            found.append(name)
    return found


def check_names(source: str, sizes: Mapping[str, int | None]) -> list[str]:
    """Return which files of a source belong to a run.

    Arguments:
        source: what messages call it.
        sizes: name -> bytes, where they are known.

    Raises:
        CheckpointError: naming the first file that is no part of a run, or is too large, or the
            one that is missing.
    """
    for name, size in sizes.items():
        if name in _BESIDE:
            continue
        if not _RUN.fullmatch(name):
            raise _refused(source, name, "which is no part of a run")
        if size is not None and size > _limit(name):
            raise _refused(source, name, f"which has {size:,} bytes, more than {_limit(name):,}")
    for name in _NEEDED:
        if name not in sizes:
            raise CheckpointError(
                f"{source} holds no run (it has no {name}): give what `vaeflow push` wrote"
            )
    return [name for name in sizes if name not in _BESIDE]


def check_folder(source: str, folder: Path, names: Iterable[str] | None = None) -> list[str]:
    """Return which files of a folder belong to a run, once all of them are plain files.

    Arguments:
        source: what messages call it.
        folder: where they lie.
        names: those that are taken; by default all that are there.

    Raises:
        CheckpointError: naming the first file that is a link, no file, or no part of a run.
    """
    sizes: dict[str, int | None] = {}
    for name in _walked(folder) if names is None else names:
        steps = [*reversed(Path(name).parents), Path(name)]
        if any((folder / step).is_symlink() for step in steps[1:]):
            raise _refused(source, name, "which is a link")
        if not (folder / name).is_file():
            raise _refused(source, name, "which is no regular file")
        sizes[name] = (folder / name).stat().st_size
    return check_names(source, sizes)


def check_manifests(source: str, folder: Path, names: Iterable[str]) -> None:
    """Check that the manifest of each checkpoint, which was verified, names all of its files.

    Raises:
        CheckpointError: naming the first file that it does not.
    """
    for name in (name for name in names if name.startswith("checkpoints/")):
        manifest = folder / Path(name).parent / _MANIFEST
        known = plain_json(read_text(manifest))["sha256"] if manifest.is_file() else {}
        if Path(name).name not in (_MANIFEST, *known):
            raise _refused(source, name, "which its manifest does not name")


def _walked(folder: Path) -> list[str]:
    """Return the names of all that is no folder, without following a link."""
    found = []
    for at, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [(Path(at) / name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(found)


def _limit(name: str) -> float:
    if name.endswith(".safetensors"):
        return float("inf")
    return _LINES if name == "metrics.jsonl" else TEXT


def _refused(source: str, name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{source} holds {printable(name)[:200]}, {why}: nothing is pulled; ask its author for "
        "what `vaeflow push` wrote"
    )
