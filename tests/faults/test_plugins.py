"""Plugins that fail in each way that was thought of: each costs one sentence, and no checkpoint."""

import json
import os
import sys

import pytest

import vaeflow.cli.commands.train
import vaeflow.runs.experiment
import vaeflow.testing  # noqa: F401, the children need not import them
from vaeflow.cli import main
from vaeflow.plugins import containment
from vaeflow.runs.directory import Run

GOOD = """
import torch
from vaeflow import hookimpl
from vaeflow.distributions import DiagonalNormal
from vaeflow.parts import Posterior

class Twist(Posterior):
    \"\"\"A normal law.\"\"\"

    calls = 0

    def __init__(self, latent, features):
        super().__init__(latent, features)
        self.head = torch.nn.Linear(features, 2 * latent)

    def forward(self, h):
        {forward}
        return DiagonalNormal(*self.head(h).chunk(2, -1))

@hookimpl
def vaeflow_register_posteriors(register):
    register("twist", Twist)
"""
# What a plugin does as it is imported -> what is told.
AT_IMPORT = {
    "import no_such_module": "ModuleNotFoundError: No module named 'no_such_module'",
    "def vaeflow(:": "SyntaxError",
    "raise SystemExit(0)": "SystemExit: 0",
    "exit()": "SystemExit",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit": "GeneratorExit",
    "class Own(BaseException): pass\nraise Own('x')": "Own: x",
    "import os\nos._exit(0)": "SystemExit: it calls os._exit(0)",
    "from os import _exit\n_exit(3)": "SystemExit: it calls os._exit(3)",
    "import sys\nsys.stdout.close()": "RuntimeError: it closes std",
    "import os\nos.close(1)": "RuntimeError: it closes stdout",
    "import os\nos.close(2)": "RuntimeError: it closes stderr",
    "def f(): f()\nf()": "RecursionError",
    "raise MemoryError": "MemoryError",
    "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_epoch_ends(): pass": "unknown hook",
    GOOD.format(forward="pass") + '\n    register("twist", Twist)': "twice",
}


def work(words, cwd):
    """Run a command line in a child, whose stdout the harness needs at the end."""
    os.chdir(cwd)
    spare = os.dup(1)
    try:
        main(words)
    finally:
        os.dup2(spare, 1)


def small(grey_file, tiny, *words):
    return [
        "train", *map(str, tiny), "--no-tensorboard", "--dataset", "file",
        "--dataset.path", str(grey_file), "--run-dir", "run", *map(str, words),
    ]  # fmt: skip


def last_line(output):
    return output.strip().splitlines()[-1]


def test_a_plugin_that_fails_at_its_import_costs_one_sentence(
    plugin, fork, tmp_path, counted, amount, grey_file, tiny, one_sentence
):
    files = []
    for i, (code, told) in enumerate(AT_IMPORT.items()):
        name = f"bad{i}"
        file = tmp_path / f"{name}.py"
        file.write_text(code)
        plugin(f"vaeflow-{name}", code, module=f"vaeflow_{name}_module")
        files.append((file, told))
    # Installed, each is a warning, and all else goes on.
    ended = fork(work, ["list", "posterior"], tmp_path).end()
    assert ended.status == 0, ended.output
    lines = [line for line in ended.output.splitlines() if line.startswith("Warning: ")]
    for i, told in enumerate(AT_IMPORT.values()):
        (line,) = (x for x in lines if f"plugin vaeflow-bad{i} 1.0 failed to load (" in x)
        assert told in line, line
        one_sentence(line)
    # --no-plugins imports none.
    ended = fork(work, ["list", "posterior", "--no-plugins"], tmp_path).end()
    assert ended.status == 0
    assert "Warning" not in ended.output
    # Named as a file, it is an error.
    for file, told in files:
        words = ["--no-plugins", "--plugin", str(file), *small(grey_file, tiny)]
        ended = fork(work, words, tmp_path).end()
        assert ended.status == 6, (told, ended)
        error = last_line(ended.output)
        assert error.startswith(f"Error: --plugin {file} failed to load (")
        assert told in error
        one_sentence(error)
        assert not (tmp_path / "run").exists()
    counted("plugin that fails at its import", 2 * len(AT_IMPORT))


def test_what_a_plugin_prints_at_its_import_is_not_in_the_output(plugin, fork, tmp_path, counted):
    plugin("vaeflow-loud", "print('LOUD')\n" + GOOD.format(forward="pass"))
    out = tmp_path / "out"

    def listing():
        sys.stdout = open(out, "w", encoding="utf-8")  # noqa: SIM115
        work(["list", "posterior"], tmp_path)

    ended = fork(listing).end()
    assert ended.status == 0
    assert "LOUD" in ended.output
    assert "LOUD" not in out.read_text()
    assert "twist" in out.read_text()
    counted("plugin that prints at its import", 1)


def test_an_endless_import_is_told_of_and_ended_by_the_check(
    plugin, fork, tmp_path, monkeypatch, counted
):
    monkeypatch.setattr(containment, "SLOW", 0.2)
    monkeypatch.setattr(containment, "ENDLESS", 0.6)
    codes = ("import time\ntime.sleep(1000)", "while True: pass")
    for i, code in enumerate(codes):
        name = f"vaeflow-endless{i}"
        plugin(name, code, module=f"endless{i}")
        ended = fork(work, ["plugins", "check", name], tmp_path).end(20)
        assert ended.status == 6, ended.output
        assert f"plugin {name} 1.0 takes long to import: to leave out" in ended.output
        assert "TimeoutError: its import takes longer than 0.6 s" in ended.output
    ended = fork(work, ["list", "--no-plugins"], tmp_path).end(20)
    assert ended.status == 0
    counted("plugin that never ends its import", len(codes))


