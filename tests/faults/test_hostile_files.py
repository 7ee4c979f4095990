"""Files made to harm: nothing of them is executed, and reading takes bounded time and memory."""

import ast
import contextlib
import io
import itertools
import json
import os
import pickle
import random
import resource
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import whole_run
from safetensors.torch import save

import vaeflow
from vaeflow.errors import VaeflowError
from vaeflow.evaluation import stored as evaluations
from vaeflow.reading import digest, plain_json, plain_toml, read_file
from vaeflow.runs.directory import Run
from vaeflow.runs.verify import verify
from vaeflow.training.checkpoints import read

DEEP = 10**5


@pytest.fixture
def run(whole, tmp_path):
    return whole_run.copy(whole, tmp_path / "run")


def newest(run):
    return max((run / "checkpoints").iterdir())


# Headers and manifests.


def mutated(draw, content):
    """Return bytes with a few places changed, cut, doubled or replaced by JSON that bites."""
    content = bytearray(content)
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(content) + 1)
        what = draw.randrange(5)
        if what == 0 and content:
            content[at % len(content)] = draw.randrange(256)
        elif what == 1:
            del content[at : at + draw.randrange(1, 40)]
        elif what == 2:
            content[at:at] = content[at : at + draw.randrange(1, 40)]
        else:
            content[at:at] = draw.choice(BITES)
    return bytes(content)


BITES = [
    b"[" * 2000, b'{"a":' * 500, b"1e999", b"-1", b"9" * 5000, b"NaN", b"null", b'"\\ud800"',
    b"\xff\xfe", b'"__class__"', b'"../../x"', b"\x00", b"18446744073709551615", b"{}", b'"F32"',
]  # fmt: skip


def header_of(content):
    size = int.from_bytes(content[:8], "little")
    return content[8 : 8 + size], content[8 + size :]


def fuzzed(draw, file):
    """Return a file's content with its header, its length or its text mutated."""
    content = file.read_bytes()
    if file.suffix != ".safetensors":
        return mutated(draw, content)
    header, rest = header_of(content)
    if draw.randrange(4) == 0:
        return mutated(draw, content[:8])[:8].ljust(8, b"\0") + header + rest
    header = mutated(draw, header)
    return len(header).to_bytes(8, "little") + header + rest


def test_no_fuzzed_header_or_manifest_does_more_than_be_refused(whole, amount, counted):
    draw, n = random.Random(3), amount(300, 5000)
    checkpoint = newest(whole)
    (evaluation,) = (whole / "evaluations").iterdir()
    files = [*sorted(checkpoint.iterdir()), evaluation, whole / "summary.json"]
    known = {file: parsed(file, checkpoint) for file in files}
    before, slowest, silent = memory(), 0.0, 0
    for i in range(n):
        file = files[i % len(files)]
        with whole_run.replaced(file, fuzzed(draw, file)):
            start = time.monotonic()
            try:
                silent += parsed(file, checkpoint) != known[file]
            except VaeflowError as error:  # and nothing else
                silent += "\n" in str(error)
            slowest = max(slowest, time.monotonic() - start)
    assert slowest < 5
    assert memory() - before < 64 * 2**20
    counted("fuzzed headers and manifests", n, silent=silent)


def parsed(file, checkpoint):
    """Return what a file, or the checkpoint that it belongs to, is read as."""
    if file.parent == checkpoint:
        found = read(checkpoint)
        return found.state, {name: digest(group) for name, group in found.tensors.items()}
    if file.suffix == ".json":
        return Run(file.parent).summary
    stored = evaluations.read(file)
    return stored.about, digest(evaluations._tensors(stored.bounds)), repr(stored.code)


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_tensors_under_a_matching_manifest_are_no_larger_than_their_file(run):
    """A header that claims a terabyte takes no memory of that size."""
    header = b'{"x":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}'
    path = newest(run) / "best.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    matching(path)
    with pytest.raises(VaeflowError, match="cannot be read"):
        read(path.parent)


def matching(path):
    import hashlib

    manifest = json.loads((path.parent / "manifest.json").read_text())
    content = path.read_bytes()
    manifest["sha256"][path.name] = hashlib.sha256(content).hexdigest()
    manifest["bytes"][path.name] = len(content)
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


# Nesting, and files that are none.

