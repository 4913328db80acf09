"""The outbox: one delivery per job that ended, until it arrives or is given up."""

from job_store import jobs, webhooks
from job_store.store import JobStore
from tests.stored_jobs import new_job, submit, work_off


def test_only_the_end_of_a_job_that_asked_is_announced(store: JobStore) -> None:
    """However it ends."""
    asked, silent, cancelled = new_job(webhook_url="https://a"), new_job(), new_job(webhook_url="https://b")
    submit(store, asked, silent, cancelled)
    assert store.run(webhooks.due()) == ()
    store.run(jobs.cancel(cancelled.id))
    work_off(store)
    due = store.run(webhooks.due())
    assert {(delivery.job_id, delivery.url) for delivery in due} == {
        (asked.id, "https://a"),
        (cancelled.id, "https://b"),
    }
    assert {delivery.attempt for delivery in due} == {1} and store.run(webhooks.due()) == ()


def test_a_delivery_whose_sender_died_becomes_due_again(store: JobStore) -> None:
    """At least once, under the same id."""
    submit(store, new_job(webhook_url="https://a"))
    work_off(store)
    first = store.run(webhooks.due(lease_s=0))[0]
    second = store.run(webhooks.due())[0]
    assert (second.id, second.attempt) == (first.id, 2)
    store.run(webhooks.delivered(second.id))
    assert store.client.keys("pp:hook*") == []


def test_a_dead_sink_is_retried_then_buried_in_sight(store: JobStore) -> None:
    """Operators see what never arrived, and why."""
    submit(store, new_job(webhook_url="https://a"))
    work_off(store)
    delivery = store.run(webhooks.due())[0]
    store.run(webhooks.retry(delivery.id, 1000, "503"))
    assert store.run(webhooks.due()) == ()
    store.run(webhooks.retry(delivery.id, 0, "503"))
    again = store.run(webhooks.due())[0]
    store.run(webhooks.bury(again.id, "connection refused"))
    dead = store.run(webhooks.dead())
    assert [(letter.id, letter.attempts, letter.error) for letter in dead] == [(delivery.id, 2, "connection refused")]
    assert store.run(webhooks.due()) == ()
