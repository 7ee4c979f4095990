"""The command line. The only floor that prints, exits and turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from vaeflow.cli.plugin_commands import CommandLine
from vaeflow.cli.selection import selection_of
from vaeflow.cli.streams import lasting_streams
from vaeflow.cli.voice import DEBUG, QUIET, VERBOSE, Voice, speaking, voice
from vaeflow.errors import ConfigError, VaeflowError, in_shell, is_utf8, printable
from vaeflow.version import __version__


@click.group(
    cls=CommandLine,
    package="vaeflow.cli.commands",
    summaries={
        "train": "Train a model and evaluate it.",
        "data": "Tell what data is, and how to train with it.",
        "resume": "Continue an interrupted run, bit for bit.",
        "evaluate": "Estimate the ELBO and the NLL of a trained model.",
        "benchmark": "Train and evaluate a grid of models, and compare them.",
        "tune": "Search for the options with the best validation ELBO.",
        "compare": "Compare finished runs, with standard errors and intervals.",
        "curves": "Draw the learning curves of runs as one picture.",
        "diagnose": "Tell where the gap between log p(x) and the ELBO is.",
        "verify": "Check the files of a run by their checksums.",
        "sample": "Draw from a trained model.",
        "reconstruct": "Encode and decode held-out data.",
        "encode": "Write the latent codes of data.",
        "score": "Score each example by log p(x): which are strange?",
        "latent": "Draw the codes of data by their labels, or the manifold.",
        "interpolate": "Walk from one example to another, and decode the steps.",
        "traverse": "Change one latent dimension at a time, and decode the steps.",
        "impute": "Fill in missing values, with their spread.",
        "export": "Write a part of a model as a program of its own.",
        "push": "Put a run on the Hugging Face Hub.",
        "pull": "Fetch a run from the Hugging Face Hub.",
        "tensorboard": "Show runs in TensorBoard, on this machine alone.",
        "list": "List the parts that can be chosen by name.",
        "info": "Explain one part and its options.",
        "plugins": "List, explain, check and write plugins.",
        "doctor": "Tell whether this machine is ready, and what mends it.",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="These options are understood anywhere on the line. $VAEFLOW_PLUGINS lists the only "
    "plugins to load, $VAEFLOW_DISABLE_PLUGINS the plugins to leave out. "
    "Start with: vaeflow train --posterior planar",
)
@click.version_option(__version__, prog_name="vaeflow")
@click.option(*QUIET, is_flag=True, help="Print results and errors alone.")
@click.option(*VERBOSE, is_flag=True, help="Tell every step.")
@click.option(*DEBUG, is_flag=True, help="Tell every step, and show the traceback of an error.")
@click.option("--no-plugins", is_flag=True, is_eager=True, help="Load no installed plugin.")
@click.option(
    "--strict-plugins",
    is_flag=True,
    is_eager=True,
    help="Stop if a plugin fails, instead of warning.",
)
@click.option(
    "--plugin",
    "files",
    multiple=True,
    is_eager=True,  # as all that --help reads
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="Load a plugin from a file; can be given several times.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    quiet: bool,
    verbose: bool,
    debug: bool,
    no_plugins: bool,
    strict_plugins: bool,
    files: tuple[Path, ...],
) -> None:
    """Variational autoencoders with normalizing-flow posteriors."""
    if quiet and (verbose or debug):
        loud = "--debug" if debug else "--verbose"
        raise click.UsageError(
            f"--quiet and {loud} ask for less and for more: leave one of them out"
        )
    ctx.obj = selection_of(ctx)


# Turns of a waiting thread before it sleeps. With fewer, a quiet virtual machine spends time on
# waking threads up; with more, a busy neighbour costs more (benchmarks/results/contention.md).
SPIN = {"GOMP_SPINCOUNT": "10000"}
_FLAGS = (*QUIET, *VERBOSE, *DEBUG, "--no-plugins", "--strict-plugins")


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, or the `exit_code` of the error."""
    argv = sys.argv[1:] if argv is None else argv
    how = Voice.of(argv)
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0":
        _hush(errors=not how.debug)
    _log_to_stderr("CRITICAL" if "_VAEFLOW_COMPLETE" in os.environ else how.level)
    _wait_politely()
    with in_shell(), lasting_streams(), speaking(how):
        code = _answer(argv, how.debug)
    sys.exit(code)


def _answer(argv: list[str], debug: bool) -> int:
    """Run a command and print its error, if it has one; return the exit code."""
    try:
        _check_names(argv)
        code = cli.main(_options_first(argv), prog_name="vaeflow", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is told here, instead of by Python at the exit
        return code if isinstance(code, int) else 0
    except VaeflowError as error:
        if debug:
            raise
        # The first rank speaks for all; where it is the one that is gone, the next does.
        next_speaks = getattr(error, "rank", None) == 0 and os.environ.get("RANK") == "1"
        click.echo(f"Error: {error}", file=sys.__stderr__ if next_speaks else sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt) as error:  # click turns the latter into the former
        click.echo("Interrupted.", err=True)
        return getattr(error.__cause__ or error, "code", 130)
    except OSError as error:
        if debug:
            raise
        click.echo(f"Error: the output cannot be written ({error.strerror or error})", err=True)
        return 8


def _check_names(argv: list[str]) -> None:
    """Refuse a word that is not UTF-8, in which the files of a run keep names and paths."""
    for word in argv:
        if not is_utf8(word):
            raise ConfigError(
                f"{word}: its bytes are not UTF-8, as the files of a run keep names and paths: "
                "rename that file or folder"
            )


def _options_first(argv: list[str]) -> list[str]:
    """Move the options of `vaeflow` itself before the command, wherever they stand."""
    own: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _FLAGS or word.startswith("--plugin="):
            own.append(word)
        elif word == "--plugin":
            if (file := next(words, "--")).startswith("--"):
                raise click.UsageError("--plugin needs a file, as in --plugin my_flow.py")
            own += [word, file]
        else:
            rest.append(word)
    return own + rest


def _hush(*, errors: bool) -> None:
    """Say nothing: under torchrun the first rank speaks for all, and tells why another failed."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, open to the end
    if errors:
        sys.stderr = sys.stdout


def _wait_politely() -> None:
    """Let torch's threads soon sleep where they wait for each other; torch is not loaded yet.

    GNU's OpenMP has them spin for milliseconds. Where another process holds a core, a small step
    then takes several times as long.
    """
    if not {"OMP_WAIT_POLICY", *SPIN} & os.environ.keys():
        os.environ.update(SPIN)


class _Stderr(logging.Handler):
    """Writes to the standard error of the moment, which tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not voice().debug:
            return  # a traceback
        click.echo(f"{record.levelname.capitalize()}: {printable(self.format(record))}", err=True)


def _log_to_stderr(level: str) -> None:
    log = logging.getLogger("vaeflow")
    log.setLevel(level)
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr())
