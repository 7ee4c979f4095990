"""The data set `huggingface`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from vaeflow.parts import ConfigError, DataError, Dataset, Splits, Stored
from vaeflow_datasets.columns import ArrayColumn, ImageColumn, labels

log = logging.getLogger("vaeflow")

Fraction = Annotated[float, Field(gt=0, lt=1)]
Size = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=2)]

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_FILES = {
    ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json",
    ".arrow": "arrow",
}  # fmt: skip
_AT_ONCE = 1 << 30  # bytes of a split that is read into memory at once


class HuggingFace(Dataset):
    """A data set of Hugging Face's `datasets` on this machine: nothing is fetched from the hub.

    One column of images, or of arrays or lists of numbers, is data. Columns of single values are
    labels, by which `--condition` conditions a model. Splits are taken by their names; what is
    missing is drawn with a fixed seed. Rows are read by their index from Arrow files, which memory
    need not hold. (Lhoest et al. 2021.)

    Options:
        path: a folder that `save_to_disk` wrote, or a .parquet, .arrow, .csv or .jsonl file; below
            --data-root if a root is given.
        column: the column that is data; without it, the only one that can be.
        size: height,width to which images are brought, cutting out their middle, or the side of a
            square.
        channels: 1 for grey, 3 for colour; without it, what the first image has.
        scale: values are divided by it; by default images by 255, and others by 1.
        validation: fraction of the rows for validation, where the data set has no such split.
        test: fraction of the rows for the test, likewise.
    """

    example = None

    def __init__(
        self,
        root: Path | None = None,
        *,
        path: Path,
        column: str | None = None,
        size: Size | None = None,
        channels: Literal[1, 3] | None = None,
        scale: PositiveFloat | None = None,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
    ) -> None:
        super().__init__(root)
        if validation + test >= 1:
            raise ConfigError(
                f"--dataset.validation {validation:g} and --dataset.test {test:g} leave no "
                "training data: their sum must be below 1"
            )
        path = Path(path)
        self.path = path if root is None else root / (path.name if path.is_absolute() else path)
        self.column = column
        self.size = size and (size[0], size[-1])
        self.channels = channels
        self.scale = scale
        self.fractions = {"validation": validation, "test": test}

    def load(self) -> Splits:
        splits = self._splits()
        features = splits["train"].features
        for name, rows in splits.items():
            if {*rows.features} != {*features}:
                raise DataError(
                    f"{self.path}: {name} has the columns {', '.join(rows.features)}, but train "
                    f"has {', '.join(features)}: give all splits the same"
                )
        column = self._column(features)
        singles = [name for name in features if name != column and _single(features[name])]
        each = {name: self._stored(rows, column) for name, rows in splits.items()}
        for name, x in each.items():
            if x.shape[1:] != each["train"].shape[1:]:
                raise DataError(
                    f"{self.path}: {name} examples have shape {tuple(x.shape[1:])}, training ones "
                    f"{tuple(each['train'].shape[1:])}: give all splits the same shape"
                )
        return Splits(
            *(each[name] for name in _NAMES),
            labels={name: labels(rows, singles) for name, rows in splits.items() if singles},
        )

    def _stored(self, rows: Any, column: str) -> Stored:
        from datasets import Image

        if isinstance(rows.features[column], Image):
            images = ImageColumn(rows, column, self.size, self.channels)
            stored = Stored(images, self.scale or 255)
        else:
            stored = Stored(ArrayColumn(rows, column), self.scale or 1)
        return stored.to("cpu") if stored.nbytes <= _AT_ONCE else stored

    def _column(self, features: Mapping[str, Any]) -> str:
        """Return the name of the column that is data, and say so where it was not given."""
        able = [name for name, feature in features.items() if not _single(feature)]
        if self.column is not None:
            if self.column not in features:
                raise DataError(
                    f"{self.path} has no column {self.column!r}: give --dataset.column one of "
                    f"{', '.join(features)}"
                )
            return self.column
        if len(able) != 1:
            what = f"the columns {', '.join(able)} can be" if able else "no column can be"
            cure = (
                "name one by --dataset.column"
                if able
                else ("store images, or arrays or lists of numbers; --dataset table takes tables")
            )
            raise DataError(f"{self.path}: {what} data: {cure}")
        others = [name for name in features if name != able[0]]
        told = f", {', '.join(others)} as labels" if others else ""
        log.warning("%s: the column %s is taken as data%s", self.path, able[0], told)
        return able[0]

    def _splits(self) -> dict[str, Any]:
        """Return the rows of each split; those that are missing are taken off the others."""
        found, named = self._read(), {}
        if not isinstance(found, Mapping):
            return self._drawn(found)
        for name, rows in found.items():
            split = next((s for s, names in _NAMES.items() if name.lower() in names), None)
            if split is None or split in named:
                raise DataError(
                    f"{self.path} holds the splits {', '.join(found)}: name them train, validation "
                    "and test, or save one of them alone"
                )
            named[split] = rows
        if "train" not in named:
            raise DataError(f"{self.path} holds the splits {', '.join(found)}: train is missing")
        if "test" not in named:
            if "validation" not in named:
                return self._drawn(named["train"])
            return {**self._taken(named["train"], "test"), "validation": named["validation"]}
        if "validation" not in named:
            return {**self._taken(named["train"], "validation"), "test": named["test"]}
        return named

    def _drawn(self, rows: Any) -> dict[str, Any]:
        """Draw validation and test rows off the others, shuffled with a fixed seed."""
        order = np.random.RandomState(0).permutation(len(rows))
        counts = [max(1, round(share * len(rows))) for share in self.fractions.values()]
        train = len(rows) - sum(counts)
        if train < 1:
            raise DataError(
                f"{self.path} holds {len(rows)} rows, of which {counts[0]} go to validation and "
                f"{counts[1]} to the test: at least one more is needed for training"
            )
        parts = np.split(order, [train, train + counts[0]])
        return {name: rows.select(part) for name, part in zip(_NAMES, parts, strict=True)}

    def _taken(self, rows: Any, split: str) -> dict[str, Any]:
        """Take one split off the training rows, at random with a fixed seed, and say so."""
        count = max(1, round(self.fractions[split] * len(rows)))
        if count >= len(rows):
            raise DataError(f"{self.path} holds {len(rows)} training rows: give more, or {split}")
        log.warning(
            "%s holds no %s data: %d of its %d training rows are taken for it, as many as "
            "--dataset.%s says", self.path, split, count, len(rows), split,
        )  # fmt: skip
        order = np.random.RandomState(0).permutation(len(rows))
        return {"train": rows.select(order[:-count]), split: rows.select(order[-count:])}

    def _read(self) -> Any:
        import datasets

        if not self.path.exists():
            raise DataError(f"{self.path} does not exist: check --dataset.path and --data-root")
        kind = _FILES.get(self.path.suffix.lower())
        bars = datasets.utils.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            if self.path.is_dir():
                return datasets.load_from_disk(str(self.path))
            if kind is None:
                raise DataError(
                    f"{self.path} is no folder of save_to_disk and no file "
                    f"{', '.join(_FILES)}: save it as one of them"
                )
            options = {"sep": "\t"} if self.path.suffix.lower() == ".tsv" else {}
            return datasets.load_dataset(
                kind, data_files=str(self.path.absolute()), split="train", **options
            )
        except DataError:
            raise
        except Exception as error:  # Arrow's own, and a dozen of the library's
            reason = " ".join(str(error).split(". ")[0].split()) or type(error).__name__
            raise DataError(
                f"{self.path} cannot be read by the library datasets ({reason[:200]}): write it "
                "again by save_to_disk"
            ) from None
        finally:
            if not bars:
                datasets.enable_progress_bars()


def _single(feature: Any) -> bool:
    """Tell whether a column holds one value a row, which is no data but a label."""
    from datasets import ClassLabel, Value

    return isinstance(feature, ClassLabel | Value)
