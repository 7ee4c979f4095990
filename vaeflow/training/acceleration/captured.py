"""The step as one CUDA graph: one launch in place of hundreds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from vaeflow.errors import one_line
from vaeflow.runtime.blame import Blame
from vaeflow.training.step import Step

log = logging.getLogger("vaeflow")
_REHEARSALS = 3  # as torch's notes on CUDA graphs have it


class Recorder(Protocol):
    """What records a call and replays it."""

    def rehearse(self, call: Callable[[], Tensor]) -> Tensor:
        """Call it as it will be recorded; raise where that could not be."""
        ...

    def record(self, call: Callable[[], Tensor]) -> Callable[[], object]:
        """Record it without doing its work, and return what repeats it."""
        ...

    def harmless(self) -> AbstractContextManager[None]:
        """Put the state of the generator back if the block raises."""
        ...


class CUDAGraphs:
    """Records by `torch.cuda.graph`.

    Arguments:
        device: a CUDA device with its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.cuda.default_generators[device.index]

    def rehearse(self, call: Callable[[], Tensor]) -> Tensor:
        """Call it on a stream of its own, where a wait for the device is an error."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(side):
                result = call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
            torch.cuda.current_stream().wait_stream(side)
        return result

    def record(self, call: Callable[[], Tensor]) -> Callable[[], object]:
        """Record it; other threads, such as TensorBoard's, may meanwhile use the device."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            call()
        return graph.replay

    @contextmanager
    def harmless(self) -> Iterator[None]:
        """Put the generator back: a recording that fails leaves it refusing to draw."""
        before = self._generator.clone_state()
        try:
            yield
        except Exception:
            self._generator.graphsafe_set_state(before)
            raise


class Captured:
    """A step that is recorded once and then replayed, with the same numbers as the eager one.

    The first steps are taken eagerly, as rehearsals; so is any that differs from the recorded one:
    an epoch's last, which may be smaller, and whose gradient is measured. Where a part cannot be
    captured, for it waits for the device or makes tensors of numbers, all are; a line says why.

    Arguments:
        step: the eager step.
        size: images of a batch.
        blame: names the part that cannot be captured.
        recorder: records and replays.
    """

    def __init__(self, step: Step, size: int, blame: Blame, recorder: Recorder) -> None:
        self.step = step
        self.size = size
        self.blame = blame
        self.recorder = recorder
        self._rehearsed = 0
        self._fails = False
        self._replay: Callable[[], object] | None = None

    def __call__(self, index: Tensor, beta: Tensor, *, measure: bool = False) -> Tensor:
        """Take one step, as `Step` does; the loss is overwritten by the next."""
        if measure or self._fails or len(index) != self.size:
            return self.step(index, beta, measure=measure)
        if self._replay is None:
            self._rehearsed += 1
            if self._rehearsed == 1:  # it may compile, which waits
                return self.step(index, beta)
            try:
                with self.recorder.harmless():
                    if self._rehearsed <= _REHEARSALS:
                        return self.recorder.rehearse(lambda: self.step(index, beta))
                    self._record(index, beta)
            except Exception as error:
                self._fails = True
                why = f"{self.blame.named(error)} cannot be ({one_line(error)})"
                log.warning("the step is not captured as a CUDA graph: %s", why)
                return self.step(index, beta)
        assert self._replay is not None
        self._index.copy_(index)
        self._beta.copy_(beta)
        self._replay()
        return self._loss

    def _record(self, index: Tensor, beta: Tensor) -> None:
        self._index, self._beta = index.clone(), beta.clone()

        def call() -> Tensor:
            self._loss = self.step(self._index, self._beta)
            return self._loss

        self._replay = self.recorder.record(call)
