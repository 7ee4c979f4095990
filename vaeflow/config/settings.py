"""The configuration of a run: defaults < recipe < TOML file < command line, validated."""

from __future__ import annotations

from collections.abc import Mapping
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

from vaeflow.errors import ConfigError
from vaeflow.options import explain
from vaeflow.plugins.registry import KINDS
from vaeflow.text import read

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
    on_nonfinite: Annotated[str, Field(pattern=r"^(stop|skip:[1-9]\d{0,3})$")] = Field(
        "stop",
        description="a loss or gradient that is NaN or infinite stops the training, or, by skip:N, "
        "skips the first N such steps and logs their examples",
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
        10.0,
        description="least time between checkpoints, after an epoch or, from 10 on, within one; "
        "the end is always saved",
    )

    @property
    def skips(self) -> int:
        """Return how many steps that are not finite may be skipped."""
        return int(self.on_nonfinite.partition(":")[2] or 0)

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Take values as a command line writes them, for example "none" or "50,80"."""
        if info.field_name == "device":
            value = str(value)  # a torch.device
        return read(cls.model_fields[str(info.field_name)].annotation, value)


class PartConfig(BaseModel):
    """The choice of one part: its name and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}


class Config(Settings):
    """A run: its data, its parts and its settings."""

    dataset: PartConfig = Field(PartConfig(name="digits"), description="the data")
    encoder: PartConfig = Field(PartConfig(name="mlp"), description="data to features")
    posterior: PartConfig = Field(PartConfig(name="identity"), description="features to q(z|x)")
    prior: PartConfig = Field(PartConfig(name="normal"), description="p(z)")
    decoder: PartConfig = Field(PartConfig(name="mlp"), description="z to p(x|z)'s parameters")
    likelihood: PartConfig = Field(PartConfig(name="bernoulli"), description="p(x|z)")
    objective: PartConfig = Field(PartConfig(name="elbo"), description="the bound to maximize")
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
    scaling: Literal["auto", "raw", "log1p", "standardize"] = Field(
        "auto",
        description="scale on which encoder and decoder see data, which the likelihood scores as "
        "it is; auto is log1p under a likelihood of unbounded counts, else raw",
    )
    condition: tuple[str, ...] = Field(
        (),
        description="covariates, by the names of columns or labels of the data: embedded, and "
        "appended to the encoder's features and to z before the decoder",
    )
    missing: Literal["auto", "refuse", "mask"] = Field(
        "auto",
        description="values that are missing, NaN in an array: mask gives the encoder 0 and a mask "
        "and scores what was observed; auto is mask for a table with gaps, else refuse",
    )
    start_at_mean: bool = Field(
        False, description="start the decoder's last bias at the mean of the training data"
    )
    test_samples: PositiveInt = Field(
        100, description="K of the bound under q that ends the training"
    )
    test_images: PositiveInt | None = Field(
        1000,
        description="test images, the first ones, of the figures that end the training; none is "
        "all, as `vaeflow evaluate` takes",
    )
    tensorboard: bool = Field(True, description="write TensorBoard events")
    image_every: NonNegativeInt = Field(10, description="epochs between pictures; 0 for none")

    def parts(self) -> dict[str, PartConfig]:
        """Return kind -> choice, in the order in which data passes."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def to_toml(self) -> dict[str, Any]:
        """Return the content of a TOML file: part tables last, no None."""
        flat = self.model_dump(mode="json", exclude=set(KINDS), exclude_none=True)
        tables = {
            kind: {**{k: _plain(v) for k, v in part.options.items()}, "name": part.name}
            for kind, part in self.parts().items()
        }
        return {**flat, **tables}


def setting_fields() -> dict[str, Any]:
    """Return the fields of `Config` that are no parts."""
    return {k: f for k, f in Config.model_fields.items() if k not in KINDS}


def settings_from(model: type[S], values: Mapping[str, Any]) -> S:
    """Validate settings.

    Raises:
        ConfigError: naming the first wrong one, its value and the expectation.
    """
    try:
        settings = model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, "", model)) from None
    if settings.schedule == "milestones" and not settings.lr_milestones:
        raise ConfigError("--schedule milestones needs --lr-milestones, such as 50,80")
    return settings


def _plain(value: Any) -> Any:
    """Return an option's value as TOML can hold it and a command line would write it.

    Raises:
        TypeError: for any other value.
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
