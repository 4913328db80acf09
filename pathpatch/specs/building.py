"""Building the contract's records from plain arguments, with readable complaints."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pathpatch.problems import SpecError

Built = TypeVar("Built", bound=BaseModel)


def build(record: type[Built], /, **fields: Any) -> Built:
    """A record of the contract; what is None is left to its default.

    Raises:
        SpecError: Something does not fit; says what, where, and what is allowed.
    """
    given = {name: plain(value) for name, value in fields.items() if value is not None}
    try:
        return record.model_validate(given)
    except ValidationError as exc:
        raise SpecError.of(exc, given, record) from None


def plain(value: Any) -> Any:
    """Tuples, arrays, tensors and their numbers as the lists and numbers of JSON; records are left as they are."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
