"""Data frames and splits as examples of a trained model: on its own scale, with its own levels.

Shapes: N examples, D values of an example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.arrays import as_values
from vaeflow.data.columns import Columns
from vaeflow.data.conditioning import condition_on
from vaeflow.data.covariates import given_covariates
from vaeflow.data.examples import Examples
from vaeflow.data.places import Place, in_table
from vaeflow.data.splits import NAMES, Form, Splits
from vaeflow.data.stored import Values
from vaeflow.data.table import Table
from vaeflow.data.telling import told_before
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.tables import table_from


def is_frame(x: object) -> bool:
    """Tell whether data is a frame of pandas, polars or pyarrow, or columns by name."""
    if hasattr(x, "to_numpy"):  # so has a single column
        return hasattr(x, "columns")
    return hasattr(x, "__arrow_c_stream__") or isinstance(x, Mapping)


def check_frame(data: object, form: Form) -> None:
    """Refuse data that has no columns by name.

    Raises:
        DataError: naming what it is.
    """
    if not is_frame(data):
        raise DataError(
            f"the data is a {type(data).__name__}, but this run reads columns by name, such as "
            f"{form.columns.names[0]!r}: give a data frame, a mapping from names to columns, or a "
            "file"
        )


def of_table(
    table: Table, form: Form, condition: Mapping[str, object] | None = None
) -> tuple[Examples, Place]:
    """Return the rows of a table, in its order, and how messages call their values.

    They are standardized by the training data, and their levels are its levels.

    Arguments:
        table: with the model's columns, and covariates that are not given.
        form: of the model.
        condition: name -> values (N,), or one value for all, of covariates.

    Raises:
        DataError: if a column or a covariate is missing, or holds an unknown level.
    """
    x = torch.from_numpy(form.columns.encode(table))
    place = in_table(Path(table.origin), table.rows, form.columns.labels())
    known = {name: table[name] for name in form.covariates.names if name in table}
    covariates = given_covariates(form.covariates, {**known, **(condition or {})}, place)
    if not form.covariates:
        return Examples(x), place
    if len(covariates) not in (1, len(x)):
        raise DataError(
            f"the covariates have {len(covariates)} values, but {table.origin} {len(x)} rows: give "
            "one value for each row, or one for all"
        )
    return Examples(x, covariates.expand(len(x), -1).to(x.dtype)), place


def of_frame(
    frame: object, form: Form, condition: Mapping[str, object] | None = None
) -> tuple[Examples, Place]:
    """Return the rows of a data frame as `of_table` does."""
    return of_table(table_from(frame), form, condition)


def of_split(splits: Splits, form: Form, name: str | None) -> Examples:
    """Return a split with the covariates of a model.

    Raises:
        DataError: if there is no such split, or its columns are on another scale than the model's.
    """
    if name not in NAMES:
        said = "" if name is None else f", and {name!r} is none of them"
        raise DataError(
            f"x is the splits of a data set{said}: name one, as in model.examples(x, split='test')"
        )
    return like_model(splits, form).examples(name)


def like_model(splits: Splits, form: Form) -> Splits:
    """Return splits with the covariates of a model.

    Raises:
        DataError: if their columns or covariates became numbers otherwise than the model's.
    """
    with told_before():
        splits = condition_on(splits, form.covariates.names)
    pairs = [(splits.covariates, form.covariates)]
    if form.columns and splits.columns:
        pairs.append((splits.columns, form.columns))
    for found, wanted in pairs:
        if (name := _first_change(found, wanted)) is not None:
            raise DataError(
                f"the splits differ in column {name!r} from the data that the model was built for: "
                "build a model for them, or give model.examples(frame), which takes the rows of a "
                "data frame as the model's columns do"
            )
    return splits


def values_of(name: str, x: object, dtype: torch.dtype, form: Form) -> Values:
    """Return the values of an array as the model takes them; `name` is what messages call it.

    Raises:
        DataError: if x is no array of examples of the model's shape.
    """
    if form.columns and isinstance(x, Tensor | np.ndarray) and tuple(x.shape[1:]) != form.shape:
        beside = ", ".join(form.covariates.names)
        apart = f", with {beside} beside them" if beside else ""
        raise DataError(
            f"{name} has shape {tuple(x.shape)}, but the model takes (N, {form.shape[0]}), the "
            f"columns {', '.join(form.columns.names)}{apart}: give model.examples(frame) of a data "
            "frame, or model.examples(splits, split='test') of the splits of a table"
        )
    return as_values(name, x, dtype, form.shape)


def _first_change(found: Columns, wanted: Columns) -> str | None:
    """Return the name of the first column that is not the same in both, up to rounding."""
    for a, b in zip(found, wanted, strict=False):
        near = math.isclose(a.spread, b.spread, rel_tol=_NEAR)
        near &= abs(a.center - b.center) <= _NEAR * b.spread
        if not near or (a.name, a.kind, a.levels) != (b.name, b.kind, b.levels):
            return str(a.name)
    if len(found) != len(wanted):
        longer = max(found, wanted, key=len)
        return str(longer[min(len(found), len(wanted))].name)
    return None


_NEAR = 1e-5  # of float32, through which a column goes before it is a covariate
