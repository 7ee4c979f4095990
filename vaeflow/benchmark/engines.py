"""Where the runs of a benchmark take place: processes of this machine, a Ray cluster, a plugin's.

An engine spreads calls of `run_one`, which starts `python -m vaeflow` for each step of a run, so
that a crash, or the system's killing a process for its memory, costs that run alone.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from vaeflow.config.way import Way
from vaeflow.errors import ConfigError, PluginError, VaeflowError, one_line
from vaeflow.plugins.registry import BUILTIN, Part
from vaeflow.storage import no_link, writing

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

Stop = Callable[[], int]  # asked again and again: not 0 where the benchmark is to stop
_POLL = 0.2  # seconds
_PROMPT = "$ vaeflow "  # before the words of a step, in a log
log = logging.getLogger("vaeflow")


class Work(Protocol):
    """What an engine spreads: commands of vaeflow, one behind the other.

    It can be pickled, as another process or machine is told of it.
    """

    @property
    def name(self) -> str:
        """Return what lines call it."""
        ...

    @property
    def log(self) -> Path:
        """Return the file of its output, which no two of them share."""
        ...

    @property
    def flags(self) -> tuple[str, ...]:
        """Return options of `vaeflow` itself."""
        ...

    @property
    def gpu(self) -> bool:
        """Tell whether it needs a GPU."""
        ...

    def steps(self) -> Iterator[list[str]]:
        """Yield the commands that are left to do, each once the one before has succeeded."""
        ...


@dataclass(frozen=True)
class Task:
    """A run to train and to evaluate, as another process or machine can be told of it."""

    name: str
    run: Path  # the run directory
    config: Path  # TOML
    log: Path
    way: Way  # of the evaluation
    flags: tuple[str, ...] = ()  # of `vaeflow` itself
    gpu: bool = False  # whether it needs one

    def steps(self) -> Iterator[list[str]]:
        """Yield the commands that are left to do, each once the one before has succeeded."""
        status = _json(self.run / "status.json")
        if status.get("state") != "completed" or not _json(self.run / "summary.json"):
            if (self.run / "environment.json").exists():
                yield ["resume", str(self.run)]
            else:  # killed while it made the directory, before it trained
                shutil.rmtree(self.run, ignore_errors=True)
                yield ["train", "--config", str(self.config), "--run-dir", str(self.run)]
        yield ["evaluate", str(self.run), *self.way.options]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task: `error` is None if it is done."""

    name: str
    seconds: float
    error: str | None = None
    interrupted: bool = False


Engine = Callable[[Sequence[Work], int, Stop], Iterator[Outcome]]


def run_one(task: Work, stop: Stop = lambda: 0) -> Outcome:
    """Do one piece of work: its commands, up to one that fails.

    The log is held meanwhile by this process and the one that it starts, which outlives a benchmark
    that is killed: the next benchmark waits for it, and goes on from its checkpoints.
    """
    began = time.monotonic()
    with writing(task.log):
        task.log.parent.mkdir(parents=True, exist_ok=True)
        log = open(task.log, "a", encoding="utf-8", opener=no_link)  # noqa: SIM115, closed below
    with log as out:
        _hold(out, stop)
        for words in task.steps():
            if stop():  # as this task's turn came, or between two of its steps
                return Outcome(task.name, time.monotonic() - began, interrupted=True)
            code = launch([*words, *task.flags], out, stop)
            if code != 0:
                interrupted = code in (130, 143, -signal.SIGINT, -signal.SIGTERM) or bool(stop())
                error = None if interrupted else trouble(task.log, code)
                if error is not None:
                    out.write(
                        f"Error: {error}\n"
                    )  # for the reader of the log, and for a comparison
                return Outcome(task.name, time.monotonic() - began, error, interrupted)
    return Outcome(task.name, time.monotonic() - began)


def launch(words: Sequence[str], out: IO[str], stop: Stop = lambda: 0) -> int:
    """Run `python -m vaeflow WORDS…`, its output added to a log; return its exit code.

    The process gets one SIGINT where this one is to stop, and time to write its checkpoint.
    """
    if hasattr(signal, "pthread_sigmask"):  # Ray's workers block it, and a child inherits that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    out.write(f"{_PROMPT}{' '.join(words)}\n")
    out.flush()
    # In a session of its own it does not get the terminal's Ctrl-C, which would be a second.
    process = subprocess.Popen(
        [sys.executable, "-m", "vaeflow", *words],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        start_new_session=True,
    )
    try:
        while not stop():
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                continue
    except KeyboardInterrupt:  # which is how Ray cancels
        _interrupt(process)
        raise
    return _interrupt(process)


