"""The Frey faces, a film of one face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.parts.abstract import Dataset
from vaeflow.parts.datasets.files.download import Origin
from vaeflow.parts.datasets.files.matlab import read_mat

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class FreyFaces(Dataset):
    """1,965 grey images of 28×20, the frames of a film of one face, k/255. (Roweis & Saul 2000.)

    The frames are shuffled and split into 1,565 / 200 / 200, as in the code of Sylvester flows (van
    den Berg et al. 2018), whose runs have the seeds 123, 321 and 231. That code reads another copy
    of the frames; both copies are taken to have the order of the film.

    The file frey_rawface.mat is looked for below --data-root, then $VAEFLOW_DATA; with neither, it
    is downloaded once into the user's cache.

    Options:
        seed: seed of the shuffle before the split; published figures have 123, 321 and 231.
    """

    origin: ClassVar[Origin] = Origin(
        title="Frey Faces",
        folder="freyfaces",
        sources=("https://cs.nyu.edu/~roweis/data/", "https://www.cs.nyu.edu/~roweis/data/"),
        checksums={"frey_rawface.mat": None},
        folders=("Freyfaces",),
    )

    def __init__(self, root: Path | None = None, *, seed: Seed = 123) -> None:
        super().__init__(root)
        self.seed = seed

    def load(self) -> Splits:
        images = self.origin.load("frey_rawface.mat", self.root, _read)
        order = torch.from_numpy(np.random.RandomState(self.seed).permutation(len(images)))
        x = images[order]
        return Splits(x[:1_565], x[1_565:1_765], x[1_765:])


def _read(path: Path) -> Stored:
    columns = read_mat(path, {"ff": (560, 1_965)}, largest=255, kinds={"uint8"})["ff"]
    images = columns.T.reshape(-1, 1, 28, 20)  # each column is a picture, row by row
    return Stored(images, 255)
