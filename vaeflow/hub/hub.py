"""Runs on the Hugging Face Hub, or in a folder that stands for a repository there."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vaeflow.errors import CheckpointError, ConfigError, StorageError, VaeflowError, one_line
from vaeflow.hub.card import card_of, samples_of
from vaeflow.hub.files import CARD, PICTURE, check_folder, check_manifests, check_names, files_of
from vaeflow.pictures import draw, is_drawable, write_png
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.load import span_of_run
from vaeflow.runs.paths import path_of, put_in_place
from vaeflow.runs.verify import is_whole, verify
from vaeflow.runtime.notebook import in_notebook
from vaeflow.runtime.progress import on_terminal
from vaeflow.storage import ensure_folder, flush_folder, temporary_name, write_file, writing

log = logging.getLogger("vaeflow")

_REPOSITORY = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)
_OLD = ["checkpoints/*", "evaluations/*", "diagnoses/*"]  # of an earlier push


def push(
    run: str | Path | Run,
    to: str | Path,
    *,
    private: bool = False,
    plugins: Plugins | None = None,
) -> str:
    """Put a run on the Hugging Face Hub, as `vaeflow push` does.

    Its configuration, figures and newest checkpoint go there as they are, with a model card and a
    picture of samples. The model and its data's names of columns and levels are in them, the data
    is not.

    Arguments:
        run: a run.
        to: "NAMESPACE/NAME" on the Hub; or a new folder of this machine, a `Path` or a text that
            begins with "." or "/", into which the same files are written.
        private: make the repository private, if it is new.
        plugins: where the run's parts are looked up; by default all that the environment selects.

    Returns:
        The address of the commit, or the path of the folder, as `pull` takes it.

    Raises:
        ConfigError: if the name or the folder cannot be used, or an extra is not installed.
        CheckpointError, PluginError: if the run cannot be loaded.
        StorageError: if the Hub or the file system refuses.
    """
    run = run if isinstance(run, Run) else Run.open(path_of(run, "push"))
    folder = local(to, "push")
    if folder is not None:
        _write(run, folder, f"./{folder.absolute().name}", plugins)
        return str(folder) if folder.is_absolute() or folder.parts[0] == ".." else f"./{folder}"
    api = _library().HfApi()
    with _bars(), tempfile.TemporaryDirectory(prefix="vaeflow-push-") as root:
        _write(run, Path(root) / "run", str(to), plugins)
        with _asked(str(to), "written"):
            api.create_repo(repo_id=str(to), private=private or None, exist_ok=True)
            commit = api.upload_folder(
                repo_id=str(to),
                folder_path=Path(root) / "run",
                commit_message="Upload a run of vaeflow",
                delete_patterns=_OLD,
            )
    return str(getattr(commit, "commit_url", None) or f"https://huggingface.co/{to}")


def pull(
    source: str | Path, run_dir: str | Path | None = None, *, revision: str | None = None
) -> Run:
    """Fetch a run from the Hugging Face Hub, as `vaeflow pull` does.

    Only the files of a run are taken, and nothing of them is executed. A repository with any other
    file, a link or a damaged checkpoint is refused.

    Arguments:
        source: "NAMESPACE/NAME" on the Hub; or a folder that `push` wrote, a `Path` or a text that
            begins with "." or "/".
        run_dir: the new run directory; by default runs/NAME.
        revision: a commit, a branch or a tag; by default the newest commit. The files are those of
            one commit, which the log tells.

    Returns:
        The run.

    Raises:
        ConfigError: if the name or the directory cannot be used, or an extra is not installed.
        CheckpointError: if it holds anything else than a whole run.
        StorageError: if the Hub or the file system refuses.
    """
    folder = local(source, "pull")
    name = folder.absolute().name if folder else str(source).rpartition("/")[2]
    path = Path(run_dir) if run_dir is not None else Path("runs") / name
    if path.exists() or path.is_symlink():
        raise ConfigError(f"pull: {path} exists, and nothing is overwritten: choose another")
    if folder is not None:
        if revision is not None:
            raise ConfigError(f"--revision {revision}: a folder has no revisions: leave it out")
        if not folder.is_dir():
            raise ConfigError(f"pull: there is no folder {folder}: give one that push wrote")
        return _take(str(source), folder, check_folder(str(source), folder), path)
    library = _library()
    with (
        _bars(),
        _asked(str(source), "read"),
        tempfile.TemporaryDirectory(prefix="vaeflow-pull-") as root,
    ):
        info = library.HfApi().repo_info(
            repo_id=str(source), revision=revision, files_metadata=True
        )
        sizes = {each.rfilename: getattr(each, "size", None) for each in info.siblings or ()}
        names = check_names(str(source), sizes)
        found = library.snapshot_download(
            repo_id=str(source), revision=info.sha, local_dir=root, allow_patterns=names
        )
        run = _take(str(source), Path(found), check_folder(str(source), Path(found), names), path)
    log.info("%s is at commit %s: --revision %s fetches the same again", source, info.sha, info.sha)
    return run


def local(place: str | Path, function: str) -> Path | None:
    """Return the folder that a place is, or None if it is a repository on the Hub.

    Raises:
        ConfigError: if it is neither.
    """
    if isinstance(place, Path) or place.startswith((".", "/", "~")):
        return Path(place).expanduser()
    if _REPOSITORY.fullmatch(place) and ".." not in place and "--" not in place:
        return None
    raise ConfigError(
        f"{function}: {place!r} is no repository: NAMESPACE/NAME is expected, or a folder, which "
        "begins with ./ or /"
    )


def _write(run: Run, folder: Path, name: str, plugins: Plugins | None) -> None:
    """Write what goes to the Hub into a new folder, which appears whole."""
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"push: {folder} exists, and nothing is overwritten: choose another")
    names = files_of(run)
    model = run.load(plugins=plugins)
    samples = samples_of(model).cpu()
    picture = is_drawable(model.data_shape) and not model.columns
    for option, value in run.settings().get("dataset", {}).items():
        if isinstance(value, str) and Path(value).is_absolute():
            log.warning("config.toml tells whoever reads it that dataset.%s is %s", option, value)
    with _appearing_whole(folder) as half:
        for each in names:
            _copy(run.path / each, half / each)
        if picture:
            write_png(draw(samples, span=span_of_run(run)), half / PICTURE)
        write_file(half / CARD, card_of(run, name, samples, picture=picture))
        with writing(folder):
            half.rename(folder)


def _take(source: str, folder: Path, names: list[str], path: Path) -> Run:
    """Copy a run's files to a new run directory, which appears whole and verified."""
    with _appearing_whole(path) as half:
        for each in names:
            _copy(folder / each, half / each)
        found = verify(Run.open(half))
        if not is_whole(found):
            bad = next(one for one in found if one.state in ("damaged", "missing"))
            why = f": {bad.why}" if bad.why else ""
            raise CheckpointError(f"{source}: {bad.name} is {bad.state}{why}; nothing is pulled")
        check_manifests(source, half, names)
        with writing(path):
            put_in_place(half, path)
            flush_folder(path.parent)
    return Run(path)


