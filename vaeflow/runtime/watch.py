"""The watch of a rank over the others and over torchrun: who is stopped, killed or orphaned.

A stopped process keeps its connections: without a watch, the others wait for it in the next sum for
as long as torch does, which is half an hour. A killed torchrun leaves its ranks training.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

BEAT = 2.0  # seconds between two looks
# Looks without a sign of life. They are counted, not timed: after a suspended machine or job goes
# on, the watch has missed what the watched one has missed.
LOOKS = 15
GRACE = 30.0  # seconds for an orphan to save its checkpoint, as many as torchrun gives
_FAILURE = "vaeflow/failure"
_LEFT = b"left"


class Store:
    """What the ranks write down for each other, in the store of torchrun.

    Arguments:
        store: a connection of its own, for one thread.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    @classmethod
    def connect(cls, seconds: float = 10.0) -> Store:
        """Connect to torchrun's store. Each attempt after a restart begins with an empty one.

        Arguments:
            seconds: to wait for the store, and for a word in it.

        Raises:
            RuntimeError: if it cannot be reached.
        """
        if not dist.is_torchelastic_launched():  # a process group of somebody else's
            return cls(dist.distributed_c10d._get_default_store())
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        made: Any = dist  # whose stores its annotations leave out
        tcp = made.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=seconds))
        return cls(made.PrefixStore(f"vaeflow/attempt {attempt}", tcp))

    def enter(self, rank: int) -> None:
        """Tell which process this rank is."""
        pid = os.getpid()
        self.store.set(f"rank {rank}", f"{pid} {_born(pid)} {_place()}")

    def fail(self, rank: int, code: int, told: str) -> tuple[int, int, str]:
        """Write a failure down, if it is the first; return the first one's rank, code and text."""
        mine = f"{rank} {code} {told}"
        first = self.store.compare_set(_FAILURE, "", mine).decode()
        number, status, text = first.split(" ", 2)
        return int(number), int(status), text

    def failure(self) -> tuple[int, int, str] | None:
        """Return the first failure, if there is one."""
        return self.fail(-1, 0, "") if self.store.check([_FAILURE]) else None

    def process(self, rank: int) -> tuple[int, bool] | None:
        """Return the number of a rank's process and whether it lives, None if it is elsewhere."""
        if not self.store.check([f"rank {rank}"]):
            return None
        pid, born, place = self.store.get(f"rank {rank}").decode().split(" ", 2)
        if place != _place():
            return None
        return int(pid), _born(int(pid)) == born

    def gone(self, ranks: int, seconds: float) -> tuple[int, int, str] | None:
        """Return the failure that made this rank lose another one, or the rank that is dead.

        A rank that fails writes it down before it ends. One that was killed is looked for among
        the processes of this machine.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.failure():
                return found
            for rank in range(ranks):
                process = self.process(rank)
                if process is not None and not process[1]:
                    told = f"process {process[0]} is gone without a word, killed or out of memory"
                    return self.fail(rank, 9, told)
            time.sleep(0.05)
        return None


class Watch(threading.Thread):
    """A thread that looks at torchrun and, in a ring, at the next rank.

    Arguments:
        rank: this process's.
        count: of all ranks.
    """

    def __init__(self, rank: int, count: int) -> None:
        super().__init__(name="vaeflow watch", daemon=True)
        self.rank = rank
        self.next = (rank + 1) % count
        self.parent = os.getppid()
        self._store: Store | None = Store.connect()
        self._store.enter(rank)
        self._leaving, self._left = threading.Event(), threading.Event()

    def run(self) -> None:
        """Look, until the process ends."""
        silent, seen, beats = 0, b"", 0
        while True:
            if self._store is None:
                time.sleep(BEAT)
            else:
                self._leaving.wait(BEAT)
            if os.getppid() != self.parent:
                _be_orphaned()
            beats += 1
            word = self._exchange(str(beats))
            silent = silent + 1 if word == seen not in (b"", _LEFT) else 0
            seen = word
            if silent == LOOKS:
                with suppress(RuntimeError):  # the store is gone, which the next look tells
                    self._end_the_silent()

    def leave(self) -> None:
        """Tell that this rank leaves the others, and look at torchrun alone from now on."""
        self._leaving.set()
        self._left.wait(BEAT)

    def _exchange(self, beat: str) -> bytes:
        """Give a sign of life, and return the newest of the next rank."""
        if self._store is None:
            return _LEFT
        store, last = self._store.store, self._leaving.is_set()
        try:
            store.set(f"beat {self.rank}", _LEFT.decode() if last else beat)
            if not last:
                return store.get(f"beat {self.next}") if store.check([f"beat {self.next}"]) else b""
        except RuntimeError:  # torchrun's store is gone: so is torchrun, or it will tell
            pass
        self._store = None
        self._left.set()
        return _LEFT

    def _end_the_silent(self) -> None:
        """Kill a rank that gives no sign, so that no other waits for it."""
        assert self._store is not None
        process = self._store.process(self.next)
        told = f"it has given no sign for {BEAT * LOOKS:.0f} s: its process is stopped or cut off"
        self._store.fail(self.next, 9, told)
        if process is None:  # on another machine: this rank can but leave itself
            os._exit(9)
        if process[1]:
            with suppress(ProcessLookupError):
                os.kill(process[0], signal.SIGKILL)


def _be_orphaned() -> None:
    """Stop as at a signal to stop; torchrun, which is gone, cannot kill a rank that does not."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _place() -> str:
    """Return where numbers of processes are those of this one: its machine, or its container."""
    told = [platform.node()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        told.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(told)


def _born(pid: int) -> str:
    """Return when a process began, "dead" of one that is none; its number may come again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "dead"
        except OSError:
            pass
        return "unknown"  # a system without /proc
    state, *rest = fields.rpartition(")")[2].split()
    return "dead" if state in "ZX" else rest[18]
