"""What Weights & Biases is told of a training; wandb is imported if $WANDB_PROJECT is set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaeflow import hookimpl

FILES = ("config.toml", "environment.json", "metrics.jsonl", "summary.json")
CODES = {"completed": 0, "failed": 1, "interrupted": 255}  # 255 is what W&B calls killed
_runs: dict[Path, Any] = {}  # run directory -> the run on W&B


@hookimpl
def vaeflow_train_start(run_dir: Path, config: Mapping[str, Any]) -> bool | None:
    """Begin a run on W&B, or go on with the run of a training that is resumed."""
    if not (project := os.environ.get("WANDB_PROJECT")):
        return False
    import wandb

    about = json.loads((run_dir / "environment.json").read_text("utf-8"))
    own = about.get("run_id", run_dir.name)  # runs of vaeflow's first days have no id
    run = _runs[run_dir] = wandb.init(
        project=project,  # wandb itself reads its variables once
        id=os.environ.get("WANDB_RUN_ID", own),  # an agent of a sweep gives one
        name=os.environ.get("WANDB_NAME", run_dir.name),
        resume="allow",
        reinit="create_new",  # beside a run that the caller has open
    )
    options = {}  # by the names that they have on the command line
    for key, value in config.items():
        table = value.items() if isinstance(value, Mapping) else ()
        options |= {f"{key}.{option}": v for option, v in table} if table else {key: value}
    run.config.update(options, allow_val_change=True)
    return None


@hookimpl
def vaeflow_epoch_end(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Log the figures of an epoch."""
    _runs[run_dir].log(dict(record), step=record["step"])


@hookimpl
def vaeflow_picture(run_dir: Path, name: str, step: int, picture: Any) -> None:
    """Log a picture."""
    from wandb import Image

    _runs[run_dir].log({name: Image(picture)}, step=step)


@hookimpl
def vaeflow_train_end(run_dir: Path, status: str, summary: Mapping[str, Any]) -> None:
    """Put the final evaluation beside the run, keep its files, and tell how it ended."""
    from wandb import Artifact

    run = _runs.pop(run_dir)
    figures: dict[str, Any] = {"status": status}
    for name, estimate in summary.items():
        if isinstance(estimate, Mapping):  # "nll" has a mean, a standard error and more
            for what, number in estimate.items():
                figures[f"test/{name}" if what == "mean" else f"test/{name}_{what}"] = number
    run.summary.update(figures)
    files = Artifact(f"run-{run.id}", type="run")
    for path in (run_dir / name for name in FILES):
        if path.exists():
            files.add_file(str(path))
    # The newest checkpoint holds the best weights.
    newest = max((run_dir / "checkpoints").glob("step-*"), default=None)
    if newest and os.environ.get("WANDB_LOG_MODEL", "false").lower() not in ("", "0", "false"):
        files.add_dir(str(newest), name=f"checkpoints/{newest.name}")
    run.log_artifact(files)
    run.finish(exit_code=CODES[status])
