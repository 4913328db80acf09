"""What is done with the specs of a request before anything is stored: by the service, or by a process of its own."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from api_schemas.datasets import IoiDataset
from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.jobs import ValidationReport
from api_schemas.spec import JobSpec
from api_schemas.wording.values import wrong
from job_store.digest import spec_sha256
from job_store.ids import new_job_id
from job_store.records import JobFacts, NewJob
from service.checkers.models import KnownModels
from service.datasets.example_prompts import example_prompts, first_prompt
from service.http.strict_json import parse_json
from service.jobs.reruns import changed_spec
from service.jobs.sharding import slices, texts
from service.jobs.speeds import Speed
from service.settings import Settings
from service.specs.frames import Framed, check_framed
from service.specs.implied import normalised
from service.specs.limits import SpecLimits, knob
from service.specs.parsing import bare_spec, each, entries_of, parse_batch, parse_spec
from service.specs.validation import CheckedSpec, check_job
from service.specs.work import work_of
from service.version import software_sha256

Method = Literal["names", "outlines", "report", "new_jobs", "first_prompt"]
"""What a checker is asked for."""
TEXT_BYTES_PER_STORED = 4
"""A result as JSON, which is what is estimated, takes so many times the bytes that are stored."""
NO_PROMPTS = IoiDataset(kind="ioi", examples=1)


@dataclass(frozen=True)
class SpecText:
    """The specs of one request, as they came."""

    body: bytes
    is_batch: bool = False
    base: bytes = b""
    """A job's spec, where the body is a JSON merge patch of it."""

    def __len__(self) -> int:
        return len(self.body) + len(self.base)


def base_names(text: SpecText) -> set[str]:
    """The model of a rerun's job, which tells what that job's spec left to its model."""
    return {JobSpec.model_validate_json(text.base).model.name} if text.base else set()


@dataclass(frozen=True)
class Outline:
    """What must be known of a spec before it is resolved."""

    model: str
    priority: str
    digest: str | None
    """Under which an earlier result is found; None where none may answer."""
    work: int
    """As ``work_of`` counts it."""


@dataclass(frozen=True)
class Given:
    """What the service knows beside the specs."""

    speeds: dict[str, Speed] = field(default_factory=dict)
    """Of the models that the specs name."""
    outlines: list[Outline] = field(default_factory=list)
    """Of each spec."""
    answered: list[bool] = field(default_factory=list)
    """Of each spec, whether an earlier result answers it, so that it need not be resolved."""
    trace: dict[str, str] = field(default_factory=dict)
    """Trace context."""
    is_batch: bool = False
    revision: str = ""
    """Of the model that a finished job ran on."""


