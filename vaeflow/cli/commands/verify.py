"""`vaeflow verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from vaeflow.cli import options as shared


@click.command("verify", epilog="Example: vaeflow verify runs/first")
@click.argument("run", type=click.Path(path_type=Path))
@shared.as_json
def command(run: Path, as_json: bool) -> int:
    """Check the files of the run directory RUN by their checksums, and say which are whole.

    The exit code is 4 if a file is damaged or missing. Neither the model nor its data is loaded.
    """
    from vaeflow.cli.tables import print_checked
    from vaeflow.errors import CheckpointError
    from vaeflow.runs.directory import Run
    from vaeflow.runs.verify import is_whole, verify

    found = verify(Run.open(run))
    if as_json:
        files = [asdict(one) for one in found]
        click.echo(
            json.dumps({"run": str(run), "whole": is_whole(found), "files": files}, indent=2)
        )
    else:
        print_checked(found)
    return 0 if is_whole(found) else CheckpointError.exit_code
