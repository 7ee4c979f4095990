"""The command line. The only floor that prints, exits and turns errors into exit codes."""

from __future__ import annotations

import logging
import sys
from importlib import import_module

import click

from vaeflow import __version__
from vaeflow.errors import VaeflowError, did_you_mean

# Each command lives in a module of its name and is imported only when it is asked for.
_COMMANDS = {
    "train": "Train a model and evaluate it.",
    "resume": "Continue an interrupted run, bit for bit.",
    "evaluate": "Estimate the ELBO and the NLL of a trained model.",
    "sample": "Draw from a trained model.",
    "reconstruct": "Encode and decode held-out data.",
    "list": "List the parts that can be chosen by name.",
    "info": "Explain one part and its options.",
    "plugins": "List the installed plugins.",
}


# No code below may call `list`: importing the command of that name binds its module to it here.


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"vaeflow.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0][:1].isalnum() and args[0] not in _COMMANDS and not ctx.resilient_parsing:
            ctx.fail(
                f"{args[0]}: unknown command{did_you_mean(args[0], _COMMANDS)}; "
                f"there are {', '.join(_COMMANDS)}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*_COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: vaeflow train --posterior planar",
)
@click.version_option(__version__, prog_name="vaeflow")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Variational autoencoders with normalizing-flow posteriors."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, or the `exit_code` of the error."""
    argv = sys.argv[1:] if argv is None else argv
    # --debug is understood anywhere on the line.
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    logging.basicConfig(format="%(levelname)s: %(message)s", level="DEBUG" if debug else "WARNING")
    logging.getLogger().setLevel("WARNING")
    logging.getLogger("vaeflow").setLevel("DEBUG" if debug else "WARNING")
    try:
        code = cli.main(argv, prog_name="vaeflow", standalone_mode=False)
    except VaeflowError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    except BrokenPipeError:  # | head
        sys.stderr.close()
        code = 0
    except OSError as error:
        if debug:
            raise
        click.echo(f"Error: the output cannot be written ({error.strerror or error})", err=True)
        code = 8
    sys.exit(code if isinstance(code, int) else 0)
