"""Any order of submit, claim, heartbeat, finish, fail, release, lapse, cancel, expire and delete keeps the promises.

The machine only remembers what it did; what must hold is read from the store itself after every step.
"""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from api_schemas.errors import JobNotCancellable, JobStillRunning, UnknownJob
from api_schemas.jobs import TERMINAL
from job_store import gauges, jobs, reaper
from job_store.script import Step
from job_store.shards import Claim, HandedIn, complete, fail, finish_phase, heartbeat, release
from job_store.store import JobStore
from tests.stored_jobs import hand_in, hand_in_alone, new_job, submit, take

TO_BE_MET = {
    "stored", "assemble", "again", "cancelled", "lost", "assembly stored", "assembly lost", "cancelling", "deleted",
    "job succeeded", "job failed", "job cancelled", "job expired",
}  # fmt: skip
"""What must have happened at least once: an order of steps that is never tried breaks no promise either."""
MOST_RUNS = 3
"""Now and then a run misses something of it."""


def outcome_of(held: Claim) -> Step[HandedIn]:
    """What a worker without errors hands in; a job of several shards has two phases, a single one may go without."""
    phases = 1 if held.shards == 1 else 2
    if held.shards == 1 and not held.is_assembly and held.fence % 2:
        return hand_in_alone(held)
    if not held.is_assembly:
        return hand_in(held, phases=phases)
    return complete(held, b"head", b"arrays") if held.phase == phases - 1 else finish_phase(held, b"carry")


