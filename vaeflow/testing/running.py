"""Running the checks: on one part, or on all parts of a distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from vaeflow.errors import ConfigError, PluginError, VaeflowError, did_you_mean
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.plugins.registry import BUILTIN, KINDS, Part
from vaeflow.testing.kinds import (  # noqa: F401  (importing the checks registers them)
    datasets,
    likelihoods,
    networks,
    objective_numerics,
    objectives,
    packages,
    posterior_numerics,
    posterior_offers,
    posteriors,
    priors,
)
from vaeflow.testing.option_sets import Options, variants
from vaeflow.testing.pending import PendingCheck, Verdict, failing, pending_checks
from vaeflow.testing.registered import REGISTER, Check, MakePart, NotApplicable


def checks(kind: str) -> list[Check]:
    """Return the checks of a kind of part, or of a "package"."""
    return list(REGISTER[kind])


def _checks_of(part: Part, also: Mapping[str, Sequence[Options]]) -> Iterator[PendingCheck]:
    subject = f"{part.kind} {part.name}"
    try:
        loaded = part.load()
        sets = [*variants(loaded), *also.get(part.name, ())]
    except VaeflowError as error:
        meaning = "The part can be imported and its options read."
        yield failing(subject, part.kind, "loads", meaning, str(error))
        return
    yield from pending_checks(subject, part.kind, loaded, sets or [{}])


def _all_checks(
    name: str, also: Mapping[str, Sequence[Options]] | None, plugins: Plugins
) -> Iterator[PendingCheck]:
    owner, slash, one = name.partition("/")
    also = also or {}
    of_package: list[PendingCheck] = []
    if owner != BUILTIN:
        found = plugins.named(owner)
        if broken := [plugin for plugin in found if plugin.state != "ok"]:
            raise PluginError(broken[0].trouble)
        owner = found[0].distribution
        if not slash and found[0].point is not None:
            of_package = [PendingCheck("package", check, owner) for check in checks("package")]
    parts = [p for kind in KINDS for p in plugins.registry.parts(kind) if p.distribution == owner]
    known = sorted({part.name for part in parts})
    for wanted in [*([one] if slash else []), *also]:
        if wanted not in known:
            raise ConfigError(
                f"{owner} has no part {wanted!r}{did_you_mean(wanted, known)}; "
                f"there are {', '.join(known) or 'none'}"
            )
    yield from of_package
    for part in parts:
        if not slash or part.name == one:
            yield from _checks_of(part, also)


def check(kind: str, part: MakePart) -> None:
    """Run every check of a kind on a part; with its defaults and `variants` if it is a class.

    Raises:
        AssertionError: naming the first check that the part fails.
        NotApplicable: if it is a class with a required option, so that nothing can be tried.
    """
    sets = variants(part) if isinstance(part, type) else [{}]
    if not sets:
        raise NotApplicable("an option is required: give functools.partial of the part with it")
    for pending in pending_checks(kind, kind, part, sets):
        verdict, error = pending.run()
        if verdict.state == "failed":
            raise AssertionError(f"{str(pending).partition('-')[2]}: {verdict.reason}") from error


def verdicts(
    name: str,
    *,
    also: Mapping[str, Sequence[Options]] | None = None,
    plugins: Plugins | None = None,
) -> Iterator[Verdict]:
    """Check all parts of a distribution, or one part, and yield the verdicts as they come.

    Arguments:
        name: a distribution, "vaeflow" for the built-in parts, or one part, "distribution/part".
        also: more sets of options to try, beside `variants`, by the name of the part.
        plugins: the plugins to look in; by default the installed ones.

    Raises:
        ConfigError: if there is no such distribution or part.
        PluginError: if the distribution's plugin is not loaded.
    """
    for pending in _all_checks(name, also, plugins or load_plugins(quiet=True)):
        yield pending.run()[0]


def contract(
    name: str, *, also: Mapping[str, Sequence[Options]] | None = None
) -> Callable[..., None]:
    """Return a pytest test of all parts of a distribution, a check at a time.

    A plugin's test file needs no more than this::

        from vaeflow.testing import contract

        test_contract = contract("vaeflow-skew")

    Arguments:
        name: a distribution, "vaeflow" for the built-in parts, or one part, "distribution/part".
        also: more sets of options to try, beside `variants`, by the name of the part.
    """
    import pytest

    try:
        pending = list(_all_checks(name, also, load_plugins(quiet=True)))
    except VaeflowError as error:
        told = str(error)

        def test_contract() -> None:
            pytest.fail(told, pytrace=False)

        return test_contract

    @pytest.mark.parametrize("check", pending, ids=str)
    def test_contract_of(check: PendingCheck) -> None:
        verdict, error = check.run()
        if verdict.state == "exempt":
            pytest.xfail(verdict.reason)
        if verdict.state == "not applicable":
            pytest.skip(verdict.reason)
        if error is not None and not isinstance(error, AssertionError):
            raise error
        if verdict.state == "failed":
            pytest.fail(f"{verdict.meaning} But {verdict.reason}", pytrace=False)

    return test_contract_of