@contextmanager
def _appearing_whole(path: Path) -> Iterator[Path]:
    """Give the temporary name of a folder, which is removed if it fails; messages name `path`."""
    half = temporary_name(path)
    try:
        with writing(half):
            ensure_folder(half)
        yield half
    except BaseException as error:
        shutil.rmtree(half, ignore_errors=True)
        if isinstance(error, StorageError | CheckpointError):
            raise type(error)(error.written.replace(str(half), str(path))) from error
        raise


def _copy(source: Path, target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target, follow_symlinks=False)


def _library() -> Any:
    """Return huggingface_hub.

    Raises:
        ConfigError: if it is not installed.
    """
    if not find_spec("huggingface_hub"):
        raise ConfigError(
            "the Hub needs huggingface_hub: `pip install 'vaeflow[hub]'`, or give a folder that "
            "begins with ./"
        )
    import huggingface_hub

    return huggingface_hub


@contextmanager
def _bars() -> Iterator[None]:
    """Let the Hub's library show its bars where vaeflow shows its own."""
    from huggingface_hub import utils

    hide = not (on_terminal() or in_notebook() or utils.are_progress_bars_disabled())
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            utils.enable_progress_bars()


@contextmanager
def _asked(name: str, what: str) -> Iterator[None]:
    """Turn what goes wrong between here and the Hub into one sentence."""
    try:
        yield
    except VaeflowError:
        raise
    except Exception as error:  # of the library, of its requests, of the network
        first = one_line(error).split(" (Request ID")[0][:200]
        raise StorageError(
            f"{name} cannot be {what} on the Hub ({first}): check the name and the network, and "
            "log in by `hf auth login` if it is private or yours"
        ) from error
