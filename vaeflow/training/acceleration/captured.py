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
from vaeflow.runtime.noise import twisters
from vaeflow.training.step import Step, ignore

log = logging.getLogger("vaeflow")
_REHEARSALS = 3  # as in torch's notes on CUDA graphs


class Recorder(Protocol):
    """Records a call and replays it."""

    def rehearse(self, call: Callable[[], Tensor]) -> Tensor:
        """Call it as in a recording, and raise where a recording would fail."""
        ...

    def record(self, call: Callable[[], Tensor]) -> Callable[[], object]:
        """Record it without doing its work, and return its replay."""
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
        """Call it on a stream of its own, on which a wait for the device is an error."""
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
        """Record it, while other threads, such as TensorBoard's, may use the device."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            call()
        return graph.replay

    @contextmanager
    def harmless(self) -> Iterator[None]:
        """Put the generator back: after a failed recording, it refuses to draw."""
        before = self._generator.clone_state()
        try:
            yield
        except Exception:
            self._generator.graphsafe_set_state(before)
            raise


class _Recording:
    """The arguments and the result of the recorded step, always in the same memory."""

    def __init__(self, step: Step, index: Tensor, beta: Tensor) -> None:
        self._step = step
        self._index = index.clone()
        self._beta = beta.clone()
        self.loss = torch.zeros_like(beta)

    def take(self) -> Tensor:
        """Take a step on the current arguments."""
        self.loss = self._step(self._index, self._beta)
        return self.loss

    def set(self, index: Tensor, beta: Tensor) -> None:
        """Set the arguments of the next replay."""
        self._index.copy_(index)
        self._beta.copy_(beta)


class Captured:
    """A step, recorded once and then replayed, with the same numbers as the eager one.

    The first steps are taken eagerly, as rehearsals. So is an epoch's last, where it is smaller. A
    part that waits for the device or makes tensors of numbers cannot be captured; all steps are
    then taken eagerly, and a line says why.

    Arguments:
        step: the eager step.
        size: images of a batch.
        blame: names the part that cannot be captured.
        recorder: records and replays.
    """

    def __init__(self, step: Step, size: int, blame: Blame, recorder: Recorder) -> None:
        self._step = step
        self._size = size
        self._blame = blame
        self._recorder: Recorder | None = recorder  # None once the step could not be captured
        self._rehearsals = 0
        self._recording: _Recording | None = None
        self._replay: Callable[[], object] | None = None

    @property
    def recorded(self) -> bool:
        """Return whether steps are replayed by now."""
        return self._replay is not None

    def __call__(self, index: Tensor, beta: Tensor) -> Tensor:
        """Take one step, as `Step` does; the next one overwrites the loss."""
        if self._recorder is None or len(index) != self._size:
            return self._step(index, beta)
        if self._replay is None:
            self._rehearsals += 1
            if self._rehearsals == 1:  # it may compile, which waits
                return self._first(index, beta)
            try:
                with self._recorder.harmless(), self._no_second_look():
                    if self._rehearsals <= _REHEARSALS:
                        return self._recorder.rehearse(lambda: self._step(index, beta))
                    recording = _Recording(self._step, index, beta)
                    self._replay = self._recorder.record(recording.take)
                    self._recording = recording
            except Exception as error:
                return self._give_up(error)(index, beta)
        assert self._recording is not None
        self._recording.set(index, beta)
        self._replay()
        return self._recording.loss

    @contextmanager
    def _no_second_look(self) -> Iterator[None]:
        """Let a step that fails here fail as it is: the eager one that follows names the part."""
        fault, self._step.fault = self._step.fault, ignore
        try:
            yield
        finally:
            self._step.fault = fault

    def _first(self, index: Tensor, beta: Tensor) -> Tensor:
        """Take a step, and see whether it draws numbers that a graph would repeat."""
        before = twisters()
        loss = self._step(index, beta)
        for name, state in twisters().items():
            if not state.equal(before[name]):
                self._recorder = None
                log.warning(
                    "the step is not captured as a CUDA graph: a part draws from %s's generator, "
                    "whose numbers a graph would repeat",
                    {"python": "Python", "numpy": "NumPy"}[name],
                )
        return loss

    def _give_up(self, error: Exception) -> Step:
        """Say why the step cannot be captured, and return the eager step."""
        self._recorder = None
        why = f"{self._blame.named(error)} cannot be ({one_line(error)})"
        log.warning("the step is not captured as a CUDA graph: %s", why)
        return self._step
