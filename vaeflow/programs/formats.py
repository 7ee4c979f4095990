"""Programs as files: torch's own format of exported programs, and ONNX.

Neither holds a pickle: the weights stand as they are, beside a description of the graph.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.errors import ConfigError, one_line
from vaeflow.programs.parts import Program
from vaeflow.reading import read_file

FormatName = Literal["torch-export", "onnx"]
About = Mapping[str, Any]  # name -> values of JSON
Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # inputs -> outputs, by name
NOTES = "about.json"  # among the extra files of torch's format
_ONNX_BYTES = 2_000_000_000  # of weights; protobuf ends at 2³¹ − 1 with all that is beside them


class Format(Protocol):
    """A format of files."""

    ending: str
    runtime: str  # which runs its files

    def check(self, program: Program) -> None:
        """Refuse what the format cannot hold, before the work.

        Raises:
            ConfigError: with what is missing.
        """
        ...

    def pack(
        self, recorded: Any, names: tuple[Sequence[str], Sequence[str]], about: About
    ) -> bytes:
        """Return the content of a file.

        Arguments:
            recorded: by torch.export.
            names: of the inputs and of the outputs.
            about: what joins the program.
        """
        ...

    def load(self, path: Path) -> Run:
        """Return the program of a file, which maps inputs to outputs by name."""
        ...


class TorchExport:
    """`torch.export.save`: a zip file of weights, and the graph as JSON."""

    ending = ".pt2"
    runtime = "torch.export"

    def check(self, program: Program) -> None:
        """Take any program."""

    def pack(
        self, recorded: Any, names: tuple[Sequence[str], Sequence[str]], about: About
    ) -> bytes:
        """Return the content of a file, with `about` as the extra file about.json."""
        recorded.example_inputs = None  # which torch would pickle
        buffer = io.BytesIO()
        torch.export.save(recorded, buffer, extra_files={NOTES: json.dumps(about, indent=1)})
        return buffer.getvalue()

    def load(self, path: Path) -> Run:
        """Return the program of a file."""
        module = torch.export.load(io.BytesIO(read_file(path))).module()
        return lambda inputs: dict(module(*inputs.values()))


class Onnx:
    """ONNX in one file, with what joins the program among the properties of the model."""

    ending = ".onnx"
    runtime = "onnxruntime"

    def check(self, program: Program) -> None:
        """Refuse a program above 2 GB, or any where the packages of ONNX are absent.

        Raises:
            ConfigError: with the cure.
        """
        absent = [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]
        if absent:
            raise ConfigError(
                f"--format onnx needs {', '.join(absent)}: `pip install 'vaeflow[export]'`, or "
                "choose --format torch-export and, if --out is given, its ending .pt2"
            )
        size = sum(t.nbytes for t in program.state_dict().values())
        if size > _ONNX_BYTES:
            raise ConfigError(
                f"--format onnx: the model has {size / 1e9:.1f} GB of weights, and one file of "
                "ONNX holds less than 2 GB: choose --format torch-export"
            )

    def pack(
        self, recorded: Any, names: tuple[Sequence[str], Sequence[str]], about: About
    ) -> bytes:
        """Return the content of a file, with each entry of `about` as a property."""
        if any(node.target is torch.ops.aten.einsum.default for node in recorded.graph.nodes):
            recorded = recorded.run_decompositions()  # einsum of ONNX broadcasts no batch
        made = torch.onnx.export(
            recorded,
            dynamo=True,
            input_names=names[0],
            output_names=names[1],
            external_data=False,
            verbose=False,
        )
        assert made is not None
        for each in (*made.model.graph.inputs, *made.model.graph.outputs):
            each.shape[0] = "N"  # type: ignore[index]
        for name, value in about.items():
            text = value if isinstance(value, str) else json.dumps(value)
            made.model.metadata_props[name] = text
        made.model.producer_name, made.model.producer_version = "vaeflow", about["vaeflow"]
        content: bytes = made.model_proto.SerializeToString()
        return content

    def load(self, path: Path) -> Run:
        """Return the program of a file, on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; of folded constants it warns
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            found = session.run(None, {name: each.numpy() for name, each in inputs.items()})
            return {name: torch.from_numpy(each) for name, each in zip(names, found, strict=True)}

        return run


CURES: dict[FormatName, str] = {  # of a program that a format cannot hold
    "torch-export": "use the model in Python by vaeflow.load",
    "onnx": "choose --format torch-export",
}
FORMATS: dict[FormatName, Format] = {"torch-export": TorchExport(), "onnx": Onnx()}


def format_named(name: str) -> FormatName:
    """Return a format by its name.

    Raises:
        ConfigError: if there is none.
    """
    for known in FORMATS:
        if name == known:
            return known
    raise ConfigError(f"--format {name}: torch-export or onnx is expected: choose one of them")


def format_of(path: Path, name: str | None) -> FormatName:
    """Return the format that a name says, or else the ending of the file.

    Raises:
        ConfigError: if there is no such format, or the ending is that of another.
    """
    if name is not None:
        format_named(name)
    allowed = {each.ending: key for key, each in FORMATS.items() if name in (None, key)}
    if (found := allowed.get(path.suffix.lower())) is None:
        raise ConfigError(f"--out {path}: the name must end in {' or '.join(allowed)}")
    return found


def record(program: Program, inputs: Mapping[str, Tensor]) -> Any:
    """Record a program by torch.export, for any number of examples.

    Raises:
        ConfigError: if torch cannot.
    """
    batch = torch.export.Dim("N")
    try:
        with torch.no_grad(), silence(), _unchecked():
            shapes = (tuple({0: batch} for _ in inputs),)
            recorded = torch.export.export(program, tuple(inputs.values()), dynamic_shapes=shapes)
    except Exception as error:
        raise ConfigError(
            f"torch.export cannot record {program.told} ({cause(error)}): use the model in Python "
            "by vaeflow.load, or train with another part"
        ) from error
    for node in recorded.graph.nodes:  # it would name folders of this machine
        node.meta.pop("stack_trace", None)
    return recorded


def pack(
    name: FormatName,
    program: Program,
    recorded: Any,
    names: tuple[Sequence[str], Sequence[str]],
    about: About,
) -> bytes:
    """Return the content of a file.

    Raises:
        ConfigError: if torch cannot write the program so.
    """
    try:
        with torch.no_grad(), silence():
            return FORMATS[name].pack(recorded, names, about)
    except Exception as error:
        raise ConfigError(
            f"--format {name}: torch cannot write {program.told} so ({cause(error)}): {CURES[name]}"
        ) from error


def cause(error: BaseException) -> str:
    """Return in one line what went wrong at first."""
    while error.__cause__ is not None:
        error = error.__cause__
    if "Constraints violated" in str(error):
        return "it fixes the number N of examples, as len(x) does where x.shape[0] does not"
    return one_line(error).split(". ")[0][:200]


@contextmanager
def _unchecked() -> Iterator[None]:
    """Let distributions take their parameters as they are: a check would ask for their values."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextmanager
def silence() -> Iterator[None]:
    """Keep what torch's exporters print and warn of from the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