@dataclass(frozen=True)
class Checker:
    """Checks specs: has what that takes, and nothing that asks or changes the store."""

    settings: Settings
    limits: SpecLimits
    models: KnownModels
    """Those that the specs name."""
    framed: Framed | None = None
    """The only spec, where its frame is known."""

    def specs(self, text: SpecText) -> list[JobSpec]:
        """The specs that the text states.

        Raises:
            MalformedJson: It is not JSON.
            InvalidSpec: Some of them are wrong; carries everything that is.
        """
        document = parse_json(text.body, self.limits.max_json_depth)
        if text.base:
            return [changed_spec(text.base, document, self.models, self.limits)]
        if not text.is_batch:
            return [parse_spec(document, self.limits)]
        tokens = 0

        def check(spec: JobSpec) -> None:
            nonlocal tokens
            if tokens <= self.limits.max_batch_tokens:
                tokens += self.check(spec).dataset.tokens

        return parse_batch(document, self.limits, check)

    def names(self, text: SpecText) -> list[str]:
        """The models that those of the specs name that are well formed.

        Raises:
            MalformedJson, InvalidSpec: The text states no specs at all.
        """
        return sorted({spec.model.name for spec in self._well_formed(text)} | base_names(text))

    def _well_formed(self, text: SpecText) -> Iterator[JobSpec]:
        if not text.is_batch:
            yield from self.specs(text)
            return
        for entry in entries_of(parse_json(text.body, self.limits.max_json_depth))[0]:
            with suppress(ValidationError, InvalidSpec):
                yield bare_spec(entry, self.limits)

    def outlines(self, specs: Sequence[JobSpec], given: Given) -> list[Outline]:
        """What must be known of each before it is resolved."""
        return [self._outline(spec) for spec in specs]

    def _outline(self, spec: JobSpec) -> Outline:
        if self.framed is not None:
            digest = self.framed.digest if spec.use_cache else None
            return Outline(spec.model.name, spec.priority, digest, self.framed.work)
        digest = self._digest(spec) if spec.use_cache else None
        is_there = spec.model.name in self.models.models
        work = (
            work_of(spec, self.models.get(spec.model.name).architecture) if is_there else 0
        )  # nothing is made without it
        return Outline(spec.model.name, spec.priority, digest, work)

    def _digest(self, spec: JobSpec) -> str | None:
        """What equal specs share; None for a model that is not there, which is told when the spec is checked."""
        try:
            model = self.models.get(spec.model.name)
            return _equal_specs(normalised(spec, model), model.revision)
        except InvalidSpec:
            return None

    def check(self, spec: JobSpec) -> CheckedSpec:
        """A spec that can run here, and whose end can be announced where it asks.

        Raises:
            InvalidSpec: Carries everything that is wrong.
        """
        errors = self._webhook_errors(spec)
        try:
            if self.framed is None:
                checked = check_job(spec, self.models, self.limits)
            else:
                checked = check_framed(self.framed, self.limits)
        except InvalidSpec as exc:
            raise InvalidSpec([*exc.errors, *errors]) from exc
        if errors:
            raise InvalidSpec(errors)
        return checked

    def _webhook_errors(self, spec: JobSpec) -> list[FieldError]:
        if spec.webhook is None:
            return []
        from service.webhooks.outbox import webhook_errors  # most processes that check specs never need it

        return webhook_errors(spec.webhook, self.settings)

    def report(self, specs: Sequence[JobSpec], given: Given) -> str:
        """The look ahead at a spec, as JSON.

        Raises:
            InvalidSpec: It cannot run.
        """
        checked = self.check(specs[0])
        speed = given.speeds[checked.spec.model.name]
        examples, cells = slices(checked, speed.nominal)
        return ValidationReport(
            spec=checked.spec,
            examples=example_prompts(checked.dataset, self.models.get(checked.spec.model.name)),
            cells=checked.cells,
            axes=list(checked.axes),
            shape=list(checked.shape),
            shards=len(examples) * len(cells),
            estimated_seconds=round(checked.estimated_flops / speed.expected, 3),
            estimated_result_bytes=checked.estimated_result_bytes,
            warnings=list(checked.warnings),
            unreachable_senders=list(checked.unreachable_senders),
        ).model_dump_json()

    def first_prompt(self, specs: Sequence[JobSpec], given: Given) -> list[str] | None:
        """Tokens of a spec's first orig prompt, where a figure shows them."""
        return first_prompt(specs[0], given.revision, self.models, self.limits)

    def new_jobs(self, specs: Sequence[JobSpec], given: Given) -> list[NewJob]:
        """The jobs to create, resolved and cut.

        Raises:
            InvalidSpec: Some of them cannot run.
        """
        known = iter(zip(given.outlines, given.answered, strict=True))
        most, tokens = self.limits.max_batch_tokens, 0

        def new_job(spec: JobSpec) -> NewJob:
            nonlocal tokens
            outline, is_answered = next(known)
            if is_answered and not self._webhook_errors(spec):
                return self._answered_job(spec, outline.digest, given.trace)
            checked = self.check(spec)
            tokens += checked.dataset.tokens
            if given.is_batch and tokens > most:
                raise _TooManyTokens
            return self._checked_job(checked, outline.digest, given.speeds[spec.model.name], given.trace)

        try:
            return each(specs, new_job) if given.is_batch else [new_job(spec) for spec in specs]
        except _TooManyTokens:
            why = f"the prompts of these {len(specs)} jobs have more than {most:,} tokens in all"
            message = f"{why} ({knob('max_batch_tokens')}): send smaller batches"
            raise InvalidSpec([wrong(("jobs",), message)]) from None

    def _answered_job(self, spec: JobSpec, digest: str | None, trace: dict[str, str]) -> NewJob:
        """An earlier result answers: no worker will need the rest."""
        assert digest is not None
        model = self.models.get(spec.model.name)
        whole = normalised(spec, model) if self.framed is None else self.framed.normal
        return _new_job(whole, self._json(whole), JobFacts(0, 0, 0.0, "", digest, model.revision), (), trace)

    def _checked_job(self, checked: CheckedSpec, digest: str | None, speed: Speed, trace: dict[str, str]) -> NewJob:
        digest = digest or _equal_specs(checked.spec, checked.revision)
        dataset = checked.dataset.model_dump_json()
        shards = texts(checked, dataset, speed.nominal)
        result_bytes = checked.estimated_result_bytes // TEXT_BYTES_PER_STORED
        facts = _facts(checked, hashlib.sha256(dataset.encode()).hexdigest(), digest, len(shards))
        return _new_job(checked.spec, self._json(checked.spec), facts, shards, trace, result_bytes)

    def _json(self, whole: JobSpec) -> str:
        """A normal spec."""
        return whole.model_dump_json() if self.framed is None else self.framed.json


def _equal_specs(spec: JobSpec, revision: str) -> str:
    """The digest that equal specs share."""
    return spec_sha256(spec, revision, software_sha256())


class _TooManyTokens(Exception):
    """No more of the batch is resolved."""


def _new_job(
    spec: JobSpec, text: str, facts: JobFacts, shards: tuple[str, ...], trace: dict[str, str], result_bytes: int = 0
) -> NewJob:
    url = None if spec.webhook is None else spec.webhook.url
    without_prompts = spec.model_copy(update={"dataset": NO_PROMPTS})  # they can be megabytes, and are in the JSON
    return NewJob(new_job_id(), without_prompts, facts, shards, trace, url, result_bytes, text)


def _facts(checked: CheckedSpec, dataset_sha256: str, digest: str, shards: int) -> JobFacts:
    flops = checked.estimated_flops
    return JobFacts(
        longest=checked.dataset.longest,
        examples=len(checked.dataset),
        flops_per_shard=flops / shards,
        dataset_sha256=dataset_sha256,
        spec_sha256=digest,
        revision=checked.revision,
        warnings=tuple(checked.warnings),
        phase_shares=tuple(own / flops for own in checked.phase_flops),
    )
