"""The names, ranges and values of --tune: what they mean, and what is refused before a trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaeflow.config.layers import Layers
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.tuning.command import train_command
from vaeflow.tuning.search import Search
from vaeflow.tuning.space import Choice, Range


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


def search(plugins: Plugins, line: object = None, **tune: object) -> Search:
    given = {key.replace("__", "."): value for key, value in tune.items()}
    return Search.of([], line or {"posterior": {"name": "planar"}}, given, plugins)


@pytest.mark.parametrize(
    ("key", "text", "domain"),
    [
        ("posterior.steps", "4..32", Range(4, 32, whole=True)),
        ("posterior.steps", "4..32:log", Range(4, 32, whole=True, log=True)),
        ("lr", "1e-4..1e-2:log", Range(1e-4, 1e-2, whole=False, log=True)),
        ("clip", "1..10", Range(1, 10, whole=False)),
        ("latent", "2..4", Range(2, 4, whole=True)),
        ("posterior.steps", "4,16", Choice(("4", "16"))),
        ("posterior.steps", [4, 16], Choice(("4", "16"))),
        ("posterior", "planar,iaf", Choice(("planar", "iaf"))),
        ("encoder.hidden", "[200],[400,400]", Choice(("[200]", "[400,400]"))),
        ("posterior.amortize", None, Choice(("full", "none"))),
        ("start-at-mean", None, Choice(("true", "false"))),
        ("start_at_mean", "true,false", Choice(("true", "false"))),
        ("optimizer", "adam,adamax", Choice(("adam", "adamax"))),
    ],
)
def test_the_type_of_an_option_tells_what_a_range_is(
    plugins: Plugins, key: str, text: object, domain: object
) -> None:
    found = Search.of([], {"posterior": {"name": "planar"}}, {key: text}, plugins).space
    assert found == {key.replace("-", "_"): domain}
    # As it is written down, it is read again.
    again = {name: str(each) for name, each in found.items()}
    assert Search.of([], {"posterior": {"name": "planar"}}, again, plugins).space == found


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("posterior.stepz", "4..8", "did you mean 'steps'"),
        ("posteriro.steps", "4..8", "did you mean 'posterior'"),
        ("learning", "1..2", "unknown setting"),
        ("posterior", "planar,ifa", "did you mean"),
        ("posterior.steps", "-1..8", "--tune posterior.steps=-1..8: --posterior.steps: got -1"),
        ("lr", "0..1", "--tune lr=0..1: --lr: got 0"),
        ("lr", "0..1:log", "begins above 0"),
        ("lr", "1e-3..1e-4", "the first end must be below"),
        ("lr", "1e-4..1e-2:lgo", "no scale 'lgo'"),
        ("lr", "a..b", "numbers are expected"),
        ("posterior.steps", "1.5..8", "whole numbers are expected"),
        ("optimizer", "adam..rmsprop", "a range is of numbers"),
        ("optimizer", "adam,sgd", "--tune optimizer=adam,sgd: --optimizer: got sgd"),
        ("lr", "1e-3", "lr=1e-3: give a range such as 4..32 .* fix the one value by --lr 1e-3 in"),
        ("lr", "1e-3,1e-3", "it repeats 1e-3: .* fix the one value by --lr 1e-3 in place"),
        ("lr", None, "give a range such as lr=1e-4..1e-2:log"),
        ("lr", 3, "a list of values is expected"),
        ("dataset", "digits,mnist", "same validation data"),
        ("dataset.path", "a,b", "same validation data"),
        ("seed", "0,1", "same validation data"),
    ],
)
def test_what_cannot_be_tuned_is_refused_by_name(
    plugins: Plugins, key: str, text: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        Search.of([], {"posterior": {"name": "planar"}}, {key: text}, plugins)


def test_nothing_to_tune_is_told(plugins: Plugins) -> None:
    with pytest.raises(ConfigError, match="nothing to tune"):
        search(plugins)


def test_objectives_of_other_bounds_are_not_compared(plugins: Plugins) -> None:
    for tune in ({"objective": "elbo,iwae"}, {"objective.samples": "2..8"}):
        with pytest.raises(ConfigError, match="iwae judges a trial by its own bound"):
            Search.of([], {"objective": {"name": "iwae"}}, tune, plugins)
    assert Search.of([], {}, {"objective.beta": "0.5..1"}, plugins).space


def test_an_option_belongs_to_the_parts_that_have_it(plugins: Plugins) -> None:
    found = search(
        plugins,
        {"posterior": {"steps": "3", "width": "8"}},
        posterior="identity,planar,iaf",
        posterior__depth="1..2",
    )
    fits = {name: found.applies("posterior.depth", {"posterior": name}, plugins)
            for name in ("identity", "planar", "iaf")}  # fmt: skip
    assert fits == {"identity": False, "planar": False, "iaf": True}
    options = {
        name: found.plan({"posterior": name}, plugins).config.posterior.options
        for name in ("identity", "planar", "iaf")
    }
    assert "steps" not in options["identity"]
    assert options["planar"]["steps"] == options["iaf"]["steps"] == 3
    assert "width" not in options["planar"]
    assert options["iaf"]["width"] == 8


def test_bounds_are_checked_with_each_part(plugins: Plugins) -> None:
    with pytest.raises(ConfigError, match="got 0"):
        search(plugins, posterior="planar,mixture", posterior__components="0..3")


@pytest.mark.parametrize(
    ("line", "tune", "difference"),
    [
        ({"lr": "0.001"}, {"latent": "2..8"}, None),  # the default, named
        ({"lr": "1e-2"}, {"latent": "2..8"}, "lr was 0.001 and is 0.01"),
        ({"threads": "3"}, {"latent": "2..8"}, None),
        ({}, {"latent": "2..9"}, r"latent was 2\.\.8 and is 2\.\.9"),
        ({}, {"latent": "2..8", "clip": "1..2"}, r"clip was not tuned and is 1\.\.2"),
    ],
)
def test_another_search_differs_by_name(
    plugins: Plugins, tmp_path: Path, line: object, tune: object, difference: str | None
) -> None:
    first = Search.of([({"epochs": 3}, "file")], {}, {"latent": "2..8"}, plugins)
    first.write(tmp_path)
    kept = Search.read(tmp_path, plugins)
    assert kept.difference(first, plugins) is None
    found = kept.difference(Search.of([({"epochs": 3}, "file")], line, tune, plugins), plugins)
    assert found == (difference and difference.replace("\\", ""))


def test_the_command_of_a_plan_gives_the_same_plan(plugins: Plugins, cli: object) -> None:
    import shlex
    import tomllib

    layers = Layers()
    layers.add(
        {
            "posterior": {"name": "iaf", "steps": 3, "width": 8},
            "dataset": {"name": "table", "path": "/tmp/my table.csv", "kinds": {"a b": "count"}},
            "likelihood": "columns",
            "lr": 0.0031,
            "clip": 5.0,
            "condition": ["group", "age"],
            "tensorboard": False,
            "start_at_mean": True,
            "test_images": "none",
        },
        "a test",
    )
    plan = layers.resolve(plugins)
    words = shlex.split(train_command(plan))
    assert words[:2] == ["vaeflow", "train"]
    printed = cli(*words[1:], "--print-config")
    assert printed.code == 0, printed.err
    assert tomllib.loads(printed.out) == plan.config.to_toml()
    assert train_command(Layers().resolve(plugins)) == "vaeflow train"
