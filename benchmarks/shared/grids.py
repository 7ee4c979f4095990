"""For comparisons of posteriors: `vaeflow benchmark` on some grids, and one report."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from shared.common import RESULTS, machine, write_results


def vaeflow(*words: str) -> None:
    """Run a command of vaeflow's; one that fails ends the script."""
    print(shlex.join(["vaeflow", *words]), flush=True)
    with subprocess.Popen([sys.executable, "-m", "vaeflow", *words]) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the command got it too, and is saving its runs
            code = process.wait()
    if code:
        sys.exit(code)


def train_grids(work: Path, places: Sequence[Path], lines: Sequence[str]) -> float:
    """Train and evaluate the grid of each line in its place below `work`, or go on with it.

    Returns:
        The minutes that all calls took, of which some may have been cut off.
    """
    start = time.monotonic()
    for place, line in zip(places, lines, strict=True):
        vaeflow("benchmark", *shlex.split(line), "--out", str(place))
    spent = work / "minutes.txt"
    minutes = (time.monotonic() - start) / 60
    minutes += float(spent.read_text(encoding="utf-8")) if spent.exists() else 0
    spent.write_text(f"{minutes}\n", encoding="utf-8")
    return minutes


remark_option = click.option(
    "--remark", default="", help="Printed with the results, such as what else the machine did."
)


def compare_grids(
    name: str,
    claim: str,
    settings: str,
    grids: Sequence[str],
    *,
    work: Path,
    options: Sequence[str],
    script: str,
    remark: str = "",
) -> None:
    """Train and evaluate every grid below `work`, or go on with them; write results/NAME.*.

    Arguments:
        name: of the results.
        claim: the subject of the comparison, in a sentence.
        settings: the settings that all grids share, as the command line writes them.
        grids: the options that each varies.
        options: of the script's own command line, such as --seeds 5.
        script: that calls this.
        remark: a sentence on what else the machine did.
    """
    places = [work / f"grid{i}" for i in range(len(grids))]
    lines = [f"{grid} {settings} {shlex.join(options)}" for grid in grids]
    minutes = train_grids(work, places, lines)
    page = work / "page"
    vaeflow("compare", *map(str, places), "--out", str(page))
    report = (page / "report.md").read_text(encoding="utf-8")
    figures = json.loads((page / "report.json").read_text(encoding="utf-8"))
    shutil.copyfile(page / "report.png", RESULTS / f"{name}.png")
    commands = "\n".join(f"    vaeflow benchmark {line}" for line in lines)
    report = report.removeprefix("# Comparison").replace("](report.png)", f"]({name}.png)")
    text = (
        f"# {claim}\n\nMeasured by `python benchmarks/{script}.py`, which runs\n\n{commands}\n\n"
        f"and compares them, in {minutes:.0f} minutes. Machine: {machine()}. {remark}\n\n"
        f"{report.strip()}\n"
    )
    write_results(name, {"machine": machine(), "commands": lines, "report": figures}, text)
