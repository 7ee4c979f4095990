"""The configuration of a run: defaults < recipe < TOML file < command line, validated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vaeflow.errors import ConfigError, PluginError, did_you_mean
from vaeflow.options import explain, read, validate
from vaeflow.plugins import Plugins
from vaeflow.registry import KINDS, Part

S = TypeVar("S", bound="Settings")
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class Settings(BaseModel):
    """How a model is trained: everything but its parts and its data."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    epochs: PositiveInt = Field(100, description="passes over the training data")
    batch_size: int = Field(100, gt=0, le=10**9, description="images per step")
    optimizer: Literal["adam", "adamw", "adamax", "rmsprop"] = Field(
        "adam", description="the optimizer, torch's own"
    )
    lr: PositiveFloat = Field(1e-3, description="learning rate at the start")
    eps: PositiveFloat | None = Field(
        None, description="the optimizer's ε; none is torch's default"
    )
    weight_decay: NonNegativeFloat = Field(0.0, description="the optimizer's weight decay")
    schedule: Literal["constant", "cosine", "exponential", "milestones"] = Field(
        "constant", description="learning rate over the epochs; cosine falls to 0 at the end"
    )
    lr_gamma: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="factor of the exponential (per epoch) and milestones schedules"
    )
    lr_milestones: tuple[PositiveInt, ...] = Field(
        (), description="epochs after which the rate is multiplied"
    )
    clip: PositiveFloat | None = Field(
        None, description="largest norm of the gradient; none leaves it alone"
    )
    early_stopping: PositiveInt | None = Field(
        None, description="stop after so many epochs without a better validation ELBO"
    )
    seed: NonNegativeInt = Field(0, description="of the weights, the batch order and the noise")
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:i or mps")
    threads: Annotated[int, Field(gt=0, le=1024)] | None = Field(
        None, description="CPU threads; none is torch's choice"
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32",
        description="of matrix products: tf32 rounds their factors, on CUDA; bf16 is mixed "
        "precision, with all densities in float32",
    )
    compile: bool = Field(
        False, description="compile the model with torch.compile, which takes half a minute"
    )
    capture: bool = Field(
        True, description="on CUDA, replay the step as one CUDA graph where its parts allow it"
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        10.0, description="least time between checkpoints; the last epoch is always saved"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Take values as a command line writes them, for example "none" or "50,80"."""
        return read(cls.model_fields[str(info.field_name)].annotation, value)


class PartConfig(BaseModel):
    """The choice of one part: its name and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}


