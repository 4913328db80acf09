"""API keys: only digests are stored, and use is noted."""

from job_store.keys import count_keys, create_key, find_key, list_keys, new_secret, revoke_key, sha256_of, usage
from job_store.records import Limits
from job_store.store import JobStore
from tests.stored_jobs import new_job, submit


def test_a_key_is_found_by_its_secret_only(store: JobStore) -> None:
    """The secret itself is never written anywhere."""
    secret = new_secret()
    made = store.run(create_key("lab", sha256_of(secret), scopes=("read",), limits=Limits(queued_jobs=5)))
    found = store.run(find_key(sha256_of(secret)))
    assert found is not None and found.id == made.id and found.last_used_ms is not None
    assert (found.name, found.scopes, found.limits) == ("lab", ("read",), Limits(queued_jobs=5))
    assert store.run(find_key(sha256_of("pp_guess"))) is None
    assert len(secret) >= 43 and not any(secret.encode() in store.client.dump(key) for key in store.client.keys("*"))


def test_revoked_and_expired_keys_are_told_apart_from_unknown_ones(store: JobStore) -> None:
    """The log can say why a key was refused."""
    store.run(create_key("old", "a", scopes=(), limits=Limits(), expires_ms=1))
    store.run(create_key("lab", "b", scopes=(), limits=Limits()))
    assert store.run(count_keys()) == 1
    assert len(store.run(revoke_key("lab"))) == 1 and store.run(revoke_key("lab")) == ()
    keys = store.run(list_keys())
    assert [(key.name, key.revoked, key.is_valid(10**13)) for key in keys] == [
        ("old", False, False),
        ("lab", True, False),
    ]


def test_usage_tells_what_is_left_of_the_rate(store: JobStore) -> None:
    """The RateLimit fields of every answer."""
    limits = Limits(submits_per_minute=10)
    before = store.run(usage("a", limits)).submits
    assert before is not None and (before.limit, before.remaining, before.reset_s) == (10, 10, 0.0)
    submit(store, new_job(), new_job(), owner="a", limits=limits)
    after = store.run(usage("a", limits)).submits
    assert after is not None and after.remaining == 8 and 11 < after.reset_s <= 12
    assert store.run(usage("b", Limits())).submits is None
