"""A disk that loses its power: what was not flushed is gone, or is there in part.

The model is POSIX's and no file system's: a file has the bytes of its last fsync, a folder the
names of its own. What was written since is kept or lost, names of one folder in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from system_calls import Call


@dataclass
class File:
    """The bytes that a file has, and those that it has after a loss of power."""

    now: bytes = b""
    durable: bytes = b""


@dataclass
class Folder:
    """The names in a folder, and the changes to them that are not on the disk yet."""

    now: dict[str, Any] = field(default_factory=dict)
    durable: dict[str, Any] = field(default_factory=dict)
    pending: list[Callable[[dict[str, Any]], Any]] = field(default_factory=list)

    def change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        change(self.now)
        self.pending.append(change)


class Disk:
    """The disk below `root` after calls that were logged, beginning with what lies there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _read(root)

    def find(self, path: Path) -> Any:
        node = self.top
        for part in path.relative_to(self.root).parts:
            node = node.now.get(part)
        return node

    def play(self, call: Call, *, flush: bool = True) -> None:
        """Do what a call did; an fsync only if `flush`."""
        path, target = call.path, call.target
        if call.name in ("open", "mkdir"):
            new = File() if call.name == "open" else Folder()
            self.find(path.parent).change(lambda names: names.update({path.name: new}))
        elif call.name == "write":
            self.find(path).now += call.data
        elif call.name in ("unlink", "rmdir"):
            self.find(path.parent).change(lambda names: names.pop(path.name, None))
        elif call.name in ("rename", "replace"):
            assert target is not None
            assert path.parent == target.parent

            def move(names: dict[str, Any]) -> None:
                if path.name in names:
                    names[target.name] = names.pop(path.name)

            self.find(path.parent).change(move)
        elif call.name == "fsync" and flush:
            _flush(self.find(path))

    def lose_power(self, to: Path, how: str, draw: Random) -> Path:
        """Write what is left to a new folder.

        Arguments:
            to: the folder.
            how: "nothing" that was not flushed is there; all "names" are, without their bytes; or
                "some", drawn at random.
            draw: draws them.
        """
        _write(self.top, to, how, draw)
        return to


def _read(path: Path) -> File | Folder:
    if path.is_file():
        return File(path.read_bytes(), path.read_bytes())
    names = {p.name: _read(p) for p in path.iterdir()}
    return Folder(names, dict(names))


def _flush(node: File | Folder) -> None:
    if isinstance(node, File):
        node.durable = node.now
    else:
        node.durable = dict(node.now)
        node.pending.clear()


def _write(node: File | Folder, to: Path, how: str, draw: Random) -> None:
    if isinstance(node, File):
        kept = node.durable
        if how == "some" and node.now != node.durable:
            kept = draw.choice(
                [node.durable, node.now, node.now[: len(node.now) // 2], bytes(len(node.now))]
            )
        to.write_bytes(kept)
        return
    to.mkdir(exist_ok=True)
    count = {"nothing": 0, "names": len(node.pending)}.get(how)
    count = draw.randint(0, len(node.pending)) if count is None else count
    names = dict(node.durable)
    for change in node.pending[:count]:
        change(names)
    for name, child in names.items():
        _write(child, to / name, how, draw)


def flushes(calls: Iterable[Call]) -> list[int]:
    """Return the numbers of the calls that flush."""
    return [n for n, call in enumerate(calls) if call.name == "fsync"]