class Config(Settings):
    """A run: its data, its parts and its settings."""

    dataset: PartConfig = PartConfig(name="digits")
    encoder: PartConfig = PartConfig(name="mlp")
    posterior: PartConfig = PartConfig(name="identity")
    prior: PartConfig = PartConfig(name="normal")
    decoder: PartConfig = PartConfig(name="mlp")
    likelihood: PartConfig = PartConfig(name="bernoulli")
    objective: PartConfig = PartConfig(name="elbo")
    latent: PositiveInt = Field(20, description="size of z")
    data_root: Path | None = Field(None, description="directory that holds the dataset's files")
    binarization: Literal["auto", "none", "dynamic", "threshold"] = Field(
        "auto", description="auto is dynamic for grey data under a binary likelihood, else none"
    )
    dequantize: Annotated[int, Field(ge=2, le=65536)] | None = Field(
        None,
        description="levels of grey data, spread over [0, 1] by uniform noise, for bits per "
        "dimension of a density; none leaves the data alone",
    )
    start_at_mean: bool = Field(
        False, description="start the decoder's last bias at the mean of the training data"
    )
    test_samples: PositiveInt = Field(
        100, description="importance samples of the NLL estimate that ends the training"
    )
    tensorboard: bool = Field(True, description="write TensorBoard events")
    image_every: NonNegativeInt = Field(10, description="epochs between pictures; 0 for none")

    def parts(self) -> dict[str, PartConfig]:
        """Return kind -> choice, in the order in which data passes."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def to_toml(self) -> dict[str, Any]:
        """Return what a TOML file holds: part tables last, no None."""
        flat = self.model_dump(mode="json", exclude=set(KINDS), exclude_none=True)
        tables = {
            kind: {**{k: _plain(v) for k, v in part.options.items()}, "name": part.name}
            for kind, part in self.parts().items()
        }
        return {**flat, **tables}


def setting_fields() -> dict[str, Any]:
    """Return the fields of `Config` that are no parts."""
    return {k: f for k, f in Config.model_fields.items() if k not in KINDS}


class Layers:
    """Raw configuration, laid over each other: a later layer wins, key by key.

    A later layer that chooses another part of a kind drops the options that an earlier one set for
    the part it replaces, and `dropped` says so.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.parts: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.dropped: list[str] = []

    def add(self, raw: Mapping[str, Any], source: str) -> None:
        """Lay a nested mapping, as TOML gives it, over what is there.

        Raises:
            ConfigError: for a key that no setting and no kind of part has.
        """
        known = [*setting_fields(), *KINDS]
        for key, value in raw.items():
            if key not in known:
                raise ConfigError(
                    f"{source}: unknown setting {key!r}{did_you_mean(key, known)}; "
                    "`vaeflow train --help` lists them"
                )
            if key in KINDS:
                table = {"name": value} if isinstance(value, str) else value
                if not isinstance(table, Mapping):
                    raise ConfigError(
                        f"{source}: {key} is {value!r}, but a name or a table [{key}] is expected"
                    )
                if not isinstance(table.get("name", ""), str):
                    raise ConfigError(
                        f"{source}: the name of {key} is {table['name']!r}, but text is expected; "
                        f"`vaeflow list {key}` shows the names"
                    )
                self._part(key, table, source)
            else:
                self.settings[key] = value

    def _part(self, kind: str, table: Mapping[str, Any], source: str) -> None:
        old = self.parts[kind]
        old_name = old.get("name", Config.model_fields[kind].default.name)
        new_name = table.get("name", old_name)
        options = {k: v for k, v in old.items() if k != "name"}
        if options and not _same(old_name, new_name):
            self.dropped.append(
                f"{kind} {new_name!r} ({source}) replaces {old_name!r}: its options "
                f"{', '.join(options)} are dropped"
            )
            old = {}
        self.parts[kind] = {**old, **table}

    def resolve(self, plugins: Plugins) -> Config:
        """Validate everything and return the configuration, all defaults filled in.

        Part names come out qualified, "distribution/name".

        Raises:
            ConfigError: naming the first wrong setting, its value and what is expected.
            PluginError: if a chosen part cannot be imported.
        """
        values: dict[str, Any] = dict(self.settings)
        for kind, table in self.parts.items():
            name = table.get("name", Config.model_fields[kind].default.name)
            part = plugins.require(kind, name)
            options = {k.replace("-", "_"): v for k, v in table.items() if k != "name"}
            options = validate(part.load(), options, kind)
            _check_plain(options, part)
            # A run must not depend on the directory that it was started from.
            for key, value in options.items():
                if isinstance(value, Path) and "data_root" not in values:
                    options[key] = value.absolute()
            values[kind] = PartConfig(name=part.qualified, options=options)
        config = settings_from(Config, values)
        if config.schedule == "milestones" and not config.lr_milestones:
            raise ConfigError("--schedule milestones needs --lr-milestones, such as 50,80")
        if config.data_root is not None:
            config = config.model_copy(update={"data_root": config.data_root.absolute()})
        return config


def _same(one: str, other: str) -> bool:
    """Tell whether two names may mean one part: "planar" and "vaeflow/planar" do."""
    (owner, _, name), (owner2, _, name2) = (("/" + n).rpartition("/") for n in (one, other))
    return name == name2 and (owner == owner2 or not (owner and owner2))


def _check_plain(options: Mapping[str, Any], part: Part) -> None:
    for key, value in options.items():
        try:
            _plain(value)
        except TypeError as error:
            raise PluginError(
                f"{part.owner}: option {key} cannot be kept in a configuration file ({error}): "
                "give it such a type, for example Literal in place of an Enum"
            ) from None


def settings_from(model: type[S], values: Mapping[str, Any]) -> S:
    """Validate settings.

    Raises:
        ConfigError: naming the first wrong one, its value and what is expected.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, "", model)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigError: if it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct that line") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): check the path") from None


def recipes() -> list[str]:
    """Return the names of the recipes that come with vaeflow."""
    folder = resources.files("vaeflow") / "recipes"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by name, or any TOML file by its path.

    Raises:
        ConfigError: if there is no such recipe or file.
    """
    if name.endswith(".toml") or "/" in name:
        return read_toml(Path(name))
    if name not in recipes():
        raise ConfigError(
            f"--recipe {name}: unknown recipe{did_you_mean(name, recipes())}; there are "
            f"{', '.join(recipes())}, and any path of a .toml file"
        )
    text = (resources.files("vaeflow") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _plain(value: Any) -> Any:
    """Return an option's value as TOML can hold it and a command line would write it.

    Raises:
        TypeError: for what neither can.
    """
    if value is None:
        return "none"  # TOML has no null, and a missing key would be the default
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if type(value) not in (bool, int, float, str):
        raise TypeError(f"{value!r} is neither number, text, path nor a list of them")
    return value
