"""The model card: README.md with a header that the Hub reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.data.units import in_units
from vaeflow.hub.files import PICTURE
from vaeflow.model import VAE
from vaeflow.plugins.registry import BUILTIN
from vaeflow.runs.directory import Run

_FIGURES = {  # of summary.json
    "elbo": "ELBO, nats",
    "nll": "NLL, nats",
    "bits_per_dimension": "bits per dimension",
    "kl": "KL(q‖p), nats",
    "squared_error": "squared error of reconstructions",
}
_ROWS = 5


def card_of(run: Run, name: str, samples: Tensor, *, picture: bool) -> str:
    """Return the text of README.md.

    Arguments:
        run: the run.
        name: of the repository, "NAMESPACE/NAME", or of the folder, "./NAME".
        samples: draws of the model (N, *data_shape).
        picture: whether samples.png shows them.
    """
    return "\n".join([*_header(run), *_body(run, name, samples, picture)]) + "\n"


def _header(run: Run) -> Iterator[str]:
    parts = run.environment["parts"]
    tags = ["variational-autoencoder", "vae", "generative-model"]
    tags += [_plain(parts[kind]["name"]) for kind in ("posterior", "prior")]
    yield "---"
    yield "library_name: vaeflow"
    yield "tags:"
    yield from (f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))
    yield "---"


def _body(run: Run, name: str, samples: Tensor, picture: bool) -> Iterator[str]:
    short = name.rpartition("/")[2]
    parts = run.environment["parts"]
    yield from ("", f"# {short}", "")
    posterior, prior = (_plain(parts[kind]["name"]) for kind in ("posterior", "prior"))
    yield (
        f"A variational autoencoder with the posterior {posterior} and the prior {prior}, trained "
        f"by vaeflow {run.environment['vaeflow']}."
    )
    yield from ("", "## Samples", "")
    if picture:
        yield f"![samples of the model]({PICTURE})"
    else:
        yield from _rows(run, samples)
    yield from ("", "## Use", "", "```sh", *_installs(parts), "```", "", "```python")
    yield from ("import vaeflow", "", f'vaeflow.pull("{name}", "runs/{short}")')
    yield from (f'model = vaeflow.load("runs/{short}")', "```", "")
    yield "The files are TOML, JSON and safetensors. None of them can execute code."
    yield from ("", "## Figures", "", *_figures(run), "", "## Parts", "")
    yield from ("| part | name | package |", "|---|---|---|")
    for kind, part in parts.items():
        yield f"| {kind} | {_plain(part['name'])} | {part['distribution']} {part['version']} |"
    yield from ("", "## Data", "", *_data(run), "", "## Train it again", "", *_again(run))


def _figures(run: Run) -> Iterator[str]:
    summary = run.summary
    known = {key: told for key, told in _FIGURES.items() if "mean" in (summary.get(key) or {})}
    if not known:
        yield "The run was not evaluated."
        return
    yield (
        f"Means over {summary['images']:,} examples of the {summary['split']} data, with their "
        "standard errors."
    )
    yield from ("", "| figure | mean | standard error |", "|---|---|---|")
    for key, told in known.items():
        number = summary[key]
        mean, error = number["mean"], number["standard_error"]
        digits = 2 if not error else min(8, max(0, 1 - math.floor(math.log10(error))))
        yield f"| {told} | {mean:.{digits}f} | {error:.{digits}f} |"


def _data(run: Run) -> Iterator[str]:
    about = run.environment
    sizes = ", ".join(
        f"{count:,} for {split}" for split, count in about["data_sizes"].items() if count
    )
    shape = " × ".join(map(str, about["data_shape"]))
    dataset = _plain(about["parts"]["dataset"]["name"])
    yield f"The data set {dataset}: {shape} values of each example, {sizes}."
    if found := about.get("data_sha256"):
        yield f"SHA-256 of its values: `{found}`."
    for told, columns in (("Columns", run.form.columns), ("Covariates", run.form.covariates)):
        if columns:
            each = ", ".join(f"{_cell(c.name)} ({c.kind})" for c in columns)
            yield f"{told}: {each}."


def _again(run: Run) -> Iterator[str]:
    dataset = run.settings()["dataset"]
    if _plain(dataset["name"]) == "given":
        yield "`vaeflow.fit` fitted it, with the settings and options of `config.toml`."
        return
    moved = " --dataset.path FILE" if "path" in dataset else ""
    yield from ("```sh", f"vaeflow train --config config.toml{moved} --run-dir again", "```", "")
    yield "`config.toml` holds every setting and every option; the seed repeats the run."


def _rows(run: Run, samples: Tensor) -> Iterator[str]:
    columns = run.form.columns
    if not columns:
        yield "The data is neither pictures nor signals, and is not drawn."
        return
    values = in_units(columns, samples[:_ROWS].numpy())
    yield "| " + " | ".join(map(_cell, values)) + " |"
    yield "|---" * len(values) + "|"
    for row in zip(*values.values(), strict=True):
        yield "| " + " | ".join(_cell(_number(value)) for value in row) + " |"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _installs(parts: dict[str, Any]) -> list[str]:
    others = {part["distribution"]: part["version"] for part in parts.values()}
    others.pop(BUILTIN, None)
    return [f"pip install {' '.join(['vaeflow', *(f'{n}=={v}' for n, v in others.items())])}"]


def _plain(name: str) -> str:
    return name.removeprefix(f"{BUILTIN}/")


def samples_of(model: VAE, count: int = 36) -> Tensor:
    """Return means of p(x|z) at draws of the prior, or draws of p(x|z) of a table's model.

    Covariates take their levels in turn; numbers are at their mean.
    """
    covariates = model.covariates
    turn = torch.arange(count)
    condition = None
    if covariates:
        each = [turn % len(c.levels) if c.levels else 0 * turn for c in covariates]
        condition = Examples(beside := torch.stack(each, 1).float(), beside)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return model.sample(count, mean=not model.columns, condition=condition)
