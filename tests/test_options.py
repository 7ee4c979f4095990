"""Options: read from a constructor, validated from text, explained in one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from vaeflow.errors import ConfigError, PluginError
from vaeflow.options import (
    Option,
    describe,
    first_sentence,
    options_model,
    summary,
    validate,
)


class Flow:
    r"""A flow of many maps.  It bends space.

    More about it.

    Options:
        steps: number of maps.
        rate: how fast it learns,
            told over two lines.
        sizes: of the hidden layers.
        clip: largest norm, or none.

    Another section: not an option.
    """

    def __init__(
        self,
        latent: int,
        *,
        steps: PositiveInt = 4,
        rate: Annotated[float, Field(gt=0, le=1)] = 0.5,
        shared: bool = False,
        act: Literal["relu", "tanh"] = "relu",
        count: Literal[5000, 10000] = 5000,
        sizes: tuple[NonNegativeInt, ...] = (500, 500),
        clip: PositiveFloat | None = None,
        cap: Annotated[PositiveInt, Field(le=9)] | None = None,
        label: str = "x",
        path: Path,
    ) -> None:
        pass


class NoOptions:
    """Nothing to choose."""


def checked(**options: Any) -> dict[str, Any]:
    return validate(Flow, {"path": "data", **options}, "posterior")


def complaint(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(**options)
    return str(caught.value)


def test_only_keyword_parameters_are_options():
    assert checked() == {
        "steps": 4,
        "rate": 0.5,
        "shared": False,
        "act": "relu",
        "count": 5000,
        "sizes": (500, 500),
        "clip": None,
        "cap": None,
        "label": "x",
        "path": Path("data"),
    }
    assert validate(NoOptions, {}, "prior") == {}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "16", 16),
        ("rate", "1e-3", 1e-3),
        ("shared", "true", True),
        ("shared", "no", False),
        ("act", "tanh", "tanh"),
        ("count", "10000", 10000),
        ("sizes", "8", (8,)),
        ("sizes", "8,16", (8, 16)),
        ("sizes", "[8, 16]", (8, 16)),
        ("sizes", "8 16", (8, 16)),
        ("sizes", "[]", ()),
        ("clip", "none", None),
        ("clip", "None", None),
        ("clip", "2.5", 2.5),
        ("cap", "9", 9),
        ("label", "none", "none"),
        ("label", "5000", "5000"),
        ("path", "a/b.npz", Path("a/b.npz")),
    ],
)
def test_text_becomes_the_annotated_type(name, text, value):
    seen = checked(**{name: text})[name]
    assert seen == value
    assert type(seen) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", "abc", ["abc", "integer > 0"]),
        ("steps", "0", ["got 0", "integer > 0"]),
        ("steps", "1.5", ["got 1.5", "integer > 0"]),
        ("steps", True, ["got true", "integer > 0", "no numbers"]),
        ("rate", "0", ["got 0", "number > 0 ≤ 1"]),
        ("rate", "1.5", ["got 1.5", "number > 0 ≤ 1"]),
        ("rate", "nan", ["got nan", "number > 0 ≤ 1"]),
        ("clip", "inf", ["got inf", "number > 0 or none", "finite"]),
        ("clip", "-1", ["got -1", "number > 0 or none"]),
        ("cap", "10", ["got 10", "integer > 0 ≤ 9 or none"]),
        ("shared", "maybe", ["got maybe", "true | false"]),
        ("act", "swish", ["got swish", "one of relu | tanh"]),
        ("count", "7", ["got 7", "one of 5000 | 10000"]),
        ("sizes", "8,x", ["got x", "integer ≥ 0, …"]),
        ("sizes", "8,-1", ["got -1", "integer ≥ 0, …"]),
        ("sizes", [[1]], ["integer ≥ 0, …"]),
        ("label", 3, ["got 3", "text"]),
    ],
)
def test_an_error_names_the_flag_and_the_expectation(name, value, told, one_sentence):
    message = complaint(**{name: value})
    one_sentence(message)
    assert message.startswith(f"--posterior.{name}: ")
    for words in told:
        assert words in message


def test_a_flag_is_spelled_with_hyphens():
    class Named:
        def __init__(self, *, batch_norm: bool = False) -> None:
            pass

    with pytest.raises(ConfigError, match=r"^--encoder\.batch-norm: got maybe"):
        validate(Named, {"batch_norm": "maybe"}, "encoder")


def test_an_unknown_option_lists_the_known_ones(one_sentence):
    message = complaint(step="3")
    one_sentence(message)
    assert "--posterior.step: unknown option (did you mean 'steps'?)" in message
    assert "Flow has the options steps, rate, shared" in message
    with pytest.raises(ConfigError, match="unknown option; NoOptions has no options"):
        validate(NoOptions, {"steps": 3}, "prior")


def test_a_missing_option_is_named_with_its_meaning():
    class Needs:
        """Needs a file.

        Options:
            path: the file to read.
        """

        def __init__(self, *, path: Path) -> None:
            pass

    with pytest.raises(ConfigError, match=r"--dataset\.path is required: the file to read"):
        validate(Needs, {}, "dataset")


def test_a_pattern_is_explained_in_words():
    class Patterned:
        """Matches.

        Options:
            device: cpu or cuda
        """

        def __init__(self, *, device: Annotated[str, Field(pattern="^(cpu|cuda)$")]) -> None:
            pass

    with pytest.raises(ConfigError, match=r"^--x\.device: got tpu, expected cpu or cuda$"):
        validate(Patterned, {"device": "tpu"}, "x")


def test_description_comes_from_signature_and_docstring():
    rows = {option.name: option for option in describe(Flow)}
    assert rows["steps"] == Option("steps", "integer > 0", "4", "number of maps.")
    assert rows["rate"].meaning == "how fast it learns, told over two lines."
    assert rows["sizes"] == Option("sizes", "integer ≥ 0, …", "500,500", "of the hidden layers.")
    assert rows["clip"] == Option("clip", "number > 0 or none", "none", "largest norm, or none.")
    assert rows["cap"].type == "integer > 0 ≤ 9 or none"
    assert rows["act"].type == "one of relu | tanh"
    assert rows["shared"] == Option("shared", "true | false", "false", "")
    assert rows["path"].required
    assert [name for name, option in rows.items() if option.required] == ["path"]
    assert describe(NoOptions) == []
    assert summary(Flow) == "A flow of many maps."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("One, of\n    two lines. Two.", "One, of two lines."),
        ("One\n\nTwo.", "One"),
        (
            "A bound (Burda et al. 2016, eq. 8. Also 9). Two.",
            "A bound (Burda et al. 2016, eq. 8. Also 9).",
        ),
        ("By eq. 8, i.e. at 0.5, that is. Two.", "By eq. 8, i.e. at 0.5, that is."),
        ("Images, in [0, 1]. (LeCun 1998.)", "Images, in [0, 1]."),
        ("", ""),
    ],
)
def test_a_sentence_ends_at_its_end(text, sentence):
    assert first_sentence(text) == sentence


def test_a_summary_continues_after_et_al():
    class Masked:
        """A masked flow (Papamakarios et al. 2017). It is exact."""

    assert summary(Masked) == "A masked flow (Papamakarios et al. 2017)."


def test_a_literal_of_digits_stays_text():
    class Coded:
        def __init__(self, *, code: Literal["1", "2"] = "1", n: Literal[1, 2] | None = None):
            pass

    assert validate(Coded, {"code": "2", "n": "2"}, "x") == {"code": "2", "n": 2}
    assert validate(Coded, {"n": "none"}, "x") == {"code": "1", "n": None}


def test_an_option_may_be_named_like_a_pydantic_method():
    class Awkward:
        def __init__(self, *, copy: bool = True, model_size: int = 3, json: str = "a") -> None:
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = validate(Awkward, {"model_size": "5"}, "encoder")
    assert options == {"copy": True, "model_size": 5, "json": "a"}


def test_an_unreadable_signature_names_the_part():
    class Broken:
        def __init__(self, *, size: NoSuchType = 3) -> None:  # noqa: F821
            pass

    with pytest.raises(PluginError, match=r"Broken cannot be read.*NoSuchType.*signature"):
        options_model(Broken)


def test_a_misspelt_option_is_told_before_a_missing_one():
    class Part:
        def __init__(self, *, reach: float) -> None: ...

    with pytest.raises(ConfigError, match=r"--prior\.reech: unknown option \(did you mean 'reach'"):
        validate(Part, {"reech": 1}, "prior")
