"""Training data that the device cannot hold: batches are read one step ahead.

Shapes: N examples, B of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from vaeflow.data.memory import fits
from vaeflow.data.stored import Stored, Values
from vaeflow.runtime.ranks import World

log = logging.getLogger("vaeflow")

_AHEAD = 2  # buffers on the host: one is copied to the device while the next is filled


def placed(x: Values, device: torch.device, name: str) -> Values:
    """Return values in the memory of a device, or as they are on the host if it cannot hold them.

    Arguments:
        name: what the log calls them.
    """
    kept = x if isinstance(x, Stored) else Stored(x)
    here = kept.resident and kept.device == device
    if here or fits(kept.nbytes, device):
        return x.to(device)
    where = "memory" if kept.resident else "their file"
    log.info(
        "the %s data take %s, more than half of the free memory of %s: they stay in %s, and each "
        "batch is read before its step",
        name, _size(kept.nbytes), "this machine" if device.type == "cpu" else device, where,
    )  # fmt: skip
    return kept


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


class Fed(Stored):
    """Training data on the host, of which the batch of the next step is read while one works.

    Within `following`, each call of its function brings the next batch to the device, always into
    the same memory, where a captured step finds it; `index_select` then returns it. Elsewhere a
    batch is read when it is asked for.

    Arguments:
        x: the data (N, *data_shape).
        device: of the model.
        size: most examples of a batch.
    """

    def __init__(self, x: Stored, device: torch.device, size: int) -> None:
        super().__init__(x.source, x.divisor, x.rows)
        self._target = device
        shape, dtype = (size, *x.shape[1:]), self.kept_dtype
        self._slot = torch.empty(shape, dtype=dtype, device=device)
        pinned = device.type == "cuda"
        self._buffers = [torch.empty(shape, dtype=dtype, pin_memory=pinned) for _ in range(_AHEAD)]
        self._copied = [torch.cuda.Event() for _ in range(_AHEAD)] if pinned else []
        self._here: int | None = None  # examples in the slot, within `following`

    @property
    def device(self) -> torch.device:
        """Return where batches are brought to."""
        return self._target

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the values of the examples `index` (B,) on the device, those of the next step."""
        if self._here is None:
            return self.floats(self.kept(index).to(self._target))
        assert self._here == len(index), "steps take batches in the order that was announced"
        return self.floats(self._slot[: self._here])

    @contextmanager
    def following(self, batches: Iterable[Tensor]) -> Iterator[Callable[[], None]]:
        """Read batches, given by their indices on the host, one ahead of each call."""
        upcoming = iter(enumerate(batches))
        with ThreadPoolExecutor(1, "vaeflow-feed") as pool:

            def ahead() -> Future[tuple[int, int]] | None:
                found = next(upcoming, None)
                return None if found is None else pool.submit(self._fill, *found)

            waiting = ahead()

            def advance() -> None:
                nonlocal waiting
                assert waiting is not None, "there is no further batch"
                at, count = waiting.result()
                waiting = ahead()
                self._slot[:count].copy_(self._buffers[at][:count], non_blocking=True)
                if self._copied:
                    self._copied[at].record()
                self._here = count

            try:
                yield advance
            finally:
                self._here = None

    def _fill(self, number: int, index: Tensor) -> tuple[int, int]:
        """Read a batch into a buffer on the host; return which, and the number of examples."""
        at = number % _AHEAD
        if self._copied:
            self._copied[at].synchronize()  # its last batch is on the device
        self._buffers[at][: len(index)].copy_(self.kept(index))
        return at, len(index)


def shares(batches: Sequence[Tensor], world: World) -> Iterator[Tensor]:
    """Yield the images of a rank in each batch, on the host."""
    if batches:
        sizes, whole = [len(batch) for batch in batches], torch.cat([*batches]).cpu()
        yield from (world.share(batch).images for batch in whole.split(sizes))


def following(x: Values, batches: Iterable[Tensor]) -> AbstractContextManager[Callable[[], None]]:
    """Return what brings the batches of data to the device; data that is there needs nothing."""
    return x.following(batches) if isinstance(x, Fed) else nullcontext(lambda: None)
