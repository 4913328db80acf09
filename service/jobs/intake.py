"""The specs of one request on their way in: checked here if that is quick for sure, else where it can be killed."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import ceil
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from api_schemas.datasets import IoiDataset, TokensDataset
from api_schemas.errors import InvalidSpec, MalformedJson
from api_schemas.spec import JobSpec
from job_store.records import JobRecord, NewJob
from service.checkers.checker import Checker, Given, Method, Outline, SpecText, base_names
from service.checkers.models import KnownModels
from service.datasets.example_prompts import first_prompt
from service.http.bodies import SMALL_BODY_BYTES
from service.http.clients import while_connected
from service.http.strict_json import parse_json
from service.jobs.known import KnownSpec
from service.jobs.speeds import Speed
from service.models.catalog import PATIENCE_S, CatalogModel, ModelCatalog
from service.parts import Parts, in_thread
from service.specs.frames import Cut, Frame, Framed
from service.specs.parsing import bare_spec, entries_of

QUICK_WORK = 50_000
"""Work, as ``work_of`` counts it, that takes some ten milliseconds."""
INSTANT_WORK = 5000
"""Work that takes a millisecond or two: a thread would cost more than it saves the other requests."""
QUICK_BYTES = 4096
"""A spec and a patch of it of together so many are joined and put into words in some milliseconds."""
LOOK_AGAIN_S = 0.02
"""Between two looks whether a model has been read."""
QUICK_ERRORS = 100
"""So many of pydantic's errors are put into words in some milliseconds."""


class Intake:
    """The specs of one request."""

    def __init__(self, parts: Parts, request: Request, text: SpecText) -> None:
        self._parts = parts
        self._request = request
        self._key: str = request.state.key_id
        self._text = text
        self._models = KnownModels()
        self._specs: list[JobSpec] | None = None
        """Of a small body."""
        self._work = 0
        self._known: KnownSpec | None = None
        """Where this key has sent the same body before."""
        self._framed: Framed | None = None
        """Where it has sent the same around another dataset."""

    async def outlines(self) -> list[Outline]:
        """What must be known of each spec before it is resolved; small bodies wait for nothing but their models.

        Raises:
            MalformedJson, InvalidSpec: The body does not state specs.
            ClientDisconnect: Nobody waits for the answer any more.
        """
        if (known := self._remembered()) is not None:
            return [known.outline]
        if (framed := self._in_known_frame()) is not None:
            return [framed]
        if len(self._text) <= SMALL_BODY_BYTES:
            self._specs = await self._small()
        names = await self._elsewhere("names", Given()) if self._specs is None else _names(self._specs)
        if self._specs is not None and self._text.base:
            names |= base_names(self._text)
        self._models = await models_of(self._parts, names)
        if self._specs is not None and self._text.base:
            self._specs = await self._read_here()  # again, now that it is known what the job left to its model
        do = self._elsewhere if self._specs is None else self._here
        found: list[Outline] = await do("outlines", Given())
        self._work = sum(outline.work for outline in found)
        return found

    def _remembered(self) -> KnownSpec | None:
        if self._is_rememberable and (known := self._parts.known.find(self._key, self._text.body)) is not None:
            self._known, self._specs, self._work = known, [known.spec], known.outline.work
            self._models = KnownModels({known.outline.model: known.model})
        return self._known

    @cached_property
    def _cut(self) -> Cut | None:
        return Cut.of(self._text.body) if self._is_rememberable else None

    def _in_known_frame(self) -> Outline | None:
        """That of a spec around whose dataset all is known; None also where something is wrong with it."""
        cut = self._cut
        if cut is None or (frame := self._parts.frames.find(self._key, cut.around)) is None:
            return None
        try:
            framed = Framed.of(frame, cut.dataset, self._parts.limits.max_json_depth)
        except (MalformedJson, ValidationError):
            return None
        self._specs, self._models = [framed.normal], KnownModels({frame.spec.model.name: frame.model})
        self._framed = framed
        (outline,) = self._checker.outlines(self._specs, Given())
        self._work = outline.work
        if not self._is_instant:
            self._framed, self._specs = None, [framed.spec]  # frames are not for several threads
        return outline

    @property
    def _is_rememberable(self) -> bool:
        return not (self._text.is_batch or self._text.base) and len(self._text) <= QUICK_BYTES

    async def report(self, given: Given) -> str:
        """The look ahead at a spec, as JSON; as for ``new_jobs``, ``outlines`` comes first.

        Raises:
            InvalidSpec: It cannot run.
            ClientDisconnect: Nobody waits for the answer any more.
        """
        found: str = await self._wherever("report", given)
        return found

    async def new_jobs(self, given: Given) -> list[NewJob]:
        """The jobs to create; raises what ``report`` raises."""
        if self._known is not None and (job := self._known.job(given)) is not None:
            return [job]
        found: list[NewJob] = await self._wherever("new_jobs", given)
        if self._is_rememberable and self._specs is not None:
            self._keep(given, found[0])
            self._keep_frame()
        return found

    @property
    def _only_spec(self) -> JobSpec:
        """As it was sent."""
        assert self._specs is not None
        return self._specs[0] if self._framed is None else self._framed.spec

    def _keep(self, given: Given, job: NewJob) -> None:
        """Nothing is wrong with the spec: if it is not the first time, the same bytes need not be checked again."""
        outline = given.outlines[0]
        if not self._parts.sent.has(self._key, outline):
            return  # most specs come once: to keep them all would push everything else out of the processor's caches
        known = self._known or KnownSpec(self._only_spec, outline, self._models.get(outline.model))
        known.keep(given, job)
        self._parts.known.remember(self._key, self._text.body, known)

    def _keep_frame(self) -> None:
        """Nothing is wrong with the spec: the second time, what was found around its dataset is kept."""
        cut = self._cut if self._framed is None and self._is_instant else None
        if cut is None or not self._parts.frames.is_again(self._key, cut.around):
            return
        if cut.is_right(self._parts.limits.max_json_depth):
            spec = self._only_spec
            frame = Frame.of(spec, self._models.get(spec.model.name), self._parts.limits)
            if frame is not None:
                self._parts.frames.remember(self._key, cut.around, frame)

    async def _small(self) -> list[JobSpec] | None:
        """The specs; None where saying what is wrong with them may take long."""
        limits, is_batch = self._parts.limits, self._text.is_batch
        if self._text.base:
            return None if len(self._text) > QUICK_BYTES else await self._read_here()
        document = parse_json(self._text.body, limits.max_json_depth)
        try:
            entries, errors = entries_of(document) if is_batch else ([document], [])
            return None if errors else [bare_spec(entry, limits) for entry in entries]
        except InvalidSpec:
            if is_batch:
                return None
            raise
        except ValidationError as exc:
            if is_batch or exc.error_count() > QUICK_ERRORS:
                return None
            return await self._read_here()

    async def _read_here(self) -> list[JobSpec]:
        async with self._parts.quick_checks.taken(self._key):
            return await in_thread(self._parts, self._checker.specs, self._text)

    @property
    def _checker(self) -> Checker:
        return Checker(self._parts.settings, self._parts.limits, self._models, self._framed)

    async def _wherever(self, method: Method, given: Given) -> Any:
        is_quick = self._specs is not None and self._work <= QUICK_WORK
        return await (self._here if is_quick else self._elsewhere)(method, given)

    async def _here(self, method: Method, given: Given) -> Any:
        work = getattr(self._checker, method)
        if self._is_instant:
            await self._parts.instant_checks.turn(self._key)
            return work(self._specs, given)
        async with self._parts.quick_checks.taken(self._key):
            return await in_thread(self._parts, work, self._specs, given)

    @property
    def _is_instant(self) -> bool:
        """Whether a check cannot take long, whatever the tokenizer's patterns do with a text of the client's."""
        are_ours = all(isinstance(spec.dataset, IoiDataset | TokensDataset) for spec in self._specs or ())
        return are_ours and self._work <= INSTANT_WORK and len(self._text) <= QUICK_BYTES

    async def _elsewhere(self, method: Method, given: Given) -> Any:
        work = self._parts.checkers.call(self._key, self._text, method, given, self._models)
        return await while_connected(self._request, work)


