"""Folders of files: which of them are splits, and which are classes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from vaeflow.data.telling import log
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.others import READ
from vaeflow.parts.datasets.roles import SPLIT_WORDS, WHOLE

_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_LIKE = {*SPLIT_WORDS, "eval", "evaluation", "holdout", "heldout"}
# Words beside those of a split that tell no class: train_images, test2, holdout-set.
_BESIDE = re.compile(r"(x|set|data|dataset|split|images?|imgs?|pictures?|samples?|examples?|\d*)")


def find_splits(folder: Path, suffixes: Collection[str]) -> dict[str, list[Path]]:
    """Return the files of each split below a folder, or of `WHOLE`, in the order of their paths.

    The folders in it may be splits: train or training, test or testing, and perhaps val, valid or
    validation, in any case. Otherwise none may be called like a split, at any depth.

    Arguments:
        folder: the folder.
        suffixes: endings of the files that count, in lower case.

    Raises:
        DataError: if a folder holds no file, or its name is like that of a split and it is none.
    """
    files = _files(folder, suffixes)
    first = {file: file.relative_to(folder).parts[0] for file in files}
    names = sorted({name for file, name in first.items() if folder / name != file})
    exact = {name: _SPLITS[name.lower()] for name in names if name.lower() in _SPLITS}
    if not exact and not _alike(names):
        _check_depth(folder, files, 1)
        return {WHOLE: files}
    found = sorted(exact.values())
    if set(exact) != set(names) or found not in (
        ["test", "train"],
        ["test", "train", "validation"],
    ):
        raise DataError(
            f"{folder} holds the folders {', '.join(names)}: name them train and test, perhaps "
            "validation beside them, or rename those that are no splits"
        )
    if beside := [file for file in files if folder / first[file] == file]:
        log.warning(
            "%d files beside the folders %s are left out, such as %s",
            len(beside), ", ".join(names), beside[0],
        )  # fmt: skip
    _check_depth(folder, files, 2)
    each: dict[str, list[Path]] = {split: [] for split in dict.fromkeys(_SPLITS.values())}
    for name, split in exact.items():
        each[split] = _files(folder / name, suffixes)
    return {split: files for split, files in each.items() if files}


def classes(folders: Iterable[Path], files: Iterable[Path]) -> np.ndarray | None:
    """Return the name of the folder that each file is in, (N,): the first below one of `folders`.

    None if a file is in none, or all are in the same.
    """
    tops = sorted(folders, key=lambda top: -len(top.parts))
    found = []
    for file in files:
        top = next(top for top in tops if file.is_relative_to(top))
        *names, _ = file.relative_to(top).parts
        if not names:
            return None
        found.append(names[0])
    return np.array(found, object) if len(set(found)) > 1 else None


def _alike(names: Collection[str]) -> list[str]:
    """Return the names that are like those of splits, alone or by comparison."""
    rests: dict[str, set[str]] = {}
    for name in names:
        words = _words(name)
        rest = "_".join(word for word in words if word not in _LIKE)
        rests.setdefault(rest, set()).update(word for word in words if word in _LIKE)
    pairs = {rest for rest, words in rests.items() if len(words) > 1}
    return [name for name in names if _like(name) or "_".join(_rest(name)) in pairs]


def _like(name: str) -> bool:
    words = _words(name)
    if "".join(words) in _LIKE:
        return True
    return len(_rest(name)) < len(words) and all(map(_BESIDE.fullmatch, _rest(name)))


def _rest(name: str) -> list[str]:
    return [word for word in _words(name) if word not in _LIKE]


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)]


def _check_depth(folder: Path, files: Iterable[Path], depth: int) -> None:
    """Refuse folders, from some depth below `folder` on, whose names are like those of splits."""
    for file in files:
        *names, _ = file.relative_to(folder).parts
        for i, name in enumerate(names[depth:], depth):
            if _like(name):
                raise DataError(
                    f"{folder.joinpath(*names[: i + 1])} is called like a split, but lies too deep "
                    f"in {folder}: put splits first, as in train/{names[0]}, or rename it"
                )


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = [path for path in _below(folder) if path.suffix.lower() in suffixes and path.is_file()]
    if not files:
        if (folder / "config.toml").is_file():
            raise DataError(
                f"{folder} is the directory of a run, and holds no data: give the data itself, "
                f"which its config.toml names; {READ}"
            )
        raise DataError(
            f"{folder} holds no image: files {', '.join(sorted(suffixes))} are looked for; "
            "a table or an array is given by the path of its file"
        )
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, through links, from each folder once."""
    seen = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:  # a link leads here, perhaps from within
            folders.clear()
            continue
        seen.add(real)
        # Sorted, because the first of two ways to a folder names its files.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(top, name) for name in names if not name.startswith("."))
