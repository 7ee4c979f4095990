"""Data for the model of a run: its own splits, or a file, a table or an array of the same form.

Shapes: N examples.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from vaeflow.config.layers import Plan
from vaeflow.config.settings import Config, PartConfig
from vaeflow.data.arrays import as_values
from vaeflow.data.beside import apart
from vaeflow.data.binarization import prepare_split, resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.data.covariates import values_of
from vaeflow.data.examples import Examples
from vaeflow.data.joined import joined
from vaeflow.data.places import Index, Place, in_array
from vaeflow.data.splits import Form, Splits
from vaeflow.data.stored import Stored, Values
from vaeflow.data.table import Table
from vaeflow.errors import DataError, did_you_mean
from vaeflow.model import VAE
from vaeflow.model.frames import check_frame, of_table
from vaeflow.parts.datasets.file import File
from vaeflow.parts.datasets.files.tables import read_table, table_from
from vaeflow.parts.datasets.given import Given as NotKept
from vaeflow.parts.datasets.roles import WHOLE
from vaeflow.parts.datasets.table import Table as TableSet
from vaeflow.runs.build import images_of, make
from vaeflow.runs.directory import Run

log = logging.getLogger("vaeflow")


@dataclass(frozen=True)
class Given:
    """N examples for a model, with what stood beside them.

    Attributes:
        examples: x as the likelihood scores it, NaN where a value is missing, and covariates.
        raw: x in its own units, before it was binarized.
        place: how messages call a value.
        table: name -> values (N,) of all columns of a table as they were read; empty of arrays.
        beside: name -> values (N,) that are no part of x: ids and labels.
        splits: the split of each example (N,), where they are a run's own.
        path: of the file that the data was read from.
        rows: how messages call the examples (N,): by the number of the row in their file, by the
            name of their file, or by a number from 0 on.
    """

    examples: Examples
    raw: Values
    place: Place
    table: Mapping[str, np.ndarray] = field(default_factory=dict)
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    splits: np.ndarray | None = None
    path: Path | None = None
    rows: Sequence[int] | np.ndarray = ()

    def __len__(self) -> int:
        return len(self.examples)

    def find(self, row: object) -> int:
        """Return the index of an example by what messages call it: its row, file or number.

        Raises:
            DataError: if there is none, or several arrays have one.
        """
        names = [str(name) for name in np.asarray(self.rows).tolist()]
        found = [i for i, name in enumerate(names) if name == str(row)]
        if len(found) == 1:
            return found[0]
        if found and self.splits is not None:
            where = " and ".join(str(self.splits[i]) for i in found)
            raise DataError(f"row {row} is in {where}: choose by --split {self.splits[found[0]]}")
        names = [names[i] for i in self.order]
        some = ", ".join(names[:3]) + (f", …, {names[-1]}" if len(names) > 3 else "")
        like = "" if str(row).isdecimal() else did_you_mean(str(row), names)
        of = "the data" if self.splits is None else f"the {' and '.join({*self.splits})} data"
        more = "" if self.splits is None else ", or another --split"
        raise DataError(f"{row} is no row of {of}{like}: name one of {some}{more}")

    def called(self, index: int) -> str:
        """Return how pictures call an example: "row 17", or the name of its file."""
        name = self.rows[index]
        return str(name) if isinstance(name, str) else f"row {name}"

    @property
    def order(self) -> np.ndarray:
        """Return the examples (N,) in the order of their rows, as far as the rows tell them apart.

        The rows of several arrays do not: each array counts its own.
        """
        rows = np.asarray(self.rows)
        told_apart = len({*rows.tolist()}) == len(rows)
        return np.argsort(rows, kind="stable") if told_apart else np.arange(len(rows))

    @property
    def named(self) -> dict[str, np.ndarray]:
        """Return by name (N,) the split and the row or file of each example, ids and labels."""
        rows = np.asarray(self.rows)
        split = {} if self.splits is None else {"split": self.splits}
        own = {**split, "file" if rows.dtype == object else "row": rows}
        return {**own, **apart(self.beside, own)}


def own_file(plan: Plan | None, path: object = None) -> TableSet | File | None:
    """Return a run's data set, if it reads a file in whose order data can be had.

    Arguments:
        plan: the run's configuration.
        path: of another file that is to be read alike.
    """
    if plan is None:
        return None
    chosen = plan.config.dataset
    if path is not None and "path" in chosen.options:
        options = {**chosen.options, "path": Path(str(path)).absolute()}
        plan = plan.but(dataset=PartConfig(name=chosen.name, options=options))
    dataset = make(plan, "dataset", plan.config.data_root)
    return dataset if isinstance(dataset, TableSet | File) else None


def given_data(
    plan: Plan | None, model: VAE, data: object, condition: Mapping[str, object] | None = None
) -> Given:
    """Return data of the form that a model was trained on.

    Arguments:
        plan: the configuration of its run, whose data set tells how a file is read; None of a
            model without a run.
        model: which is to score the data.
        data: the path of a table or of an array (.npy, or .npz with one); a data frame, or a
            mapping from names to columns; an array.
        condition: covariates of the model that the data does not hold itself.

    Raises:
        DataError: if it cannot be read, or is of another form.
    """
    if model.columns:
        if not isinstance(data, str | Path):
            check_frame(data, model.form)
        found = _of_table(_table(plan, data), model.form, condition or {})
        found = replace(found, path=Path(data) if isinstance(data, str | Path) else None)
    else:
        found = _of_array(plan, model, data, condition or {})
    support, x = model.likelihood.support, found.examples.x
    check_values("data", x, model.data_shape, support, found.place, gaps=model.missing)
    return found


def own_data(run: Run, plan: Plan, names: Sequence[str], example: str) -> Given:
    """Return some splits of a run's own data, one behind the other.

    Arguments:
        run: the run.
        plan: its configuration, with the place of its data.
        names: of the splits.
        example: how other data is given in Python.

    Raises:
        DataError: if the run holds no data, or it cannot be had.
    """
    if plan.parts["dataset"].load() is NotKept:
        raise DataError(
            f"{run.path} was fitted in Python, and does not hold its data: give the data, as in "
            f"{example}, or in the shell as a file by `--data FILE`"
        )
    return of_splits(run.data(plan), names, plan.config)


def of_splits(splits: Splits, names: Sequence[str], config: Config) -> Given:
    """Return some splits of a run's own data, one behind the other."""
    each = [images_of(splits, name, config) for name in names]
    conditions = [examples.condition for examples in each if examples.condition is not None]
    condition = torch.cat(conditions) if conditions else None
    weights = [examples.weight for examples in each if examples.weight is not None]
    weight = torch.cat(weights) if weights else None
    labels = _labels([splits.labels.get(name, {}) for name in names])
    if condition is not None:  # columns among them are no labels
        labels |= values_of(splits.covariates, condition)
    return Given(
        Examples(joined([examples.x for examples in each]), condition, weight),
        joined([splits.kept(name) for name in names]),
        _behind([splits.place(name) for name in names], list(map(len, each))),
        beside=labels,
        splits=np.repeat(np.array(names, object), list(map(len, each))),
        rows=_called(splits, dict(zip(names, map(len, each), strict=True))),
    )