class JobLife(RuleBasedStateMachine):
    """Two owners, two models, workers that die, come back and hand in late."""

    store: JobStore
    met: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.store.client.flushall()
        self.ended: dict[str, str] = {}
        self.cancelling: set[str] = set()
        self.deleted: set[str] = set()
        self.known: list[str] = []
        self.starts: Counter[tuple[str, int, int]] = Counter()
        self.latest: dict[tuple[str, int, int], Claim] = {}
        self.claims: list[Claim] = []
        self.stored: Counter[tuple[str, int, int]] = Counter()

    @rule(
        shards=st.integers(1, 3),
        owner=st.sampled_from("ab"),
        priority=st.sampled_from(["high", "normal", "low"]),
        digest=st.sampled_from(["equal", None]),
        expires=st.booleans(),
    )
    def create(self, shards: int, owner: str, priority: str, digest: str | None, expires: bool) -> None:
        deadline = {"expires_after_s": 1000.0} if expires else {}
        job = new_job(shards, digest, priority=priority, **deadline)
        self.known += submit(self.store, job, owner=owner).job_ids

    @initialize(shards=st.lists(st.integers(1, 3), min_size=2, max_size=4))
    def create_some(self, shards: list[int]) -> None:
        for owner, number in zip("abab", shards, strict=False):
            job = new_job(number, priority="normal", expires_after_s=1000.0)
            self.known += submit(self.store, job, owner=owner).job_ids

    @rule(times=st.integers(1, 3))
    def claim(self, times: int) -> None:
        for _ in range(times):
            self._claim(1000)

    def _claim(self, lease_s: float) -> Claim | None:
        held = take(self.store, lease_s=lease_s)
        return None if held is None else self._noted(held)

    def _noted(self, held: Claim) -> Claim:
        slot = (held.job_id, held.phase, held.shard)
        self.starts[slot] += 1
        self.latest[slot] = held
        self.claims.append(held)
        return held

    def _held(self) -> list[Claim]:
        """What workers that live are computing."""
        leases = set(self.store.client.zrange("pp:leases", 0, -1))
        return [held for slot, held in self.latest.items() if "{}|{}/{}".format(*slot).encode() in leases]

    def _a_claim(self, data: st.DataObject) -> Claim | None:
        """One that is held; or one of the last, which may have been handed in or taken away long ago."""
        if not self._held():
            self._claim(1000)
        claims = [*self._held(), *self.claims[-3:]]
        return data.draw(st.sampled_from(claims)) if claims else None

    def _report(self, held: Claim, step: Step[HandedIn]) -> HandedIn:
        """Only whoever claimed the shard last may change anything."""
        handed = self.store.run(step)
        assert handed.outcome == "lost" or self.latest[held.job_id, held.phase, held.shard].fence == held.fence
        self.met[f"assembly {handed.outcome}" if held.is_assembly else handed.outcome] += 1
        return handed

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        if (held := self._a_claim(data)) is not None:
            self.store.run(heartbeat(held, 1000))

    @rule(data=st.data())
    def hand_in(self, data: st.DataObject) -> None:
        if (held := self._a_claim(data)) is not None:
            self._hand_in(held)

    def _hand_in(self, held: Claim) -> Claim | None:
        handed = self._report(held, outcome_of(held))
        if handed.outcome in ("stored", "assemble"):
            self.stored[held.job_id, held.phase, held.shard] += 1
        return None if handed.assembly is None else self._noted(handed.assembly)

    @rule(shards=st.integers(1, 3), assembles=st.booleans())
    def work(self, shards: int, assembles: bool) -> None:
        """A worker that hands in what it takes; the assembly that may follow is handed in too, or still at work."""
        for _ in range(shards):
            held = self._claim(1000)
            while held is not None and (assembles or not held.is_assembly):
                held = self._hand_in(held)

    @rule(data=st.data(), again=st.booleans())
    def fail(self, data: st.DataObject, again: bool) -> None:
        if (held := self._a_claim(data)) is not None:
            self._report(held, fail(held, "internal", "boom", try_again=again))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self._a_claim(data)
        if held is not None and self._report(held, release(held)).outcome != "lost":
            self.starts[held.job_id, held.phase, held.shard] -= 1

    @rule(times=st.integers(1, 3))
    def crash(self, times: int) -> None:
        """Workers that die with whatever they claim; their claims may be handed in late."""
        for _ in range(times):
            self._claim(0)
            self.store.run(reaper.lapse_leases())

    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        held = self._held()
        for order, lost in enumerate(data.draw(st.lists(st.sampled_from(held), unique_by=id)) if held else []):
            self.store.client.zadd("pp:leases", {f"{lost.job_id}|{lost.phase}/{lost.shard}": order}, xx=True)
        self.store.run(reaper.lapse_leases())

    @rule(data=st.data())
    def pass_a_deadline(self, data: st.DataObject) -> None:
        deadlines = set(self.store.client.zrange("pp:deadlines", 0, -1))
        if late := [job_id for job_id in self.known if job_id.encode() in deadlines]:
            self.store.client.zadd("pp:deadlines", {data.draw(st.sampled_from(late)): 0})
        self.store.run(reaper.expire_jobs())

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._on_a_job(data, jobs.cancel, JobNotCancellable)

    @rule(data=st.data(), ends=st.booleans())
    def cancel_a_running_job(self, data: st.DataObject, ends: bool) -> None:
        """And sometimes one of its shards comes to an end before it has been stopped."""
        if held := self._held():
            chosen = data.draw(st.sampled_from(held))
            self.met[self.store.run(jobs.cancel(chosen.job_id))] += 1
            if ends:
                self._hand_in(chosen)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if (job_id := self._on_a_job(data, jobs.delete, JobStillRunning)) is not None:
            self.deleted.add(job_id)
            self.met["deleted"] += 1

    def _on_a_job(self, data: st.DataObject, step: Any, refusal: type[Exception]) -> str | None:
        if not self.known:
            return None
        job_id: str = data.draw(st.sampled_from(self.known[::-1]))
        try:
            self.store.run(step(job_id))
        except UnknownJob:
            assert job_id in self.deleted
        except refusal:
            return None
        return job_id

    @invariant()
    def terminal_states_never_change_and_no_job_is_lost(self) -> None:
        for job_id in self.known:
            try:
                record = self.store.run(jobs.get(job_id))
            except UnknownJob:
                assert job_id in self.deleted
                continue
            assert job_id not in self.deleted
            assert self.ended.get(job_id, record.status) == record.status
            if record.status == "cancelling":
                self.cancelling.add(job_id)
            assert job_id not in self.cancelling or record.status in ("cancelling", "cancelled", "expired")
            if record.status in TERMINAL and job_id not in self.ended:
                self.ended[job_id] = record.status
                self.met[f"job {record.status}"] += 1
            if record.status == "succeeded":
                assert self.store.run(jobs.result(job_id)) is not None and record.done == record.total

    @invariant()
    def no_shard_starts_more_than_three_times_or_is_stored_twice(self) -> None:
        assert max(self.starts.values(), default=0) <= 3
        assert max(self.stored.values(), default=0) <= 1

    @invariant()
    def counts_agree_with_the_records(self) -> None:
        live = [record for record in self.store.run(jobs.list_jobs(None, limit=100)).records if not record.is_done]
        claimable = sum(self._claimable(record.id) for record in live)
        queues = self.store.run(gauges.queues())
        assert sum(queue.shards for queue in queues) == claimable
        assert sum(queue.jobs for queue in queues) == sum(record.status == "queued" for record in live)
        running = sum(self.store.client.scard(f"pp:job:{record.id}:running") for record in live)
        assert self.store.client.zcard("pp:leases") == running
        assert sum(self.store.client.scard(f"pp:running:{owner}") for owner in "ab") == running
        assert all(self._claimable(record.id) or self._is_running(record.id) for record in live)
        assert not [record for record in live if record.status == "queued" and self._is_running(record.id)]

    def _claimable(self, job_id: str) -> int:
        client, key = self.store.client, f"pp:job:{job_id}"
        return client.llen(f"{key}:retry") + int(client.hget(key, "shards")) - int(client.hget(key, "next"))

    def _is_running(self, job_id: str) -> bool:
        return bool(self.store.client.scard(f"pp:job:{job_id}:running"))

    def teardown(self) -> None:
        """Whatever happened, the work that is left can be worked off and every job ends."""
        for lease in self.store.client.zrange("pp:leases", 0, -1):
            self.store.client.zadd("pp:leases", {lease: 0})
        self.store.run(reaper.lapse_leases())
        while (held := take(self.store)) is not None:
            while held is not None:
                held = self.store.run(outcome_of(held)).assembly
        assert {record.is_done for record in self.store.run(jobs.list_jobs(None, limit=100)).records} <= {True}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_no_order_of_steps_breaks_a_promise(store: JobStore) -> None:
    """Crashes happen between any two steps, so every order must be safe."""
    JobLife.store, JobLife.met = store, Counter()
    effort = settings(max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    for _ in range(MOST_RUNS):
        run_state_machine_as_test(JobLife, settings=effort)
        if set(JobLife.met) >= TO_BE_MET:
            break
    print(JobLife.met)
    assert set(JobLife.met) >= TO_BE_MET, JobLife.met
