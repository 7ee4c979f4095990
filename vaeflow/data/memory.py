"""How much memory is free for data, on a device and on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

_SHARE = 0.5  # of the free memory, which data may take


def fits(nbytes: int, device: torch.device) -> bool:
    """Tell whether data of so many bytes leaves the memory of a device half free."""
    return nbytes <= _SHARE * free_memory(device)


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device; MPS and the CPU share the machine's memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return max(0, min(_bounds()))


def _bounds() -> Iterator[int]:
    """Yield what the machine, its control group and the limits of the process leave."""
    yield _available()
    yield from _group()
    yield from _limits()


def _available() -> int:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, ValueError, OSError):  # not Linux: half of what there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return sys.maxsize


def _group() -> Iterator[int]:
    """Yield what a container's control group leaves: cached files are given back."""
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield most - used + {name: int(value) for name, value in lines}["file"]


def _limits() -> Iterator[int]:
    """Yield what the limits of the process leave, as `ulimit` sets them."""
    with suppress(ImportError, OSError, KeyError):
        import resource

        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        used = {words[0]: 1024 * int(words[1]) for words in lines if words[-1] == "kB"}
        for limit, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
            most, _ = resource.getrlimit(limit)
            if most != resource.RLIM_INFINITY:
                yield most - used[name]