def _called(splits: Splits, sizes: Mapping[str, int]) -> np.ndarray:
    """Return what the examples of some splits are called, one split behind the other."""
    known = all(name in splits.rows for name, size in sizes.items() if size)
    return np.concatenate(
        [splits.rows[n] if known and size else np.arange(size) for n, size in sizes.items()]
    )


def _behind(places: Sequence[Place], sizes: Sequence[int]) -> Place:
    """Return how messages call a value of splits that stand one behind the other."""
    starts = np.cumsum([0, *sizes])

    def place(index: Index) -> str:
        first, *rest = index
        assert first is not None
        split = int(np.searchsorted(starts, first, "right")) - 1
        return places[split]([first - int(starts[split]), *rest])

    return place


def _labels(each: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the labels that all splits have, one split behind the other."""
    known = [name for name in each[0] if all(name in labels for labels in each)]
    return {name: np.concatenate([labels[name] for labels in each]) for name in known}


def _table(plan: Plan | None, data: object) -> Table:
    """Return a table that is given as a file, a data frame or a mapping."""
    if isinstance(data, str | Path):
        dataset = own_file(plan, data)
        return dataset.read() if isinstance(dataset, TableSet) else read_table(Path(data))
    return table_from(data)


def _of_table(table: Table, form: Form, condition: Mapping[str, object]) -> Given:
    examples, place = of_table(table, form, condition)
    read = _as_read(table)
    return Given(
        examples,
        examples.x,
        place,
        table=read,
        beside={name: values for name, values in read.items() if name not in form.columns.names},
        rows=table.rows,
    )


def _as_read(table: Table) -> dict[str, np.ndarray]:
    """Return the columns of a table as its file holds them: truth values, and ids in all digits."""
    if lost := [f"{name} ({kind})" for name, kind in table.types.items() if name not in table]:
        log.warning("%s: left out %s", table.origin, ", ".join(lost))
    return {name: table.as_read(name) for name in table}


def _of_array(
    plan: Plan | None, model: VAE, data: object, condition: Mapping[str, object]
) -> Given:
    if isinstance(data, str | Path):
        found = _of_file(plan, Path(data))
    else:
        raw = as_values("the data", data, torch.float32, model.data_shape)
        found = Given(Examples(raw), raw, in_array("x"), rows=np.arange(len(raw)))
    raw = as_values("the data", found.raw, torch.float32, model.data_shape)
    how = "auto" if plan is None else plan.config.binarization
    levels = None if plan is None else plan.config.dequantize
    if how == "auto":  # a run directory holds it resolved
        how = resolve_binarization("auto", raw, model.likelihood.support, gaps=model.missing)
    x = prepare_split(raw, how, levels, found.place, gaps=model.missing)
    known = {name: found.beside[name] for name in model.covariates.names if name in found.beside}
    return replace(found, examples=model.examples(x, {**known, **condition}))


def _of_file(plan: Plan | None, path: Path) -> Given:
    """Return the arrays of a file as the data set `file` reads them, in the file's order."""
    dataset = own_file(plan, path)
    arrays, labels = (dataset if isinstance(dataset, File) else File(path=path)).read()
    each = [Stored(array.values, array.scale) for array in arrays.values()]
    if len({x.shape[1:] for x in each}) > 1:
        raise DataError(f"{path} holds examples of several shapes: give all of them the same")
    sizes, whole = list(map(len, each)), joined(each)
    names = np.repeat(np.array([*arrays], object), sizes)
    return Given(
        Examples(whole),
        whole,
        _behind([array.place for array in arrays.values()], sizes),
        beside=_labels([labels.get(split, {}) for split in arrays]),
        splits=None if WHOLE in arrays else names,
        rows=np.concatenate(
            [
                range(n) if a.rows is None else a.rows
                for n, a in zip(sizes, arrays.values(), strict=True)
            ]
        ),
    )
