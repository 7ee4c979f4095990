"""Whether this machine is ready for vaeflow: torch, devices, plugins, extras and folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from vaeflow.data.cache import default_folder
from vaeflow.parts.datasets.mnist import MNIST
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.storage import free_bytes
from vaeflow.version import __version__

State = Literal["ok", "note", "broken"]
_LITTLE = 2**30  # bytes that are free: a training writes checkpoints
_OTHERS = ("dev", "peers")  # extras of vaeflow's own tests
_BFLOAT16 = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: such as "torch".
        state: "ok"; "note", if something is absent that a run may do without; or "broken".
        found: in words.
        cure: of what is absent or broken, a command or what to do.
    """

    name: str
    state: State
    found: str
    cure: str = ""


@dataclass(frozen=True)
class Checkup:
    """All that was looked at, in its order."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing is broken."""
        return all(check.state != "broken" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        """Return a line for each check, and below it the cure of what is absent or broken."""
        wide = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.state:<7} {check.name:<{wide}}  {check.found}")
            if check.cure:
                lines.append(f"{'':<7} {'':<{wide}}  → {check.cure}")
        return "\n".join(lines)


def doctor(*, plugins: Plugins | None = None) -> Checkup:
    """Tell whether this machine is ready for vaeflow, as `vaeflow doctor` does.

    Nothing is changed, downloaded or computed; the plugins that the environment selects are loaded.

    Arguments:
        plugins: by default all that the environment selects.

    Returns:
        What was found: print it, or ask `checkup.healthy`.
    """
    plugins = plugins or load_plugins(quiet=True)
    looks = (_versions, _torch, _gpu, _cpu, lambda: _plugins(plugins), _packages, _folders, _mnist)
    return Checkup(tuple(check for look in looks for check in look()))


def _versions() -> Iterator[Check]:
    yield Check("vaeflow", "ok", __version__)
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _torch() -> Iterator[Check]:
    import torch

    build = "a CPU build"
    if torch.version.cuda:
        build = f"built for CUDA {torch.version.cuda}"
    elif torch.version.hip:
        build = f"built for ROCm {torch.version.hip}"
    yield Check("torch", "ok", f"{torch.__version__}, {build}")


def _gpu() -> Iterator[Check]:
    """Look for a GPU, and for a torch that can use it."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("gpu", "ok", f"{', '.join(names)}, by torch's CUDA")
    elif torch.backends.mps.is_available():
        yield Check("gpu", "ok", "Apple's, by torch's MPS")
    elif driver := nvidia_driver():
        built = torch.version.cuda
        version = torch.__version__.partition("+")[0]
        cure = f"pip install --force-reinstall torch=={version}"
        if platform.system() == "Windows":
            cure = "the page Get started of PyTorch tells the line of pip for Windows and CUDA"
        if built:
            cure = f"update the driver to one of CUDA {built}, or install a torch for an older CUDA"
        why = (
            f"torch is built for CUDA {built}, and cannot use it"
            if built
            else "torch is a CPU build"
        )
        yield Check("gpu", "broken", f"NVIDIA, driver {driver}, but {why}", cure)
    else:
        yield Check("gpu", "ok", "none: runs use the CPU")


def nvidia_driver(proc: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Return the version of the NVIDIA driver, with which a GPU is there; None without one."""
    with suppress(OSError):
        found = re.search(r"Kernel Module\D*([\d.]+)", proc.read_text("utf-8", "replace"))
        return found[1] if found else "of unknown version"
    if shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.split()[0] if done.stdout.split() else None
    return None


def _cpu() -> Iterator[Check]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags: set[str] = set()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = {*line.split()}
                break
    wide = [flag for flag in _BFLOAT16 if flag in flags]
    told = f"bfloat16 by {wide[0]}" if wide else "no bfloat16 of its own"
    if not flags:
        told = "bfloat16 unknown"
    threads = torch.get_num_threads()
    yield Check("cpu", "ok", f"{cores} cores, {threads} threads of torch, {told}")


def _plugins(plugins: Plugins) -> Iterator[Check]:
    if not plugins.found:
        yield Check("plugins", "ok", "none is installed")
    for plugin in plugins.found:
        name, found = f"plugin {plugin.distribution}", f"{plugin.version}, {plugin.state}"
        if plugin.state in ("failed", "incompatible"):
            cure = plugin.trouble.rpartition(": ")[2]
            yield Check(name, "broken", f"{found}: {plugin.reason}", cure)
        else:
            told = f": {plugin.reason}" if plugin.reason else ""
            yield Check(name, "ok", f"{found}{told}")
    for parts in plugins.conflicts():
        names = " and ".join(f"{part.distribution}/{part.name}" for part in parts)
        yield Check("plugins", "note", f"one name, several owners: {names}", "use the longer names")


def _packages() -> Iterator[Check]:
    """Look at what vaeflow requires, and at its extras."""
    try:
        required = [Requirement(text) for text in metadata.requires("vaeflow") or ()]
        extras = metadata.metadata("vaeflow").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "note", "vaeflow is not installed", "pip install vaeflow")
        return
    core = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    if wrong := [*filter(None, map(_misfit, core))]:
        cure = f"pip install --upgrade {' '.join(repr(str(r)) for r, _ in wrong)}"
        yield Check("packages", "broken", ", ".join(told for _, told in wrong), cure)
    else:
        yield Check("packages", "ok", f"all {len(core)} that vaeflow requires")
    for extra in (name for name in extras if name not in _OTHERS):
        own = [r for r in required if r.marker and r.marker.evaluate({"extra": extra})]
        wrong = [*filter(None, map(_misfit, [r for r in own if r not in core]))]
        if wrong:
            found = ", ".join(told for _, told in wrong)
            yield Check(f"extra {extra}", "note", found, f"pip install 'vaeflow[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _misfit(required: Requirement) -> tuple[Requirement, str] | None:
    """Return a requirement that is not fulfilled, and how."""
    try:
        version = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return required, f"{required.name} is not installed"
    if required.specifier.contains(version, prereleases=True):
        return None
    return required, f"{required.name} is {version}, but {required.specifier} is required"


def _folders() -> Iterator[Check]:
    data = os.environ.get("VAEFLOW_DATA")
    if data and not Path(data).is_dir():
        cure = "make it, or unset VAEFLOW_DATA"
        yield Check("data root", "broken", f"$VAEFLOW_DATA is {data}, which is no folder", cure)
    else:
        yield Check("data root", "ok", data or "$VAEFLOW_DATA is unset: data sets lie in the cache")
    for name, folder in (("cache", default_folder().parent), ("runs", Path("runs").absolute())):
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        free = free_bytes(nearest)
        found = f"{folder}, {free / 2**30:.1f} GB free"
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            cure = f"change the permissions of {nearest}, or the working directory"
            if name == "cache":
                cure = f"change the permissions of {nearest}, or set XDG_CACHE_HOME"
            yield Check(name, "broken", f"{folder} cannot be written", cure)
        elif free < _LITTLE:
            yield Check(name, "note", found, "make room: a training writes checkpoints")
        else:
            yield Check(name, "ok", found)


def _mnist() -> Iterator[Check]:
    if folder := MNIST.origin.folder_at_hand():
        yield Check("mnist", "ok", str(folder))
    elif os.environ.get("VAEFLOW_DATA"):
        cure = "put the files there, or unset VAEFLOW_DATA to download them"
        yield Check("mnist", "note", "$VAEFLOW_DATA holds no files of MNIST", cure)
    else:
        yield Check(
            "mnist", "ok", "not here yet: the first run that needs them downloads the files"
        )
