"""Running the checks: on one part, or on all parts of a distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from vaeflow.errors import ConfigError, PluginError, VaeflowError, did_you_mean
from vaeflow.options import describe, options_model, validate
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.plugins.registry import BUILTIN, KINDS, Part
from vaeflow.testing.kinds import (  # noqa: F401  (importing the checks registers them)
    datasets,
    likelihood_densities,
    likelihood_numerics,
    likelihoods,
    network_numerics,
    networks,
    objective_bounds,
    objective_numerics,
    objectives,
    options_together,
    packages,
    posterior_folds,
    posterior_gradients,
    posterior_images,
    posterior_laws,
    posterior_noise,
    posterior_numerics,
    posterior_offers,
    posterior_options,
    posteriors,
    prior_numerics,
    priors,
)
from vaeflow.testing.option_sets import Options, variants
from vaeflow.testing.pending import (
    CORE,
    PendingCheck,
    Verdict,
    core_check,
    failing,
    pending_checks,
)
from vaeflow.testing.registered import REGISTER, Check, MakePart, Unavailable


def checks(kind: str) -> list[Check]:
    """Return the checks of a kind of part, or of a "package"."""
    return list(REGISTER[kind])


def _checks_of(
    part: Part, given: Options, also: Sequence[Options], *, lenient: bool
) -> Iterator[PendingCheck]:
    """Yield the checks of a part, under each set of options."""
    subject = f"{part.kind} {part.name}"
    try:
        loaded = part.load()
        sets = [*variants(loaded, given), *({**given, **options} for options in also)]
    except PluginError as error:
        meaning = "The part can be imported and its options read."
        yield failing(subject, part.kind, "loads", meaning, str(error))
        return
    if sets:
        yield from pending_checks(subject, part.kind, loaded, sets, lenient=lenient)
        return
    missing = [option for option in describe(loaded) if option.name in _missing(loaded, given)]
    flags = " and ".join(
        f"--{part.kind}.{option.name.replace('_', '-')} ({option.type})" for option in missing
    )
    told = (
        f"nothing could be checked without {flags}: add it to `vaeflow plugins check`, or "
        f"options={{{part.kind!r}: {{{missing[0].name!r}: …}}}} in Python"
    )

    def why_not() -> str:
        if lenient and part.kind == "dataset":
            raise Unavailable(told)
        return told

    yield core_check(subject, part.kind, why_not)


def _missing(part: type, given: Options) -> list[str]:
    """Return the required options that are not given."""
    fields = options_model(part).model_fields
    return [name for name, about in fields.items() if about.is_required() and name not in given]


def _all_checks(
    name: str,
    also: Mapping[str, Sequence[Options]] | None,
    options: Mapping[str, Options] | None,
    plugins: Plugins,
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
    parts = [part for part in parts if not slash or part.name == one]
    given = _given(parts, options or {}, name)
    # A machine need not have the files of every data set; with nothing else to check, it must.
    lenient = any(part.kind != "dataset" for part in parts)
    yield from of_package
    for part, own in zip(parts, given, strict=True):
        yield from _checks_of(part, own, also.get(part.name, ()), lenient=lenient)


def _given(parts: Sequence[Part], options: Mapping[str, Options], name: str) -> list[Options]:
    """Return, for each part, those of the options of its kind that it has.

    Raises:
        ConfigError: if no part has an option.
    """
    given: list[Options] = [{} for _ in parts]
    loaded = [_loaded(part) for part in parts]
    for kind, wanted in options.items():
        of_kind = [i for i, part in enumerate(parts) if part.kind == kind]
        if not of_kind:
            brings = ", ".join(sorted({part.kind for part in parts})) or "no part"
            flag = f"--{kind}.{next(iter(wanted))}".replace("_", "-")
            raise ConfigError(f"{flag}: {name} brings no {kind}, but {brings}; leave it out")
        for i in of_kind:
            known = options_model(loaded[i]).model_fields
            given[i] = {option: value for option, value in wanted.items() if option in known}
        taken = {option for i in of_kind for option in given[i]}
        for option in wanted.keys() - taken:
            validate(loaded[of_kind[0]], {option: wanted[option]}, kind)
        for i in of_kind:
            if not _missing(loaded[i], given[i]):
                values = validate(loaded[i], given[i], kind)
                given[i] = {option: values[option] for option in given[i]}
    return given


def _loaded(part: Part) -> type:
    """Return the class of a part, or one without options where a check will tell why not."""
    try:
        loaded = part.load()
        options_model(loaded)
    except PluginError:
        return object
    return loaded


def check(kind: str, part: MakePart) -> None:
    """Run every check of a kind on a part; with its defaults and `variants` if it is a class.

    Raises:
        AssertionError: naming the first check that the part fails, or if no core check could be
            run, as for a class with a required option: give functools.partial of it.
    """
    sets = variants(part) if isinstance(part, type) else [{}]
    if not sets and isinstance(part, type):
        raise AssertionError(
            f"{CORE}: option {_missing(part, {})[0]!r} is required: give functools.partial of the "
            "part with it"
        )
    for pending in pending_checks(kind, kind, part, sets):
        verdict, error = pending.run()
        if verdict.state == "failed":
            raise AssertionError(f"{str(pending).partition('-')[2]}: {verdict.reason}") from error


def verdicts(
    name: str,
    *,
    also: Mapping[str, Sequence[Options]] | None = None,
    options: Mapping[str, Options] | None = None,
    plugins: Plugins | None = None,
) -> Iterator[Verdict]:
    """Check all parts of a distribution, or one part, and yield the verdicts as they come.

    Arguments:
        name: a distribution, "vaeflow" for the built-in parts, or one part, "distribution/part".
        also: more sets of options to try, beside `variants`, by the name of the part.
        options: options that every set shares, by the kind of part, such as a required one.
        plugins: the plugins to look in; by default the installed ones.

    Raises:
        ConfigError: if there is no such distribution, part or option, or a value is wrong.
        PluginError: if the distribution's plugin is not loaded.
    """
    for pending in _all_checks(name, also, options, plugins or load_plugins(quiet=True)):
        yield pending.run()[0]


def contract(
    name: str,
    *,
    also: Mapping[str, Sequence[Options]] | None = None,
    options: Mapping[str, Options] | None = None,
) -> Callable[..., None]:
    """Return a pytest test of all parts of a distribution, a check at a time.

    A plugin's test file needs no more than this::

        from vaeflow.testing import contract

        test_contract = contract("vaeflow-skew")

    Arguments:
        name: a distribution, "vaeflow" for the built-in parts, or one part, "distribution/part".
        also: more sets of options to try, beside `variants`, by the name of the part.
        options: options that every set shares, by the kind of part, such as a required one.
    """
    import pytest

    try:
        pending = list(_all_checks(name, also, options, load_plugins(quiet=True)))
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
