"""What MLflow is told of a training; mlflow is imported where one of its variables asks for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaeflow import hookimpl

FILES = ("config.toml", "environment.json", "metrics.jsonl", "summary.json")
STATES = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_runs: dict[Path, tuple[Any, Any]] = {}  # run directory -> MLflow's client and run


@hookimpl
def vaeflow_train_start(run_dir: Path, config: Mapping[str, Any]) -> bool | None:
    """Begin a run in MLflow, or go on with the run of a training that is resumed."""
    if not any(map(os.environ.get, ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"))):
        return False
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client = MlflowClient()
    run = _begun(client, run_dir)
    _runs[run_dir] = client, run
    options: dict[str, str] = {}  # by the names that they have on the command line
    for key, value in config.items():
        table = value if isinstance(value, Mapping) else {"": value}
        options |= {f"{key}.{option}".rstrip("."): str(v)[:6000] for option, v in table.items()}
    known = run.data.params
    new = [Param(name, text) for name, text in options.items() if name not in known]
    for i in range(0, len(new), 100):  # MLflow takes so many at a time
        client.log_batch(run.info.run_id, params=new[i : i + 100])
    for name in known.keys() & options:
        if known[name] != options[name]:  # of a parameter MLflow keeps the first value for ever
            client.set_tag(run.info.run_id, name, options[name])
    return None


def _begun(client: Any, run_dir: Path) -> Any:
    """Return the run of this directory, found by a tag with the id of the training."""
    from mlflow.exceptions import MlflowException

    about = json.loads((run_dir / "environment.json").read_text("utf-8"))
    own = about.get("run_id", run_dir.name)  # runs of vaeflow's first days have no id
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
    try:
        experiment = client.create_experiment(name)
    except MlflowException:  # it is there
        experiment = client.get_experiment_by_name(name).experiment_id
    found = client.search_runs([experiment], f"tags.`vaeflow.run_id` = '{own}'", max_results=1)
    if not found:
        return client.create_run(experiment, tags={"vaeflow.run_id": own}, run_name=run_dir.name)
    client.update_run(found[0].info.run_id, status="RUNNING")
    return found[0]


@hookimpl
def vaeflow_epoch_end(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Log the figures of an epoch; a training that was killed and resumed takes some again."""
    if record["epoch"] > _runs[run_dir][1].data.metrics.get("epoch", 0):
        _log(run_dir, record, record["step"])


def _log(run_dir: Path, figures: Mapping[str, Any], step: int = 0) -> None:
    from mlflow.entities import Metric

    client, run = _runs[run_dir]
    numbers = {name: float(x) for name, x in figures.items() if isinstance(x, int | float)}
    now = int(1000 * time.time())
    metrics = [Metric(name, number, now, step) for name, number in numbers.items()]
    client.log_batch(run.info.run_id, metrics=metrics)


@hookimpl
def vaeflow_picture(run_dir: Path, name: str, step: int, picture: Any) -> None:
    """Log a picture."""
    client, run = _runs[run_dir]
    client.log_image(run.info.run_id, picture, key=name, step=step)


@hookimpl
def vaeflow_train_end(run_dir: Path, status: str, summary: Mapping[str, Any]) -> None:
    """Log the final evaluation, keep the files, and tell how the run ended."""
    for name, told in summary.items():
        if isinstance(told, Mapping):  # "nll" has a mean, a standard error and more
            _log(run_dir, {f"test/{name}_{k}".removesuffix("_mean"): x for k, x in told.items()})
    client, run = _runs.pop(run_dir)
    for path in (run_dir / name for name in FILES):
        if path.exists():
            client.log_artifact(run.info.run_id, str(path))
    asked = os.environ.get("VAEFLOW_MLFLOW_LOG_MODEL", "false").lower()
    # The newest checkpoint holds the best weights.
    newest = max((run_dir / "checkpoints").glob("step-*"), default=None)
    if newest and asked not in ("", "0", "false"):
        client.log_artifacts(run.info.run_id, str(newest), f"checkpoints/{newest.name}")
    client.set_terminated(run.info.run_id, STATES[status])