NESTED = {
    "manifest.json": "[" * DEEP,
    "state.json": '{"a":' * DEEP,
    "model.safetensors": None,
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("how", ["nested", "pipe", "device", "directory", "loop", "socket"])
def test_the_newest_whole_checkpoint_is_found_beside_what_cannot_be_read(run, fork, name, how):
    file = newest(run) / name
    stand_in(file, how, (NESTED[name] or "[" * DEEP).encode())
    if how == "nested":
        matching(file) if name != "manifest.json" else None

    def work():
        start = time.monotonic()
        with whole_run.warnings() as told:
            found = Run(run).store.latest()
        return found.step, len(told), time.monotonic() - start, memory()

    step, told, seconds, _ = fork(work).end(timeout=20).value
    assert (step, told) == (6, 1)
    assert seconds < 5


def stand_in(file, how, content=b"{"):
    """Put something else in a file's place."""
    if file.exists():
        file.unlink()
    if how == "nested":
        file.write_bytes(content)
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "device":
        file.symlink_to("/dev/zero")
    elif how == "directory":
        file.mkdir()
    elif how == "loop":
        file.symlink_to(file)
    else:
        import socket

        here = os.open(file.parent, os.O_RDONLY)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{file.name}")
        os.close(here)


COMMANDS = [("verify",), ("evaluate", "-k", 3), ("resume", "--epochs", 4), ("sample", "-n", 2)]
OWN = ["environment.json", "status.json", "summary.json", "config.toml", "metrics.jsonl"]


@pytest.mark.parametrize("how", ["pipe", "device", "directory", "nested"])
@pytest.mark.parametrize("name", OWN)
def test_a_file_of_the_run_that_is_none_is_told_and_hangs_nothing(
    whole, tmp_path, fork, cli, here, amount, name, how, one_sentence
):
    for words in COMMANDS[:: amount(3, 1)]:
        run = whole_run.copy(whole, tmp_path / words[0])
        stand_in(run / name, how, b"[" * DEEP)

        def work(run=run, words=words):
            done = cli(words[0], run, *words[1:])
            return done.code, done.err

        code, err = fork(work).end(timeout=30).value
        assert "Traceback" not in err
        errors = [line for line in err.splitlines() if line.startswith("Error: ")]
        for line in errors:
            one_sentence(line)
        if words[0] == "verify":
            assert code == 4
        else:
            assert (code, len(errors)) in ((0, 0), (2, 1), (4, 1), (8, 1)), err


@pytest.mark.parametrize(
    "text", ["a." * DEEP + "a = 1", "[" + "a." * DEEP + "a]", '"a" . ' * DEEP, "a = " + "[" * DEEP]
)
def test_a_long_key_or_deep_nesting_in_toml_takes_no_time(text):
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"nested too deep|has more than 32 parts"):
        plain_toml(text)
    assert time.monotonic() - start < 1


def test_deep_json_is_an_error_of_its_own():
    for text in ("[" * DEEP, '{"a":' * DEEP):
        with pytest.raises(ValueError, match="nested too deep"):
            plain_json(text)


def test_a_configuration_of_a_gigabyte_is_not_read(tmp_path):
    file = tmp_path / "a.toml"
    with open(file, "wb") as made:
        made.truncate(2**30)
    with pytest.raises(ValueError, match="more than"):
        read_file(file, 2**24)


# What would be executed.


