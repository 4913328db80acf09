"""``python -m service.checkers.process``: checks specs for the service, one request at a time, and can be killed."""

import logging
import os
import resource
import signal
import sys
from dataclasses import replace
from math import ceil
from typing import IO

from api_schemas.errors import InvalidSpec, MalformedJson
from checkpoints.tensors import read_content
from runtime import logs
from service.checkers.checker import Checker, SpecText
from service.checkers.messages import ANSWER, CONTENTS, QUESTION, SETTINGS, SIZE_BYTES, VALUES, Answer, Question, framed
from service.datasets.resolve import forget_draws

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
    read_content.known = CONTENTS.validate_json(_frame(questions))
    logs.configure(settings.log_level, settings.log_format)
    checker = Checker.of(settings)
    os.nice(NICENESS)
    _limit_memory(checker.limits.max_check_bytes)
    last_key, is_last = "", False
    while not is_last and (content := _frame(questions)):
        question = QUESTION.validate_json(content)
        if question.key != last_key:
            forget_draws()
        last_key = question.key
        signal.alarm(ceil(question.limit_s) + GRACE_S)
        answer, value = _answer(checker, question, _frame(questions), _frame(questions))
        signal.alarm(0)
        is_last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > LARGE_BYTES
        answers.write(framed(ANSWER.dump_json(replace(answer, is_last=is_last)), value))
        answers.flush()
    return 0


def _answer(checker: Checker, question: Question, body: bytes, base: bytes) -> tuple[Answer, bytes]:
    """Do the work."""
    try:
        specs = checker.specs(SpecText(body, question.is_batch, base))
        value = getattr(checker, question.method)(specs, question.given)
        return Answer(), VALUES[question.method].dump_json(value)
    except InvalidSpec as exc:
        return Answer(errors=exc.errors), b""
    except MalformedJson as exc:
        return Answer(malformed=exc.detail), b""
    except MemoryError:
        return Answer(is_out_of_memory=True), b""
    except Exception:
        LOGGER.exception("fault")
        return Answer(is_fault=True), b""


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
