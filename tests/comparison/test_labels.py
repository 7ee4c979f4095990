"""Labels of groups that differ in a setting."""

from vaeflow.comparison.labels import labels


def config(**settings):
    names = {f"{kind}.name": "vaeflow/x" for kind in ("encoder", "likelihood")}
    return {"posterior.name": "vaeflow/planar", **names, **settings}


def test_a_list_of_nothing_is_told_in_words():
    found = labels([config(condition=[]), config(condition=["digit", "site"])])
    assert found == ["planar (no condition)", "planar (condition digit,site)"]
