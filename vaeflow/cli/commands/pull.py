"""`vaeflow pull`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pull", epilog="Example: vaeflow pull ./first-for-the-hub runs/pulled")
@click.argument("source", metavar="NAMESPACE/NAME|./FOLDER")
@click.argument("run_dir", required=False, type=click.Path(path_type=Path))
@click.option("--revision", help="A commit, a branch or a tag.  [default: the newest commit]")
def command(source: str, run_dir: Path | None, revision: str | None) -> None:
    """Fetch a run from the Hugging Face Hub to RUN_DIR, by default runs/NAME.

    Only files of a run are taken: TOML, JSON and safetensors. A repository that holds anything
    else, a link, or a damaged file is refused, and the file is named. A source that begins with ./
    or / is a folder that `vaeflow push` wrote.
    """
    from vaeflow.cli.voice import say
    from vaeflow.hub.hub import pull

    run = pull(source, run_dir, revision=revision)
    say(f"pulled {source} to {run.path}")
