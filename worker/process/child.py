"""One child process of a worker: it holds one device, its models and at most one shard."""

import logging
import os
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from celery.exceptions import SoftTimeLimitExceeded

from api_schemas.errors import PathPatchingError, SelfCheckFailed, ShardTimeout, StoreFull, StoreUnavailable
from api_schemas.spec import ModelSpec
from job_store.script import Step
from job_store.shards import Claim, HandedIn, claim, fail, release
from job_store.store import JobStore
from runtime import logs, tracing
from worker.jobs.activation_cache import ActivationCache
from worker.jobs.shard import ShardSettings
from worker.models.cache import ModelCache
from worker.process import device, host
from worker.process.presence import child_name
from worker.process.pulse import Interrupted, Pulse
from worker.process.shard_work import RETRY_AFTER_S, Workbench, compute
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

IN_WORDS = {
    "lost": "not wanted any more (its job has ended, or another worker has it)",
    "assemble": "stored, the last one",
}
"""What became of a shard, for the log."""
CACHE_SHARE = 0.25
"""Part of the working memory that holds the activations of recent prompts."""


class Child:
    """Made once per process, after the fork: nothing before it touches torch or a connection."""

    def __init__(self, settings: WorkerSettings, index: int) -> None:
        if threads := settings.threads or host.threads(settings.shared_by):
            torch.set_num_threads(threads)
        self._settings = settings
        self._is_loading = True
        self._device = device.resolve(settings.devices[index])
        self._store = JobStore.connect(settings.redis_url, settings.blobs)
        self._models = ModelCache(settings, self._device)
        name = child_name(settings, index)
        memory = device.working_memory(settings, self._device)
        cache = ActivationCache(int(memory * CACHE_SHARE))
        shard_settings = ShardSettings(memory_bytes=memory - cache.max_bytes, activation_cache=cache)
        self._bench = Workbench(settings, self._store, self._models, shard_settings, name, device.label(self._device))
        self._pulse = Pulse(settings, self._store, name, self._describe)

    def start(self) -> None:
        """Get on the list of workers and load what is to be loaded at once.

        Raises:
            SelfCheckFailed: The device computes wrong numbers.
        """
        if self._settings.tracing:
            tracing.enable("pathpatch-worker")
        self._pulse.start()
        self._preload()
        self._is_loading = False
        self._pulse.try_to_beat()

    def _preload(self) -> None:
        for name in self._settings.preload:
            try:
                self._models.get(ModelSpec(name=name))
            except SelfCheckFailed:
                raise
            except Exception:
                log.exception("%s could not be loaded: its jobs will fail until it can", name)

    def _describe(self) -> dict[str, Any]:
        return {
            "is_loading": self._is_loading,
            "device": self._device,
            "models": self._models.names,
            "serves": list(self._settings.serves),
            "memory_bytes": device.resident_bytes(),
            "device_memory_bytes": device.allocated_bytes(self._device),
        }

    def claim(self, model: str) -> Claim | None:
        """The model's next shard, if there is one."""
        return self._store.run(claim(model, self._bench.worker, self._settings.lease_s))

    def work_off(self, held: Claim) -> HandedIn:
        """Do what the claim asks for, and the assembly that may come with the phase's last shard."""
        handed = self._do(held)
        while handed.assembly is not None:
            handed = self._do(handed.assembly)
        return handed

    def _do(self, held: Claim) -> HandedIn:
        with (
            self._pulse.holding(held),
            logs.about_job(held.job_id),
            _traced(held, self._bench.worker) as span,
        ):
            handed = self._outcome(held)
            if span is not None:
                span.set_attribute("pathpatch.outcome", handed.outcome)
            return handed

    def _outcome(self, held: Claim) -> HandedIn:
        try:
            started = time.monotonic()
            with self._pulse.interruptible():
                step = compute(self._bench, held)
            handed = self._hand_in(held, step)
            outcome = IN_WORDS.get(handed.outcome, handed.outcome)
            log.info("%s: %s after %.3f s", held.name, outcome, time.monotonic() - started)
            return handed
        except (Interrupted, StoreUnavailable) as stop:
            log.warning("%s was interrupted (%s)", held.name, type(stop).__name__)
            return self._hand_in(held, release(held))
        except SoftTimeLimitExceeded:
            limit = f"{held.name} took longer than the {self._settings.shard_limit_s:g} s that a shard may take."
            return self._hand_in(held, fail(held, ShardTimeout.code, limit))
        except PathPatchingError as error:
            log.warning("%s failed: %s: %s", held.name, error.code, error)
            return self._hand_in(held, fail(held, error.code, error.detail))
        except Exception as error:
            return self._report_unexpected(held, error)

    def _report_unexpected(self, held: Claim, error: Exception) -> HandedIn:
        log.exception("%s failed at attempt %d", held.name, held.attempt)
        detail = f"An unexpected {type(error).__name__} in {held.name}; the worker's log has the details."
        handed = self._hand_in(held, fail(held, "internal", detail, try_again=True))
        if device.is_broken(error):
            log.critical("the context of %s is broken: this process ends and is replaced", self._device)
            os._exit(1)
        return handed

    def _hand_in(self, held: Claim, step: Step[HandedIn]) -> HandedIn:
        """Hand in, waiting for a store that is away or full for as long as patience lasts."""
        deadline = time.monotonic() + self._settings.store_patience_s
        while True:
            try:
                return self._store.run(step)
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    log.exception("%s could not be handed in: its lease will lapse", held.name)
                    return HandedIn("lost")
            except StoreFull as error:
                if time.monotonic() > deadline:
                    return self._store.run(fail(held, error.code, error.detail))
            time.sleep(RETRY_AFTER_S)


def _traced(held: Claim, worker: str) -> AbstractContextManager[Any]:
    """A span that continues the trace of the request that made the job."""
    about = {"pathpatch__job_id": held.job_id, "pathpatch__attempt": held.attempt, "pathpatch__worker": worker}
    return tracing.span("assemble" if held.is_assembly else "shard", "consumer", held.trace, **about)
