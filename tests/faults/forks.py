"""Children that die: the parent has imported torch and vaeflow once, and each case forks from it.

A fork takes a twentieth of a second, where a new interpreter with torch takes three.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import torch._dynamo  # noqa: F401, an optimizer imports it, which takes seconds

RAISED = 70  # the exit code of a child whose work raised; its traceback is in `output`
_to_parent: Connection | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    status: int  # its exit code, or the negative number of the signal that killed it
    value: Any  # what its work returned, or None
    output: str  # stdout and stderr, in their order
    heard: list[Any] = field(default_factory=list)  # what it said and nobody had read


class Child:
    """A forked process that runs `work(*arguments)`; a test kills it, starves it or waits for it.

    Arguments:
        work: called in the child, where closures and patches of the test are as they were. What it
            returns or says is sent by pickle.
    """

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115, the fixture `fork` closes it
        self._ended: Ended | None = None
        self._from_child, to_parent = Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Threads that wait in the parent, such as execnet's, are not missed in a child.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _be_child(self.output.fileno(), to_parent, work, arguments)
        to_parent.close()

    def hear(self, timeout: float = 60) -> Any:
        """Return the next thing that the child says.

        Raises:
            AssertionError: if it ends, or `timeout` seconds pass, before it says anything.
        """
        try:
            if self._from_child.poll(timeout):
                tag, value = self._from_child.recv()
                assert tag == "said", f"the child returned {value!r} and said nothing"
                return value
        except EOFError:
            raise AssertionError(f"the child ended and said nothing: {self._written()}") from None
        raise AssertionError(f"the child says nothing in {timeout} s: {self._written()}")

    def signal(self, number: int) -> None:
        """Send a signal, unless the child has ended."""
        if self._ended is None:
            os.kill(self.pid, number)

    def kill(self) -> Ended:
        """Send SIGKILL and wait."""
        self.signal(signal.SIGKILL)
        return self.end()

    def end(self, timeout: float = 60) -> Ended:
        """Wait until the child has ended.

        Raises:
            AssertionError: if it has not after `timeout` seconds; it is killed then.
        """
        if self._ended is None:
            messages, deadline, late = [], time.monotonic() + timeout, False
            while not (pid_status := os.waitpid(self.pid, os.WNOHANG))[0]:
                messages += self._messages()  # a full pipe would stop the child
                if not late and time.monotonic() > deadline:
                    late = True
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.002)
            messages += self._messages()
            values = [value for tag, value in messages if tag == "returned"]
            self._ended = Ended(
                os.waitstatus_to_exitcode(pid_status[1]),
                values[0] if values else None,
                self._written(),
                [value for tag, value in messages if tag == "said"],
            )
            assert not late, f"the child had not ended after {timeout} s: {self._ended.output}"
        return self._ended

    def _messages(self) -> list[tuple[str, Any]]:
        found = []
        try:
            while self._from_child.poll():
                found.append(self._from_child.recv())
        except (EOFError, OSError):  # a killed child may leave half a message
            pass
        return found

    def _written(self) -> str:
        descriptor = self.output.fileno()  # whose position is the child's too
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def say(value: Any) -> None:
    """Tell the parent something, from within a child."""
    assert _to_parent is not None, "only a child has a parent to tell"
    _to_parent.send(("said", value))


def _be_child(
    output: int, to_parent: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Do the work, and end without the exit handlers of the parent's process."""
    global _to_parent
    status = RAISED
    try:
        _to_parent = to_parent
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (
            open(fd, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
            for fd in (1, 2)
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import torch

        torch.set_num_threads(1)  # the parent's threads are not in a child
        to_parent.send(("returned", work(*arguments)))
        status = 0
    except SystemExit as ended:
        code = ended.code
        status = code if isinstance(code, int) else int(code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
