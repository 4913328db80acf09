"""What is stored carries its digest, and whoever reads it checks."""

import pytest

from api_schemas.errors import DamagedData
from job_store import jobs
from job_store.seals import MARK, sealed, unsealed
from job_store.shards import finish_phase, outputs
from job_store.store import JobStore
from tests.stored_jobs import hand_in, must_take, new_job, submit, work_off


def flipped(content: bytes, at: int) -> bytes:
    """The same with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def flip(store: JobStore, key: str, field: str, at: int = -1) -> None:
    """One bit of a stored value, as a disk or a memory does it."""
    content = store.client.hget(key, field)
    store.client.hset(key, field, flipped(content, at % len(content)))


def test_a_bit_that_flips_anywhere_is_noticed() -> None:
    """In the content, in the digest, and where it is known to be sealed in the mark."""
    whole = sealed(b"numbers")
    assert unsealed(whole, "it") == b"numbers"
    for at in range(len(whole)):
        with pytest.raises(DamagedData, match="it was damaged in the store"):
            unsealed(flipped(whole, at), "it", is_sealed=True)


def test_what_an_earlier_version_stored_is_read_as_it_is() -> None:
    """It has no digest."""
    assert unsealed(b"{}", "it") == b"{}" and unsealed(b"", "it") == b""
    assert not b"{}".startswith(MARK)


def test_a_damaged_result_is_told_and_answers_nobody_any_more(store: JobStore) -> None:
    """An equal spec is computed again."""
    submit(store, job := new_job(digest="same"))
    work_off(store)
    submit(store, again := new_job(digest="same"))
    flip(store, f"pp:result:{job.id}", "arrays")
    for job_id in (job.id, again.id):
        with pytest.raises(DamagedData):
            store.run(jobs.result(job_id))
    assert store.run(jobs.drop_damaged(again.id)) == 2
    assert all(store.run(jobs.get(job_id)).result_expired for job_id in (job.id, again.id))
    assert store.run(jobs.result(job.id)) is None
    assert submit(store, new_job(digest="same")).cached == (False,)


def test_a_damaged_output_input_or_carry_is_told(store: JobStore) -> None:
    """Before anything is computed from it."""
    submit(store, job := new_job())
    flip(store, f"pp:job:{job.id}:inputs", "0")
    held = must_take(store)
    with pytest.raises(DamagedData, match=f"The input of {job.id}/0/0"):
        _ = held.input
    assembly = store.run(hand_in(held, b"numbers", phases=2)).assembly
    assert assembly is not None
    assert store.run(outputs(assembly, 0, 1)) == (b"numbers",)
    flip(store, f"pp:job:{job.id}:out:0", "0")
    with pytest.raises(DamagedData, match=f"An output for {job.id}/0/assemble"):
        store.run(outputs(assembly, 0, 1))
    store.run(finish_phase(assembly, b"means"))
    carried = store.client.get(f"pp:job:{job.id}:carry")
    store.client.set(f"pp:job:{job.id}:carry", flipped(carried, len(carried) - 1))
    with pytest.raises(DamagedData, match="What the phase before"):
        _ = must_take(store).carry
