"""docs/writing-a-plugin.md, followed word for word in a new environment."""

import re
import shlex
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "writing-a-plugin.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def shell(environment, wheel, tmp_path):
    """Run a command line as the page writes it; what differs is that nothing is downloaded."""
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

    run.at = at
    return run


def test_from_new_to_a_passing_check_and_a_training_run(shell):
    write, check, train = ([line for line in text.splitlines() if line] for text in blocks("sh"))
    for line in write:  # as the scaffold wrote it
        shell(line)
    package = shell.at[0]
    part = package / "vaeflow_cubic" / "posterior.py"
    code, _ = blocks("python")
    assert "sinh" in part.read_text("utf-8")
    part.write_text(code, encoding="utf-8")
    (package / "tests" / "test_posterior.py").unlink()  # of the part that was replaced
    (contract,) = (text for text in blocks("py") if "contract(" in text)
    assert contract in (package / "tests" / "test_contract.py").read_text("utf-8")
    for line in ("pip install -e '.[dev]'", "python -m pytest"):
        shell(line)
    (line,) = check
    told = shell(line)
    assert "✓ log_q_matches_the_jacobian" in told
    assert "failed" not in told.splitlines()[-1]
    about, train = train
    assert "heavier tails" in shell(about)
    shell(train)
    (run,) = (package / "runs").iterdir()
    assert (run / "summary.json").is_file()