def local(tasks: Sequence[Work], jobs: int, stop: Stop) -> Iterator[Outcome]:
    """Yield outcomes as they come, `jobs` processes of this machine at a time."""
    ending = False

    def ended() -> int:
        return ending or stop()

    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(run_one, task, ended) for task in tasks}
        try:
            while waiting and not stop():
                done, waiting = wait(waiting, _POLL, FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:  # the end of the pool waits for the processes to write their checkpoints
            ending = True
            for future in waiting:
                future.cancel()


def ray(tasks: Sequence[Work], jobs: int, stop: Stop) -> Iterator[Outcome]:
    """Yield outcomes as they come from a Ray cluster, or from Ray on this machine alone.

    A run asks Ray for 1/`jobs` of this machine's cores, and for a GPU if its device is one. The
    machines share the benchmark's directory and have vaeflow and its plugins installed.

    Raises:
        ConfigError: if Ray is not installed.
    """
    try:
        import ray as cluster
    except ImportError:
        raise ConfigError(
            "--engine ray: Ray is not installed; pip install 'vaeflow[ray]', or leave it out to "
            "run on this machine"
        ) from None
    ours = not cluster.is_initialized()
    if ours:
        cluster.init(log_to_driver=False)
    try:
        remote = cluster.remote(num_cpus=max(1, cores() // jobs), max_retries=0)(run_one)
        waiting = {remote.options(num_gpus=int(t.gpu)).remote(t): t for t in tasks}
        try:
            while waiting and not stop():
                done, _ = cluster.wait(list(waiting), timeout=_POLL)
                for ref in done:
                    task = waiting.pop(ref)
                    try:
                        yield cluster.get(ref)
                    except cluster.exceptions.RayError as error:  # such as a machine that is lost
                        yield Outcome(task.name, 0.0, one_line(error))
        finally:
            for ref in waiting:
                cluster.cancel(ref)
            if waiting:  # for the checkpoints
                cluster.wait(list(waiting), num_returns=len(waiting), timeout=60)
    finally:
        if ours:
            cluster.shutdown()


def spread(engine: Part, tasks: Sequence[Work], jobs: int, stop: Stop) -> Iterator[Outcome]:
    """Yield the outcomes that an engine has, by name: `plugins.require("engine", name)`.

    Raises:
        PluginError: if a plugin's engine fails, or yields what is no outcome.
    """
    outcomes: Engine = engine.load()
    cure = "the same command goes on by --engine local"
    try:
        for outcome in outcomes(tasks, jobs, stop):
            if not isinstance(outcome, Outcome):
                raise PluginError(f"{engine.owner} yields {outcome!r}, and no Outcome: {cure}")
            yield outcome
    except Exception as error:
        if isinstance(error, VaeflowError) or engine.distribution == BUILTIN:
            raise
        raise PluginError(f"{engine.owner} failed ({one_line(error)}): {cure}") from error


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def trouble(log: Path, code: int | None = None, *, otherwise: str | None = None) -> str:
    """Return why a task failed: the last error of its log, or the signal that ended it.

    Arguments:
        otherwise: the answer for a log without an error, in place of its last line.
    """
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = ": memory may have run out" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{memory}"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{log} cannot be read"
    begun = max((i for i, line in enumerate(lines, 1) if line.startswith(_PROMPT)), default=0)
    lines = [line for line in lines[begun:] if line.strip()]  # of the last step alone
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    if errors:
        return errors[-1]
    return otherwise or (lines[-1] if lines else "no word of why")


def _hold(out: IO[str], stop: Stop) -> None:
    """Wait until no other process holds a file, and hold it while it is open here or in a child."""
    waiting = False
    while fcntl is not None and not stop():
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not waiting:
                log.warning(
                    "%s is written by a process of another benchmark or search: waiting", out.name
                )
            waiting = True
            time.sleep(_POLL)
        except OSError:  # a file system without locks
            return


def _json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _interrupt(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait()
