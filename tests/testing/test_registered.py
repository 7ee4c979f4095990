"""A check, and the register of the checks of each kind."""

import pytest

from vaeflow.plugins.registry import KINDS
from vaeflow.testing import checks
from vaeflow.testing.registered import REGISTER, register


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_part_has_a_core_check(kind):
    assert any(check.core for check in checks(kind))


def test_a_check_is_a_core_check_where_it_is_registered_so(monkeypatch):
    monkeypatch.setattr("vaeflow.testing.registered.REGISTER", register_of := {})

    @register("one", "two", core=True)
    def first(part):
        """It is."""

    @register("one")
    def second(part):
        """It is, too."""

    assert [check.core for check in register_of["one"]] == [True, False]
    assert [check.core for check in register_of["two"]] == [True]
    assert "one" not in REGISTER
