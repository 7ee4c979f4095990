"""`vaeflow push`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vaeflow.plugins.discovery import Selection


@click.command("push", epilog="Example: vaeflow push runs/first ./first-for-the-hub")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("to", metavar="NAMESPACE/NAME|./FOLDER")
@click.option("--private", is_flag=True, help="Make the repository private, if it is new.")
@click.pass_obj
def command(selection: Selection | None, run: Path, to: str, private: bool) -> None:
    """Put RUN on the Hugging Face Hub, with a model card and a picture of samples.

    The configuration, the figures and the newest checkpoint go there as they are: TOML, JSON and
    safetensors, no pickle, and no data. A target that begins with ./ or / is a new folder of this
    machine, into which the same files are written, to look at or to pull from.
    """
    from vaeflow.cli.voice import say
    from vaeflow.hub.hub import push
    from vaeflow.plugins.loading import load_plugins

    place = push(run, to, private=private, plugins=load_plugins(selection))
    say(f"pushed {run} to {shlex.quote(place)}")
