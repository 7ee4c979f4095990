"""Values one behind the other are read as if they were one tensor."""

import numpy as np
import torch

from vaeflow.data.joined import joined
from vaeflow.data.stored import Stored

WHOLE = np.arange(24, dtype=np.uint8).reshape(8, 3)
FLOATS = torch.from_numpy(WHOLE.astype(np.float32) / np.float32(5))


def test_what_lies_in_a_file_stays_there(tmp_path):
    np.save(tmp_path / "x.npy", WHOLE[:5])
    mapped = Stored(np.load(tmp_path / "x.npy", mmap_mode="r"), 5)
    x = joined([mapped, Stored(WHOLE[5:6], 5), FLOATS[6:]])
    assert not x.resident
    assert torch.equal(x.values(), FLOATS)
    assert torch.equal(x.index_select(0, torch.tensor([7, 0, 5, 4])), FLOATS[[7, 0, 5, 4]])
    assert torch.equal(x[3:7].values(), FLOATS[3:7])


def test_what_is_in_memory_becomes_one_tensor():
    assert torch.equal(joined([Stored(WHOLE[:5], 5), FLOATS[5:]]), FLOATS)
