"""`vaeflow tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.part_options import PartsCommand, command_line_layer, read_base
from vaeflow.cli.voice import say

if TYPE_CHECKING:
    from vaeflow.benchmark.engines import Outcome
    from vaeflow.plugins.loading import Plugins
    from vaeflow.tuning.study import Trial
    from vaeflow.tuning.tune import Tuned


@click.command(
    "tune",
    cls=PartsCommand,
    epilog="Example: vaeflow tune --posterior planar --tune posterior.steps=4..32 "
    "--tune lr=1e-4..1e-2:log --out studies/first",
)
@shared.recipe
@shared.config
@shared.assignments
@click.option(
    "--tune",
    "ranges",
    multiple=True,
    metavar="KEY=RANGE",
    help="A setting, or KIND.OPTION, and its numbers 4..32, 1e-4..1e-2:log or values planar,iaf; "
    "KEY alone is all that an option of few values has. Can be given several times.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many trials there are in the end, those of before included.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("studies/first"),
    show_default=True,
    help="The directory of the search, with a run directory of each trial.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Trials at a time; each gets its share of the cores.",
)
@shared.engine
@click.option("--trial", type=int, hidden=True, help="Do one trial in this process.")
@shared.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    recipe: str | None,
    config: Path | None,
    ranges: tuple[str, ...],
    trials: int,
    out: Path,
    jobs: int,
    engine: str,
    trial: int | None,
    as_json: bool,
    **params: Any,
) -> int:
    """Search for the options with the best ELBO on the validation data.

    Each trial trains a run, with values that Optuna draws by what is known of the others. One whose
    ELBO lies below the median of the others at the same epoch is pruned. Test data decides nothing.
    The same command again goes on where it was interrupted, and more --trials add some.
    """
    from vaeflow.plugins.loading import load_plugins

    plugins = load_plugins(ctx.obj)
    if trial is not None:
        return _one(out, trial, plugins, params["threads"])

    from vaeflow.cli.signals import Stop, interruptible
    from vaeflow.tuning.search import Search
    from vaeflow.tuning.tune import run_search

    given = dict(_read(item) for item in ranges)
    line = command_line_layer(ctx, params)
    search = Search.of(read_base(recipe, config), line, given, plugins)
    stop = Stop()

    def begin(left: int, total: int) -> None:
        ready = f"{_trials(total)} in {out}, {total - left} done"
        say(f"{ready}; their output is in {out / 'logs'}")

    with interruptible(stop):
        tuned = run_search(
            out,
            search,
            plugins,
            trials=trials,
            jobs=jobs,
            engine=engine,
            stop=stop,
            tell=lambda trial, outcome: say(_line(trial, outcome)),
            begin=begin,
        )
    _report(tuned, as_json)
    if stop.code:
        return stop.code
    return 0 if tuned.best is not None and not tuned.count("unfinished") else 1


def _read(item: str) -> tuple[str, str | None]:
    """Return the name and the range of --tune; a name alone stands for all values."""
    key, equals, text = item.partition("=")
    if not key.strip() or (equals and not text.strip()):
        raise click.UsageError(
            f"--tune {item}: write KEY=RANGE, as in --tune posterior.steps=4..32"
        )
    return key.strip(), text.strip() if equals else None


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _one(out: Path, number: int, plugins: Plugins, threads: str | None) -> int:
    """Do one trial, as the process that an engine starts."""
    from vaeflow.cli.progress import watch
    from vaeflow.cli.signals import Stop
    from vaeflow.tuning.trial import run_trial

    stop = Stop()
    share = None if threads is None else int(threads)
    found = run_trial(out, number, plugins, watch(stop), threads=share)
    click.echo(f"trial {number}: {found.state}")
    return stop.code


def _line(trial: Trial, outcome: Outcome) -> str:
    """Return the line of a trial that ended."""
    from vaeflow.tuning.study import name_of
    from vaeflow.tuning.tune import told

    value = "" if trial.value is None else f" with {trial.value:.2f}"
    ended = {
        "complete": f"complete{value}",
        "pruned": f"pruned after epoch {trial.epochs}{value}",
    }.get(trial.state, f"{trial.state}: {outcome.error or 'it was stopped'}")
    drawn = f" ({told(trial)})" if trial.values else ""
    return f"{name_of(trial.number)}{drawn} {ended} ({outcome.seconds:.0f} s)"


def _report(tuned: Tuned, as_json: bool) -> None:
    """Print the best trial and its command."""
    from vaeflow.tuning.tune import told

    if as_json:
        click.echo(json.dumps(tuned.as_dict(), indent=2))
    if tuned.count("unfinished"):
        click.echo(f"{tuned.counts}; the same command goes on there.", err=True)
    if as_json:
        return
    best = tuned.best
    if best is None and tuned.count("unfinished"):
        return
    if best is None:
        click.echo(f"No trial was completed ({tuned.counts}): try other ranges.", err=True)
        return
    click.echo(f"best of {_trials(len(tuned.trials))} ({tuned.counts}): {told(best)}")
    click.echo(f"validation {tuned.selected_by} {best.value:.2f} nats; the run is {best.run}")
    click.echo(f"\nTrain with these values:\n  {tuned.command}")
