"""The covariates of a data set: chosen by name among its labels and its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from vaeflow.data.columns import Column, Columns
from vaeflow.data.covariates import absent, check_names, describe, numbers_of
from vaeflow.data.places import Index, Place
from vaeflow.data.splits import NAMES, Splits
from vaeflow.data.stored import floats
from vaeflow.data.telling import log
from vaeflow.errors import DataError


def condition_on(splits: Splits, names: Sequence[str]) -> Splits:
    """Return the splits with covariates: labels, and columns, which then are no part of x.

    Raises:
        DataError: if there is no such label or column, a value is missing, or x is left empty.
    """
    if not names:
        return splits
    labels = splits.labels.get("train", {})
    check_names(names, [*labels, *(n for n in splits.columns.names if n not in labels)])
    values = {split: _values(splits, split, names) for split in NAMES}
    like = dict(zip(splits.columns.names, splits.columns, strict=True))
    covariates = Columns(tuple(describe(n, values["train"][n], like.get(n)) for n in names))
    log.info("conditioned on %s", " and ".join(map(_told, covariates)))
    _check_complete(splits, values)
    condition = {
        split: numbers_of(covariates, values[split], splits.place(split), _cure).float()
        for split in NAMES
    }
    left = _without(splits, [name for name in names if name in like])
    return left.but(covariates=covariates, condition=condition)


def _values(splits: Splits, split: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the values of each covariate in one split."""
    labels, slices = splits.labels.get(split, {}), splits.columns.slices()
    found = {}
    for name in names:
        if name in slices:
            column = splits.columns[splits.columns.names.index(name)]
            found[name] = column.decode(floats(splits.kept(split))[:, slices[name]].numpy())
        else:
            found[name] = np.asarray(labels[name])
    return found


def _cure(column: Column) -> str:
    return f"correct it, drop the row, or leave {column.name} out of --condition"


def _check_complete(splits: Splits, values: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse missing values, and name the first of them in the order of the file."""
    sizes = splits.sizes()
    what = "rows" if splits.columns else "examples"
    for name in values["train"]:
        gaps = [
            splits.place(split)([int(row)])
            for split in NAMES
            if sizes[split]
            for row in absent(values[split][name]).nonzero()[0]
        ]
        if gaps:
            first = min(gaps, key=lambda place: int((re.findall(r"\d+", place) or [0])[-1]))
            raise DataError(
                f"{first} has no {name!r} ({len(gaps):,} of {sum(sizes.values()):,} {what} have "
                f"none), but the model is conditioned on it: fill it in, drop these {what}, or "
                f"leave {name} out of --condition"
            )


def _without(splits: Splits, names: Sequence[str]) -> Splits:
    """Return the splits without some columns in x."""
    if not names:
        return splits
    slices, columns = splits.columns.slices(), splits.columns
    kept = [i for n in columns.names if n not in names for i in range(*slices[n].indices(10**9))]
    if not kept:
        raise DataError(
            f"--condition {','.join(names)} takes every column of the table, and leaves no data: "
            "leave one out"
        )
    order = torch.tensor(kept)
    return splits.but(
        train=splits.train[:, order],
        validation=splits.validation[:, order],
        test=splits.test[:, order],
        columns=Columns(tuple(column for column in columns if column.name not in names)),
        places={split: _moved(splits.place(split), kept) for split in NAMES},
    )


def _moved(place: Place, columns: Sequence[int]) -> Place:
    """Return the place of values that stand in other columns."""

    def at(index: Index) -> str:
        row, *column = index
        return place([row, *(columns[i] for i in column if i is not None)])

    return at


def _told(column: Column) -> str:
    if not column.named:
        return f"{column.name}, a number"
    count = len(column.levels)
    return f"{column.name}, a category of {count} level{'s' * (count > 1)}"
