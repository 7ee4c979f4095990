"""Types of the options that several functions share, as pydantic checks them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

Split = Literal["train", "validation", "test"]
Weights = Literal["best", "last"]


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read samples=True as 1
        raise PydanticCustomError("number", "true and false are no numbers")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]  # of torch's generator
Levels = Annotated[Whole, Field(ge=2, le=65536)]  # of grey data
Tolerance = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # nats