class Payload:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def payloads(canary):
    """Return nine files that run code where they are unpickled, each by another reader."""
    plain = pickle.dumps(Payload(canary))
    zipped, legacy, tar, npz, npy = (io.BytesIO() for _ in range(5))
    torch.save(Payload(canary), zipped)
    torch.save(Payload(canary), legacy, _use_new_zipfile_serialization=False)
    with tarfile.open(fileobj=tar, mode="w") as made:
        made.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
        info = tarfile.TarInfo("data.pkl")
        info.size = len(plain)
        made.addfile(info, io.BytesIO(plain))
    np.save(npy, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    np.savez(npz, x=np.array([Payload(canary)], dtype=object))
    with zipfile.ZipFile(io.BytesIO(), "w"):
        pass
    in_metadata = save({"x": torch.zeros(1)}, {"vaeflow": plain.hex()})
    inside = len(plain).to_bytes(8, "little") + plain
    code = f"__import__('os').mkdir({str(canary)!r})".encode()
    return {
        "pickle": plain,
        "torch, zipped": zipped.getvalue(),
        "torch, legacy": legacy.getvalue(),
        "tar": tar.getvalue(),
        "NumPy object array": npy.getvalue(),
        "NumPy archive": npz.getvalue(),
        "safetensors' header": inside,
        "safetensors' texts": in_metadata,
        "Python": code,
    }


def test_pickles_in_the_place_of_files_execute_nothing(
    whole, tmp_path, cli, here, amount, counted, monkeypatch
):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "executed"
    cases = 0
    for content in payloads(canary).values():
        for file in whole_run.files(whole)[:: amount(6, 1)]:
            with whole_run.replaced(file, content), whole_run.warnings():
                with contextlib.suppress(VaeflowError):
                    whole_run.everything(whole)
                verify(Run(whole))
                cases += 1
            assert not canary.exists()
    pickle.loads(payloads(canary)["pickle"])  # noqa: S301, the canary sings
    assert canary.exists()
    counted("pickles in the place of files", cases)


def test_the_source_has_no_reader_that_executes():
    found = []
    for path in sorted(Path(vaeflow.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                found += [(path.name, n) for n in names if n.split(".")[0] in EXECUTING]
            if isinstance(node, ast.Call):
                found += [(path.name, told) for told in _executing(node)]
    assert found == []


EXECUTING = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml")
CALLS = ("extractall", "broadcast_object_list", "all_gather_object", "scatter_object_list")


def _executing(call):
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    of = getattr(getattr(call.func, "value", None), "id", "")
    words = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    if name in CALLS or getattr(call.func, "id", "") in ("eval", "exec"):
        yield name
    if (of, name) == ("torch", "load") and words.get("weights_only") is not True:
        yield "torch.load"
    if words.get("shell") is True or words.get("allow_pickle") is True:
        yield f"{name} with shell or allow_pickle"


# Names and links.

LINKS = {
    "lock": ("resume", "--epochs", 4),
    "status.json": ("resume", "--epochs", 4),
    "config.toml": ("resume", "--epochs", 4),
    "metrics.jsonl": ("resume", "--epochs", 4),
    "metrics.bad.jsonl": ("resume", "--epochs", 4),
    "summary.json": ("resume", "--epochs", 4),
    "evaluations/test-laplace-k3-best.safetensors": ("evaluate", "-k", 3, "--again"),
    "checkpoints/step-00000012": ("resume", "--epochs", 4),
}


# Of the file itself, and temporary names of this vaeflow and of older ones.
PLACES = ("{}", ".tmp-{}-00000000", ".{}.tmp")


def test_no_link_in_a_run_directory_is_written_through(whole, tmp_path, cli, amount, counted):
    lost = cases = 0
    for (name, words), place in itertools.product(LINKS.items(), PLACES[: amount(1, 3)]):
        run = whole_run.copy(whole, tmp_path / str(cases))
        target = tmp_path / "mine"
        link = (run / name).with_name(place.format(Path(name).name))
        target.write_text("my own file")
        if link.exists():
            shutil.copy(link, target)
            link.unlink()
        link.symlink_to(target)
        if name == "metrics.bad.jsonl":
            with open(run / "metrics.jsonl", "ab") as file:
                file.write(b"no record\n")
        before = target.read_bytes()
        done = cli(words[0], run, *words[1:])
        assert done.code in (0, 8), done.err
        lost += target.read_bytes() != before
        cases += 1
    counted("links in the place of files", cases, lost=lost)


NAMES = [
    *("../../x", "..", ".", "a/b", "/tmp/x", "", ".hidden", "a b", "é/.."),
    *("a\\u0000b", "x\\n", "\\u001b[2J"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_a_benchmark_has_the_name_of_a_directory(tmp_path, cli, name, one_sentence):
    folder = tmp_path / "grid"
    folder.mkdir()
    (folder / "benchmark.toml").write_text(
        'proposal = "q"\nsamples = 2\njobs = 1\n[common]\nepochs = 1\n'
        f'[cells."{name}"]\nlatent = 2\n'
    )
    for words in (("compare", folder), ("benchmark", "--out", folder, "--posterior", "planar")):
        done = cli(*words)
        assert done.code == 2, done
        one_sentence(done.err.strip())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["benchmark.toml", "grid"]
