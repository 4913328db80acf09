"""The processes that check specs: fair between keys, killed at the deadline or when the client leaves."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from api_schemas.errors import InternalError, InvalidSpec, MalformedJson
from api_schemas.wording.values import wrong
from service.accounts.shares import Slots
from service.checkers.checker import Given, Method, SpecText
from service.checkers.messages import ANSWER, QUESTION, SETTINGS, SIZE_BYTES, VALUES, Answer, Question, framed
from service.checkers.models import KnownModels, ModelCard, tokenizer_text
from service.settings import Settings
from service.specs.limits import SpecLimits, knob

KEPT = 2
"""Idle processes that are kept for the next request."""
BATCH_TIMES = 4
"""A batch may take so many times as long as a single spec."""
ATTEMPTS = 2
"""A process that was ended from outside is no fault of its request: the work is done again, once."""
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "RUST_BACKTRACE": "0",
}
"""One thread each: others take address space, and the processors belong to everybody."""


class ProcessEnded(Exception):
    """The process ended before it had answered."""


class CheckerProcess:
    """One process, as the service sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._questions, self._answers = process, process.stdin, process.stdout
        self._has_tokenizers: set[str] = set()

    @classmethod
    async def start(cls, settings: Settings) -> "CheckerProcess":
        """A new one, which knows the settings."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "service.checkers.process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
        )
        started = cls(process)
        started._questions.write(framed(SETTINGS.dump_json(settings)))
        return started

    async def ask(self, question: Question, text: SpecText, models: KnownModels) -> tuple[Answer, bytes]:
        """Have work done with these models; the answer, and its value as JSON.

        Raises:
            ProcessEnded: It ended instead.
        """
        try:
            self._questions.write(framed(QUESTION.dump_json(question), text.body, text.base, *self._tokenizers(models)))
            await self._questions.drain()
            return ANSWER.validate_json(await self._frame()), await self._frame()
        except (OSError, asyncio.IncompleteReadError) as exc:
            raise ProcessEnded from exc

    def _tokenizers(self, models: KnownModels) -> Iterator[bytes]:
        """Their texts, as far as the process does not have them; empty frames in place of others."""
        for model in models.models.values():
            digest, content = ("", b"") if model.tokenizer is None else tokenizer_text(model.tokenizer)
            yield b"" if digest in self._has_tokenizers else content
            self._has_tokenizers.add(digest)

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self._answers.readexactly(SIZE_BYTES), "big")
        return await self._answers.readexactly(size)

    def kill(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class Checkers:
    """The pool."""

    def __init__(self, settings: Settings, limits: SpecLimits, slots: Slots) -> None:
        self._settings = settings
        self._limits = limits
        self._slots = slots
        self._idle: list[CheckerProcess] = []
        self._busy: set[CheckerProcess] = set()

    async def call(self, key: str, text: SpecText, method: Method, given: Given, models: KnownModels) -> Any:
        """What that method of ``Checker`` with these models returns for the specs of a text, in the key's turn.

        Raises:
            InvalidSpec, MalformedJson: As the method; or it took more time or memory than is allowed.
            RateLimited: Too many requests of this key wait already.
        """
        limit_s = self._limits.max_check_s * (BATCH_TIMES if text.is_batch else 1)
        cards = list(map(ModelCard.of, models.models.values()))
        question = Question(key, text.is_batch, method, given, cards, models.missing, limit_s)
        async with self._slots.taken(key):
            for _ in range(ATTEMPTS):
                with contextlib.suppress(ProcessEnded):
                    answer, value = await self._asked(question, text, models)
                    self._raise_from(answer)
                    return VALUES[method].validate_json(value)
        raise self._too_much_memory()

    async def _asked(self, question: Question, text: SpecText, models: KnownModels) -> tuple[Answer, bytes]:
        process = self._idle.pop() if self._idle else await CheckerProcess.start(self._settings)
        self._busy.add(process)
        answer = None
        try:
            async with asyncio.timeout(question.limit_s):
                answer, value = await process.ask(question, text, models)
        except TimeoutError:
            allowed = f"{question.limit_s:g} s are allowed ({knob('max_check_s')})"
            message = f"checking this takes too long, {allowed}: use fewer or shorter prompts, or fewer nodes"
            raise InvalidSpec([wrong((), message)]) from None
        finally:
            self._busy.discard(process)
            if answer is None or answer.is_last or len(self._idle) >= KEPT:
                process.kill()
            else:
                self._idle.append(process)
        return answer, value

    def _raise_from(self, answer: Answer) -> None:
        if answer.errors is not None:
            raise InvalidSpec(answer.errors)
        if answer.malformed is not None:
            raise MalformedJson(answer.malformed)
        if answer.is_out_of_memory:
            raise self._too_much_memory()
        if answer.is_fault:
            raise InternalError("The service met a fault of its own; its log has the details.")

    def _too_much_memory(self) -> InvalidSpec:
        allowed = f"{self._limits.max_check_bytes / 2**20:,.0f} MiB are allowed ({knob('max_check_bytes')})"
        message = f"checking this takes too much memory, {allowed}: use fewer or shorter prompts, or fewer nodes"
        return InvalidSpec([wrong((), message)])

    def stop(self) -> None:
        """End all processes."""
        for process in (*self._idle, *self._busy):
            process.kill()
        self._idle.clear()