def _names(specs: Iterable[JobSpec]) -> set[str]:
    return {spec.model.name for spec in specs}


async def models_of(parts: Parts, names: Iterable[str]) -> KnownModels:
    """Models as their files are now."""
    found = KnownModels()
    for name in names:
        try:
            found.models[name] = await _model(parts.catalog, name)
        except InvalidSpec as exc:
            found.missing[name] = exc.errors
    return found


async def _model(catalog: ModelCatalog, name: str) -> CatalogModel:
    """One model, waited for without a thread while its files are being read: that may take a while."""
    for _ in range(ceil(PATIENCE_S / LOOK_AGAIN_S)):
        if (known := catalog.peek(name)) is not None:
            return known
        if not catalog.is_being_read(name):
            break
        await asyncio.sleep(LOOK_AGAIN_S)
    return await asyncio.to_thread(catalog.get, name)


async def first_prompt_of(parts: Parts, key: str, record: JobRecord) -> list[str] | None:
    """Tokens of a job's first orig prompt, where a figure shows them."""
    revision, models = record.facts.revision, await models_of(parts, [record.model])
    if len(record.spec_json) <= SMALL_BODY_BYTES:
        return await in_thread(parts, first_prompt, record.spec, revision, models, parts.limits)
    text, given = SpecText(record.spec_json), Given(revision=revision)
    try:
        found: list[str] | None = await parts.checkers.call(key, text, "first_prompt", given, models)
    except InvalidSpec:
        return None
    return found


async def speeds_of(parts: Parts, outlines: Sequence[Outline]) -> dict[str, Speed]:
    """Of the models that the specs name."""
    models = {outline.model for outline in outlines}
    for model in models:
        await parts.speeds.refresh(model)
    return {model: parts.speeds.of(model) for model in models}
