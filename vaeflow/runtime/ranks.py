"""The ranks of a training: one process alone, or several under torchrun.

Every rank holds the model and the data, and takes its share of each batch. Sums over all ranks give
the numbers and the gradient of one process. Rank 0 writes.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vaeflow.errors import ConfigError, RankError, VaeflowError, one_line
from vaeflow.runtime.watch import Store, Watch

_GRACE = 5.0  # seconds
_JOIN = 300.0  # seconds, for the slowest rank to begin
_PATIENCE = 3.0  # seconds, for the word of a rank that is lost
_LOST = re.compile(r"peer|gloo|NCCL")  # in the errors of a connection


class Indexed(Protocol):
    """Data of examples, such as a tensor, of which a slice is data of some of them."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return some examples."""
        ...


Rows = TypeVar("Rows", bound=Indexed)


class Share(NamedTuple):
    """One rank's share of the images of a batch."""

    images: Tensor  # their indices, at least one
    weight: Tensor | None = None  # of their mean in the gradient; None is 1
    counts: int = 1  # 1, or 0 if this rank borrowed an image to stay in step with the others


class World:
    """A single process: it takes whole batches and waits for nobody."""

    rank = 0
    count = 1
    stream: tuple[int, ...] = ()  # the rank's own number in the seed of its noise

    @property
    def first(self) -> bool:
        """Return whether this rank writes; one rank does."""
        return self.rank == 0

    def check(self, device: torch.device) -> None:
        """Raise ConfigError if the ranks cannot train on such a device."""

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with its gradients averaged over the ranks."""
        return module

    def share(self, index: Tensor) -> Share:
        """Return this rank's share of a batch, weighted to make the ranks' mean the batch's."""
        return Share(index)

    def part(self, x: Rows) -> Rows:
        """Return this rank's part of x, which may be empty; the parts are disjoint."""
        return x

    def sum(self, x: Tensor) -> Tensor:
        """Replace x by its sum over the ranks, and return it."""
        return x

    def any(self, flag: bool) -> bool:
        """Return whether the flag is up on any rank: all ranks get one answer."""
        return bool(self.most(int(flag)))

    def most(self, number: int) -> int:
        """Return the largest number of any rank, of 63 bits: all ranks get one answer."""
        return number

    def same(self, number: int) -> bool:
        """Return whether all ranks have the same number of 63 bits."""
        return True

    def broadcast(self, module: nn.Module) -> None:
        """Copy the buffers of the module's state, such as running means, from rank 0."""

    def gather(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all ranks' tensors: "name" of rank 0, "name.1" of rank 1, …"""
        return dict(states)

    def own(self, gathered: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this rank's entries of `gather`'s result, {} if the rank is new."""
        return dict(gathered)

    @contextmanager
    def shared_fate(self) -> Iterator[None]:
        """Fail together: a rank that loses another one says why the other failed."""
        yield


ALONE = World()


class Ranks(World):
    """The ranks of torch's default process group, each of which shares every step.

    The group needs a backend for CPU tensors, such as torch's default: votes and generator states
    travel by gloo, so that a vote does not wait for a GPU.
    """

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.count = dist.get_world_size()
        self.stream = (self.rank,)

    def check(self, device: torch.device) -> None:
        if device.type == "mps":
            raise ConfigError(
                f"--device {device}: torch trains on several ranks with cpu or cuda alone; use "
                "--device cpu"
            )
        if device.type != "cuda":
            return
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        if here > (gpus := torch.cuda.device_count()):
            raise ConfigError(
                f"--nproc-per-node {here}: this machine has {gpus} GPUs, one for each rank; give "
                "fewer ranks, or --device cpu"
            )
        if device.index != torch.cuda.current_device():
            raise ConfigError(
                f"--device {device}: every rank takes the GPU of its own number; use --device cuda"
            )

    def wrap(self, module: nn.Module) -> nn.Module:
        # A first vote: a rank that failed to load data is noticed here instead of hanging NCCL.
        self.any(False)
        # A buffer outside the state is a constant, such as a mask: it is not sent in each step.
        constants = {name for name, _ in module.named_buffers()} - module.state_dict().keys()
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, constants)
        # The parameters without a gradient are found in the first step, not anew in each.
        return DistributedDataParallel(module, static_graph=True)

    def share(self, index: Tensor) -> Share:
        mine = self.part(index)
        # A float32 would cost a float64 gradient half its digits.
        portion = self.count * len(mine) / len(index)
        weight = torch.full((), portion, dtype=torch.float64, device=index.device)
        return Share(mine if len(mine) else index[:1], weight, min(len(mine), 1))

    def part(self, x: Rows) -> Rows:
        mine: Rows = x[self.rank :: self.count]
        return mine

    def sum(self, x: Tensor) -> Tensor:
        dist.all_reduce(x)
        return x

    def most(self, number: int) -> int:
        vote = torch.tensor(number)
        dist.all_reduce(vote, dist.ReduceOp.MAX)
        return int(vote)

    def same(self, number: int) -> bool:
        return self.most(number) == -self.most(-number)

    def broadcast(self, module: nn.Module) -> None:
        kept = module.state_dict().keys()
        for name, buffer in module.named_buffers():
            if name in kept:
                dist.broadcast(buffer, 0)

    def gather(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gathered: dict[str, Tensor] = {}
        for name, state in states.items():
            each = [torch.empty_like(state) for _ in range(self.count)]
            dist.all_gather(each, state)
            gathered |= {_named(name, rank): value for rank, value in enumerate(each)}
        return gathered

    def own(self, gathered: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = {name.partition(".")[0] for name in gathered}
        return {n: gathered[k] for n in names if (k := _named(n, self.rank)) in gathered}

    @contextmanager
    def shared_fate(self) -> Iterator[None]:
        """Fail together: a rank that loses another one says why the other failed.

        Raises:
            RankError: on each rank that did not fail by itself.
        """
        try:
            yield
        except VaeflowError as error:
            self._first_failure(error, error.exit_code)
            raise
        except Exception as error:
            # A lost connection is a RuntimeError like any other. But a rank that failed by itself
            # wrote its error down before it closed the connection.
            lost = isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
            rank, code, text = self._lost() if lost else self._first_failure(error, 1)
            if rank != self.rank:
                raise RankError(f"rank {rank} failed: {text}", code, rank) from error
            raise

    def _first_failure(self, error: Exception, code: int) -> tuple[int, int, str]:
        """Return the rank, exit code and text of the first failure, which may be this one."""
        text = str(error) if isinstance(error, VaeflowError) else one_line(error)
        with suppress(RuntimeError):  # the store may be lost, too
            return Store.connect().fail(self.rank, code, text)
        return self.rank, code, text

    def _lost(self) -> tuple[int, int, str]:
        """Return the rank whose loss this one has noticed, its exit code and what it told."""
        with suppress(RuntimeError):
            if found := Store.connect().gone(self.count, _PATIENCE):
                return found
        raise RankError(
            "another rank is gone without a word, killed or cut off: see what torchrun says of it, "
            "and continue with `vaeflow resume`"
        )


def _named(name: str, rank: int) -> str:
    return f"{name}.{rank}" if rank else name


def world() -> World:
    """Return the ranks of torch's process group if there is one, else this process alone."""
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return Ranks() if together else ALONE


def is_first() -> bool:
    """Return whether this process writes: it is alone, or the first rank that torchrun started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"


@contextmanager
def launched() -> Iterator[World]:
    """Join torchrun's process group, where torchrun started the process, and leave it at the end.

    Raises:
        RankError: if another rank fails.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    _join()
    joined, watch = world(), Watch(dist.get_rank(), dist.get_world_size())
    watch.start()
    with _lingering(), joined.shared_fate():
        yield joined
    watch.leave()
    dist.destroy_process_group()  # not after a failure: it could wait for a rank that is gone


def _join() -> None:
    """Form the process group: by gloo for the CPU, by NCCL for CUDA.

    torchrun's store outlives a restart, with the addresses of ranks that are gone: on one machine,
    each attempt has its own part of it. Several machines do not count their restarts alike.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not shared or os.environ.get("GROUP_WORLD_SIZE") != "1":
        dist.init_process_group()
        return
    dist.init_process_group(
        store=Store.connect(_JOIN).store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


@contextmanager
def _lingering() -> Iterator[None]:
    """Delay exit on SIGTERM for 5 s, so that the first failure can be reported.

    torchrun sends the signal to all ranks as soon as one fails.
    """

    def handle(number: int, frame: Any) -> None:
        timer = threading.Timer(_GRACE, os._exit, [128 + number])
        timer.daemon = True
        timer.start()

    before = signal.signal(signal.SIGTERM, handle)
    yield
    signal.signal(signal.SIGTERM, before)  # not after a failure: it is reported after the block
