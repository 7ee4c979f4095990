"""docs/writing-a-plugin.md, followed word for word in a new environment."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def shell(environment, wheel, tmp_path):
    """Run a command line of the page, without downloads."""
    made = environment()
    at = [tmp_path]

    def run(line):
        program, *words = shlex.split(line, comments=True)
        if program == "cd":
            at[0] = at[0] / words[0]
        elif line == "pip install -e '.[dev]'":
            made.install(wheel(at[0]))
        elif program == "vaeflow":
            return made.vaeflow(*words, cwd=at[0])
        else:
            assert words[0] == "-m"
            done = made.run(*words[1:], cwd=at[0])
            assert done.returncode == 0, done.stdout + done.stderr
        return ""

    run.at, run.environment = at, made
    return run


def test_the_page_leads_to_a_passing_check_and_a_run(shell):
    write, check, train = ([line for line in text.splitlines() if line] for text in blocks("sh"))
    for line in write:  # the scaffold's package
        shell(line)
    package, made = shell.at[0], shell.environment
    part = package / "vaeflow_cubic" / "posterior.py"
    code, _ = blocks("python")
    mistake = code.replace("log1p(3 *", "log1p(2 *")
    assert mistake != code
    assert "sinh" in part.read_text("utf-8")
    part.write_text(code, encoding="utf-8")
    (package / "tests" / "test_posterior.py").unlink()  # it tests the replaced part
    (contract,) = (text for text in blocks("py") if "contract(" in text)
    assert contract in (package / "tests" / "test_contract.py").read_text("utf-8")
    for line in ("pip install -e '.[dev]'", "python -m pytest"):
        shell(line)
    linted = subprocess.run([sys.executable, "-m", "ruff", "check", package], capture_output=True)
    assert linted.returncode == 0, linted.stdout
    (line,) = check
    part.write_text(mistake, encoding="utf-8")
    refused = made.run(*line.split(), cwd=package)
    assert refused.returncode == 6
    assert "✗ log_q_matches_the_jacobian: log q is off by" in refused.stdout
    part.write_text(code, encoding="utf-8")
    told = shell(line)
    assert re.search(r"\n\d+ verdicts: \d+ passed, \d+ not applicable\n$", told)
    assert "failed" not in told.splitlines()[-1]
    about, train = train
    assert "heavier tails" in shell(about)
    shell(train)
    (run,) = (package / "runs").iterdir()
    assert (run / "summary.json").is_file()