def test_a_plugin_that_changes_modes_at_its_import_is_told_of(plugin, fork, tmp_path, counted):
    plugin("vaeflow-mover", "import os\nos.chdir('/')\n" + GOOD.format(forward="pass"))
    ended = fork(work, ["list", "posterior"], tmp_path).end()
    assert ended.status == 0
    assert "plugin vaeflow-mover 1.0 changes the working directory, which is put b" in ended.output
    counted("plugin that changes modes at its import", 1)


# What a hook does -> what is told.
IN_HOOKS = {
    "import torch; torch.set_grad_enabled(False)": "changes torch's mode of gradients, which is p",
    "import torch; torch.set_num_threads(2)": "changes torch's number of threads, which is put b",
    "import os; os.chdir('/')": "changes the working directory, which is put back",
    "import os; os._exit(0)": "failed and is muted (SystemExit: it calls os._exit(0))",
    "raise KeyboardInterrupt": "failed and is muted (KeyboardInterrupt:)",
    "raise SystemExit(0)": "failed and is muted (SystemExit: 0)",
    "import sys; sys.stdout.close()": "failed and is muted (RuntimeError: it closes stdout",
    "import os; os.close(2)": "failed and is muted (RuntimeError: it closes stderr",
    "raise MemoryError": "failed and is muted (MemoryError",
    "import torch, numpy, random; torch.manual_seed(0); numpy.random.seed(0); random.seed(0)": "",
}


def numbers(path):
    skipped = ("seconds", "images_per_second", "sha256")
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in skipped} for row in rows]


def test_a_hook_that_misbehaves_changes_no_number(
    plugin, fork, tmp_path, grey_file, tiny, amount, counted, one_sentence
):
    words = [*small(grey_file, tiny), "--epochs", "2"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert fork(work, [*words, "--no-plugins"], plain).end().status == 0
    hook = "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_epoch_end(): "
    cases = list(IN_HOOKS.items())[:: amount(3, 1)]
    for i, (code, told) in enumerate(cases):
        folder = tmp_path / f"hook{i}"
        folder.mkdir()
        file = folder / f"hook{i}.py"
        file.write_text(hook + code)
        ended = fork(work, ["--no-plugins", "--plugin", str(file), *words], folder).end()
        assert ended.status == 0, (code, ended.output)
        if told:
            lines = [x for x in ended.output.splitlines() if x.startswith("Warning: plugin hook")]
            assert lines, (code, ended.output)
            assert all(told in line for line in lines), lines
            one_sentence(lines[0])
        for row, expected in zip(numbers(folder / "run"), numbers(plain / "run"), strict=True):
            assert row == expected, (code, {k for k in row if row[k] != expected.get(k)})
    counted("hook that misbehaves", len(cases))


# What the forward of a part does, and from which of its calls on -> exit code, what is told.
IN_FORWARD = {
    "raise KeyboardInterrupt": "failed at step",
    "raise SystemExit(0)": "failed at step",
    "exit()": "failed at step",
    "import os; os._exit(0)": "failed at step",
    "raise ValueError('bad\\nluck')": "(ValueError: bad luck)",
    "return None": "its q(z|x) is None",
    "h = h[:1]": "but a torch distribution of batch (B,) =",
    "h = h.double()": "failed at step",
    "torch.set_grad_enabled(False)": "turns gradients off for all that follows",
    "h = h * float('nan')": "is not finite at step",
    "1 / 0": "ZeroDivisionError",
    "class Own(BaseException): pass; raise Own": "failed at step",
}


def test_a_part_that_fails_in_mid_training_costs_one_sentence_and_no_checkpoint(
    fork, tmp_path, grey_file, tiny, amount, counted, one_sentence
):
    cases = list(IN_FORWARD.items())[:: amount(3, 1)]
    for i, (code, told) in enumerate(cases):
        folder = tmp_path / f"part{i}"
        folder.mkdir()
        file = folder / f"part{i}.py"
        first, _, rest = code.partition("; ")
        lines = [first, *([rest] if rest else [])]
        body = "Twist.calls += self.training\n        if Twist.calls > 5:\n"
        body += "".join(f"            {line}\n" for line in lines)
        file.write_text(GOOD.format(forward=body))
        words = small(grey_file, tiny, "--posterior", "twist", "--epochs", 9)
        words += ["--checkpoint-seconds", "0"]
        ended = fork(work, ["--no-plugins", "--plugin", str(file), *words], folder).end()
        error = last_line(ended.output)
        assert ended.status == (5 if "finite" in told else 6), (code, ended)
        assert error.startswith("Error: "), ended.output
        assert told in error, error
        one_sentence(error)
        run = Run(folder / "run")
        kept = run.store.latest()
        assert kept is not None, code
        assert all(v.isfinite().all() for v in kept.tensors["model"].values())
        assert run.status["state"] == "failed", code
    counted("part that fails in mid-training", len(cases))


@pytest.mark.parametrize("guard", ["no_exit", "streams_kept", "modes_kept"])
def test_without_its_guard_a_plugin_does_harm(guard, plugin, fork, tmp_path, monkeypatch):
    """Mutants: the tests above see each guard removed."""
    from contextlib import contextmanager

    @contextmanager
    def nothing(*arguments):
        yield

    monkeypatch.setattr(containment, guard, nothing)
    code = {
        "no_exit": "import os\nos._exit(0)",
        "streams_kept": "import os\nos.close(1)",
        "modes_kept": "import os\nos.chdir('/')\n" + GOOD.format(forward="pass"),
    }[guard]
    plugin("vaeflow-bad", code)
    ended = fork(work, ["list", "posterior"], tmp_path).end()
    assert not any(told in ended.output for told in ("os._exit", "closes std", "put back"))
