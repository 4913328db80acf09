"""One thing that the doctor looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do where it is not as it should be."""

    check: str
    state: State
    detail: str
    advice: str = ""
