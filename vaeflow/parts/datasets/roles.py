"""What the arrays of a file are by their names: examples or labels, of which split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vaeflow.data.telling import log
from vaeflow.errors import DataError

SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
_EXAMPLES = {"", "x", "data", "image", "images", "feature", "features", "input", "inputs"}
_LABELS = {"y", "label", "labels", "target", "targets", "class", "classes"}
_CURE = (
    "store one array, or x_train and x_test, perhaps x_val, and labels as y or as y_train and "
    "y_test"
)
WHOLE = ""  # the split of arrays that are not split


@dataclass
class Part:
    """The arrays of one split, or of the whole."""

    examples: dict[str, np.ndarray] = field(default_factory=dict)  # one, by its name in the file
    labels: dict[str, np.ndarray] = field(default_factory=dict)  # (N,), by the label's name

    @property
    def name(self) -> str:
        """Return the name of the examples in the file."""
        return next(iter(self.examples))

    @property
    def array(self) -> np.ndarray:
        """Return the examples."""
        return self.examples[self.name]


def parts_of(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Part]:
    """Tell the arrays of a file apart: split -> its part, or `WHOLE` -> the only one.

    The name of a split, such as train, val or test, stands before or after that of the array, as in
    x_train, train_images or test. What is called x, data, images, features or inputs is examples;
    y, labels, targets or classes are labels. Another array that is one value of each example is a
    label by its name.

    Raises:
        DataError: naming the arrays, if they are something else.
    """
    if len(arrays) == 1:
        return {WHOLE: Part(dict(arrays))}
    parts: dict[str, Part] = {}
    for name, array in arrays.items():
        split, rest = _split_of(name)
        part = parts.setdefault(split, Part())
        column = max(array.shape, default=0) == array.size  # MATLAB's have two axes
        if rest in _LABELS or (column and rest not in _EXAMPLES):
            part.labels["label" if rest in _LABELS else rest] = array
        else:
            part.examples[name] = array
    whole = set(parts) == {"train"} or set(parts) == {WHOLE}
    named = whole or {"train", "test"} <= set(parts) <= {"train", "validation", "test"}
    if not named or any(len(part.examples) != 1 for part in parts.values()):
        names = f"the arrays {', '.join(sorted(arrays))}" if arrays else "no array"
        raise DataError(f"{path} holds {names}: {_CURE}")
    for part in parts.values():
        _check_labels(path, part)
    return {WHOLE: next(iter(parts.values()))} if whole else parts


def _split_of(name: str) -> tuple[str, str]:
    """Return the split that a name tells, and the rest: "X_train" is ("train", "x")."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+", name)
    words = [word.lower() for word in words]
    splits = [word for word in words if word in SPLIT_WORDS]
    if len(splits) != 1:
        return WHOLE, "_".join(words)
    return SPLIT_WORDS[splits[0]], "_".join(word for word in words if word not in splits)


def _check_labels(path: Path, part: Part) -> None:
    """Bring labels to one axis (N,) and to the types of a table, and examples to the first axis."""
    (name, x), *_ = part.examples.items()
    for label, values in part.labels.items():
        count = values.size
        if max(values.shape, default=0) != count:  # more than one axis is longer than 1
            raise DataError(
                f"{path}: the labels {label!r} have shape {values.shape}, but (N,) is needed: "
                "store the number of each class, as in y.argmax(1)"
            )
        if x.ndim and count == x.shape[-1] != x.shape[0]:
            log.warning(
                "%s: the last axis of %s, of shape %s, is taken for the %d examples, as there are "
                "as many labels %r",
                path, name, x.shape, count, label,
            )  # fmt: skip
            part.examples[name] = x = np.moveaxis(x, -1, 0)
        if not x.ndim or count != len(x):
            raise DataError(
                f"{path}: there are {count} labels {label!r} for the {len(x) if x.ndim else 1} "
                f"examples of {name}: store one for each, or leave them out"
            )
        part.labels[label] = as_labels(path, label, values.reshape(-1))


def as_labels(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return labels as a table holds them: float64, or texts.

    Raises:
        DataError: if they are neither numbers nor texts.
    """
    if values.dtype.kind in "buif":
        return values.astype(np.float64)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        return values.astype(object)
    raise DataError(
        f"{path}: the labels {name!r} have type {values.dtype}, but numbers or texts are needed: "
        "store them as int64 or str"
    )
