"""Parts by name: their owners, a name with several owners, and an unknown name."""

from __future__ import annotations

import sys
import types

import pytest

from vaeflow.errors import ConfigError, PluginError
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.plugins.registry import KINDS, Part, Registry


def part(name: str, distribution: str = "vaeflow", target: str | type = "a:B", kind="posterior"):
    return Part(kind, name, distribution, "1.0", target)


@pytest.fixture
def registry() -> Registry:
    filled = Registry()
    filled.add(part("planar"), part("iaf"))
    filled.add(part("planar", "vaeflow-x"), part("spline", "vaeflow-x"))
    filled.add(part("spline", "vaeflow-y"))
    return filled


def test_a_name_finds_its_part(registry):
    assert registry.get("posterior", "iaf") == part("iaf")
    assert registry.get("posterior", "vaeflow/iaf") == part("iaf")


def test_a_built_in_keeps_its_name_and_the_other_has_a_longer_one(registry):
    assert registry.get("posterior", "planar").distribution == "vaeflow"
    assert registry.get("posterior", "vaeflow-x/planar").distribution == "vaeflow-x"


def test_a_name_of_two_owners_is_an_error_with_both_and_the_cure(registry, one_sentence):
    with pytest.raises(ConfigError) as caught:
        registry.get("posterior", "spline")
    message = str(caught.value)
    one_sentence(message)
    assert "--posterior spline" in message
    assert "vaeflow-x and vaeflow-y" in message
    assert "write vaeflow-x/spline or vaeflow-y/spline" in message
    assert registry.get("posterior", "vaeflow-y/spline").distribution == "vaeflow-y"


@pytest.mark.parametrize(
    ("name", "near"),
    [("planr", "planar"), ("Planar", "planar"), ("vaeflow-x/plana", "vaeflow-x/planar")],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(
    registry, name, near, one_sentence
):
    with pytest.raises(ConfigError) as caught:
        registry.get("posterior", name)
    one_sentence(str(caught.value))
    assert f"--posterior {name}: unknown posterior (did you mean '{near}'?)" in str(caught.value)
    assert "there are iaf, planar, spline" in str(caught.value)


def test_a_name_unlike_all_others_gets_no_suggestion(registry):
    with pytest.raises(ConfigError, match="unknown posterior; there are iaf, planar, spline"):
        registry.get("posterior", "qqqq")


def test_kinds_do_not_share_names(registry):
    with pytest.raises(ConfigError, match="unknown prior"):
        registry.get("prior", "planar")


def test_parts_are_listed_by_name_the_built_in_first(registry):
    listed = [p.qualified for p in registry.parts("posterior")]
    assert listed == [
        "vaeflow/iaf",
        "vaeflow/planar",
        "vaeflow-x/planar",
        "vaeflow-x/spline",
        "vaeflow-y/spline",
    ]
    assert all(registry.parts(kind) == [] for kind in KINDS if kind != "posterior")


def test_a_name_registered_twice_registers_nothing(registry):
    before = registry.parts("posterior")
    with pytest.raises(PluginError, match=r"vaeflow-z registers posterior 'b' twice: rename one"):
        registry.add(part("a", "vaeflow-z"), part("b", "vaeflow-z"), part("b", "vaeflow-z"))
    with pytest.raises(PluginError, match="vaeflow-y registers posterior 'spline' twice"):
        registry.add(part("c", "vaeflow-y"), part("spline", "vaeflow-y"))
    assert registry.parts("posterior") == before


def test_a_part_is_imported_only_when_it_is_loaded(monkeypatch):
    module = types.ModuleType("lazy_module")
    module.Mine = type("Mine", (ELBO,), {})
    mine = part("mine", target="lazy_module:Mine", kind="objective")
    registry = Registry()
    registry.add(mine)
    assert registry.get("objective", "mine") is mine
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    assert mine.load() is module.Mine
    assert part("elbo", target=ELBO, kind="objective").load() is ELBO


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:Class", "ModuleNotFoundError"),
        ("vaeflow.parts.objectives.elbo:Missing", "AttributeError"),
        ("exits_at_import:Class", "SystemExit: 3"),
    ],
)
def test_a_part_that_cannot_be_imported_names_its_distribution(
    target, reason, tmp_path, monkeypatch, one_sentence
):
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError) as caught:
        part("mine", "vaeflow-x", target).load()
    message = str(caught.value)
    one_sentence(message)
    assert "posterior 'mine' from vaeflow-x 1.0 cannot be imported" in message
    assert reason in message
    assert "repair or reinstall vaeflow-x" in message


def test_an_interrupt_during_an_import_is_not_blamed_on_the_part(tmp_path, monkeypatch):
    code = "import signal\nsignal.raise_signal(signal.SIGINT)"
    (tmp_path / "interrupted_import.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        part("mine", "vaeflow-x", "interrupted_import:Class").load()


@pytest.mark.parametrize("target", [ELBO, dict, print, 3], ids=str)
def test_a_part_of_another_kind_is_refused(target, one_sentence):
    with pytest.raises(PluginError) as caught:
        part("mine", "vaeflow-x", target).load()
    one_sentence(str(caught.value))
    assert "a subclass of vaeflow.parts.Posterior is expected" in str(caught.value)
    assert "vaeflow-x" in str(caught.value)
