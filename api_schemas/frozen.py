"""The base class of every record that crosses the wire."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Flag = Annotated[bool, Field(examples=[True])]
Sha256 = Annotated[str, Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])]
Number = Annotated[float | None, Field(examples=[0.0875])]
Count = Annotated[int, Field(ge=0, examples=[800])]


class Frozen(BaseModel):
    """Immutable; refuses unknown fields, NaN and infinities; never converts a string to a number."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # tracebacks are logged, and logs must not contain prompts
    )
