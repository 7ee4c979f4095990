"""Bounds of single images on disk: kept while an evaluation runs, read to compare runs.

A file is safetensors: one tensor (N,) for each bound and its error, of the first N images, and in
the header, as JSON, the run, the data, the weights and the options that they depend on, and the
SHA-256 of the whole.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vaeflow.errors import CheckpointError, StorageError
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.evaluation.bounds import ImageBounds
from vaeflow.evaluation.estimates import Estimate, PerImage
from vaeflow.evaluation.latent_code import LatentCode
from vaeflow.reading import digest, plain_json, read_file, sealed, unpack, unsealed
from vaeflow.storage import write_file

FORMAT = 4  # 4 has a checksum, 3 has other proposals than q
_SECONDS = 10.0  # between two writes
_HEADER = "vaeflow"
_LATER = {"run_id", "config_sha256"}  # which older files do not state
_BOUNDS = ("elbo", "log_px", "kl", "nll", "under_q", "squared_error")
_TENSORS = ("draws", "effective_sample_size", "pareto_k")
_ESTIMATES = ("kl", "mutual_information", "marginal_kl")
log = logging.getLogger("vaeflow")


@dataclass(frozen=True)
class Stored:
    """The content of a file.

    `about` lists everything that the bounds depend on: dataset, split, number and SHA-256 of the
    images, proposal, K, seed, weights, versions. Two files with the same `about` agree to the last
    bit.
    """

    about: Mapping[str, Any]
    bounds: ImageBounds  # of the first images, in their order
    code: LatentCode | None = None  # known once all images are done

    @property
    def complete(self) -> bool:
        """Return whether nothing is left to do."""
        return len(self.bounds) == self.about["images"] and self.code is not None

    def difference(self, about: Mapping[str, Any]) -> str | None:
        """Return in words how this differs from an evaluation about to be made, if it does.

        Devices draw different noise, and the bounds of each are right; but one evaluation must not
        mix them.
        """
        free = {"device"} if self.complete else set()
        free |= _LATER - self.about.keys()
        names = dict.fromkeys((*about, *self.about))
        return next(
            (
                f"{name} was {self.about.get(name)} and is {about.get(name)}"
                for name in names
                if name not in free and self.about.get(name) != about.get(name)
            ),
            None,
        )


def write(path: Path, stored: Stored) -> None:
    """Write a file in one motion, making its directory.

    Raises:
        StorageError: if the file system refuses.
    """
    tensors = {name: t.contiguous() for name, t in _tensors(stored.bounds).items()}
    header = {
        "format": FORMAT,
        "about": dict(stored.about),
        "done": len(stored.bounds),
        "code": None if stored.code is None else asdict(stored.code),
    }
    header |= {"tensors": digest(tensors)}
    write_file(path, save(tensors, {_HEADER: json.dumps(sealed(header))}))


def _tensors(bounds: ImageBounds) -> dict[str, Tensor]:
    """Return the bounds as the tensors of a file."""
    tensors: dict[str, Tensor] = {n: getattr(bounds, n) for n in _TENSORS}
    if bounds.elbo.weights is not None:
        tensors["weights"] = bounds.elbo.weights
    for name in _BOUNDS:
        if (bound := getattr(bounds, name)) is not None:
            tensors |= {name: bound.values, f"{name}.error": bound.errors}
    return tensors


def read(path: Path) -> Stored:
    """Read a file, whole or as far as its evaluation came.

    Raises:
        CheckpointError: if there is none, or it is damaged or of a newer format.
    """
    try:
        tensors, texts = unpack(read_file(path))
        header = unsealed(plain_json(texts[_HEADER]))
        if header["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {header['format']}, but this vaeflow reads up to {FORMAT}: "
                "update vaeflow, or evaluate the run again"
            )
        if header["format"] > 3 and header["tensors"] != digest(tensors):
            raise ValueError("its tensors have another SHA-256 than it states: it was changed")
        about = header["about"]
        if header["format"] < 3:  # before there were other proposals than q
            about |= {"proposal": "q", "tolerance": None, "max_draws": None}
            tensors |= {"under_q": tensors["nll"], "under_q.error": tensors["nll.error"]}
            tensors["draws"] = torch.full_like(tensors["nll"], about["samples"], dtype=torch.int64)
        bounds: dict[str, Any] = {
            name: PerImage(tensors[name], tensors[f"{name}.error"]) if name in tensors else None
            for name in _BOUNDS
        }
        bounds |= {name: tensors[name] for name in _TENSORS}
        found = ImageBounds(**bounds)
        if "weights" in tensors:
            found = found.weighted(tensors["weights"])
        return Stored(about, found, _code(header["code"]))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: `vaeflow evaluate` makes it") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error}): remove it, and evaluate the "
            "run again"
        ) from None


def _code(found: dict[str, Any] | None) -> LatentCode | None:
    if found is None:
        return None
    estimates = {n: None if found[n] is None else Estimate(**found[n]) for n in _ESTIMATES}
    rest = {n: found[n] for n in ("images", "latent", "unknown")}
    return LatentCode(**{**rest, **estimates, "units": _units(found)})


def _units(code: dict[str, Any]) -> ActiveUnits:
    found = code.get("units")
    if found is None:  # format 1 counts every unit, be it clear of the threshold or not
        return ActiveUnits(code["active_units"], 0, code["images"], [])
    variances = [Estimate(**one) for one in found["variances"]]
    return ActiveUnits(**{**found, "variances": variances})


class Keeper:
    """The bounds of an evaluation while it runs, written every ten seconds and at the end.

    It is a context; if Ctrl-C ends it, all finished batches are written too. If the file system
    refuses, the evaluation goes on without the file, after one warning.

    Arguments:
        path: of the file.
        about: everything that the bounds depend on.
        before: the content that an interrupted evaluation left.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], before: Stored | None = None) -> None:
        self.path = path
        self.about = about
        self.parts = [] if before is None else [before.bounds]
        self.code = None if before is None else before.code
        self._written, self._refused = True, False
        self._due = time.monotonic() + _SECONDS

    @property
    def done(self) -> int:
        """Return the number of images that are done."""
        return sum(map(len, self.parts))

    @property
    def bounds(self) -> ImageBounds:
        """Return the bounds of all images that are done, at least one batch."""
        return ImageBounds.cat(self.parts)

    def add(self, part: ImageBounds) -> None:
        """Take the bounds of the next images."""
        self.parts.append(part)
        self._written = False
        if time.monotonic() >= self._due:
            self.write()

    def describe(self, code: LatentCode) -> None:
        """Take the measures of the latent code, which come last."""
        self.code = code
        self._written = False

    def write(self) -> None:
        """Write everything that is new."""
        if self._written or self._refused:
            return
        try:
            write(self.path, Stored(self.about, self.bounds, self.code))
        except StorageError as error:
            log.warning("%s; the bounds of single images are not kept", error)
            self._refused = True
        self._written, self._due = True, time.monotonic() + _SECONDS

    def __enter__(self) -> Keeper:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.write()
