"""``python -m service.checkers.process``: checks specs for the service, one request at a time, and can be killed."""

import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import IO, Any

from api_schemas.errors import InvalidSpec, MalformedJson
from api_schemas.spec import JobSpec
from runtime import logs
from service.checkers.checker import Checker, SpecText
from service.checkers.messages import ANSWER, QUESTION, SETTINGS, SIZE_BYTES, VALUES, Answer, Question, framed
from service.checkers.models import KnownModels
from service.datasets.resolve import forget_draws
from service.settings import Settings
from service.specs.limits import SpecLimits

LOGGER = logging.getLogger("service.checkers.process")
NICENESS = 5
"""The service itself goes first."""
GRACE_S = 5
"""A process whose service has gone ends itself so long after the deadline of its work."""
LARGE_BYTES = 400 * 2**20
"""A process that has grown so large is replaced, because memory is hardly ever given back."""


def main() -> int:
    """Answer until the service closes the pipe."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = SETTINGS.validate_json(_frame(questions))
    logs.configure(settings.log_level, settings.log_format)
    os.nice(NICENESS)
    desk = _Desk(settings)
    _limit_memory(desk.limits.max_check_bytes)
    is_last = False
    while not is_last and (content := _frame(questions)):
        answer, value = desk.answer(QUESTION.validate_json(content), questions)
        is_last = _peak_bytes() > LARGE_BYTES
        answers.write(framed(ANSWER.dump_json(replace(answer, is_last=is_last)), value))
        answers.flush()
    return 0


class _Desk:
    """What the process knows from one question to the next."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = SpecLimits.from_environment(settings.environment)
        self._key = ""
        self._tokenizers: dict[str, bytes] = {}
        self._read: tuple[SpecText, Sequence[JobSpec]] | None = None
        """The last text, and its specs: a request asks about them several times."""

    def answer(self, question: Question, pipe: IO[bytes]) -> tuple[Answer, bytes]:
        """The answer to a question, of which the further frames are still in the pipe."""
        text = SpecText(_frame(pipe), question.is_batch, _frame(pipe))
        for card in question.models:
            if content := _frame(pipe):
                self._tokenizers[str(card.tokenizer)] = content
        if question.key != self._key:
            forget_draws()
        self._key = question.key
        signal.alarm(ceil(question.limit_s) + GRACE_S)
        try:
            return self._answer(question, text)
        finally:
            signal.alarm(0)

    def _answer(self, question: Question, text: SpecText) -> tuple[Answer, bytes]:
        try:
            return Answer(), VALUES[question.method].dump_json(self._value(question, text))
        except InvalidSpec as exc:
            return Answer(errors=exc.errors), b""
        except MalformedJson as exc:
            return Answer(malformed=exc.detail), b""
        except MemoryError:
            return Answer(is_out_of_memory=True), b""
        except Exception:
            LOGGER.exception("fault")
            return Answer(is_fault=True), b""

    def _value(self, question: Question, text: SpecText) -> Any:
        models = {card.name: card.model(self._tokenizers) for card in question.models}
        checker = Checker(self.settings, self.limits, KnownModels(models, question.missing))
        if question.method == "names":
            return checker.names(text)
        if self._read is None or self._read[0] != text:
            self._read = None
            self._read = text, checker.specs(text)
        return getattr(checker, question.method)(self._read[1], question.given)


def _peak_bytes() -> int:
    """Most memory that this process has had; what ``getrusage`` tells is the parent's where that had more."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _frame(pipe: IO[bytes]) -> bytes:
    """The next frame; empty at the end."""
    return pipe.read(int.from_bytes(pipe.read(SIZE_BYTES), "big"))


def _limit_memory(most_bytes: int) -> None:
    """Of the address space: beyond it an allocation fails, with a MemoryError or by ending the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    sys.exit(main())
