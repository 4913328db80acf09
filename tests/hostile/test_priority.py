"""Who may run before all others is decided by whoever makes the keys."""

from tests.live_service import LiveService, spec
from tests.two_keys import Bystander, Key, new_key


def test_only_a_key_with_the_scope_high_submits_with_that_priority(
    guarded: LiveService, attacker: Key, bystander: Bystander
) -> None:
    """Alone, in a batch, and when it only looks ahead."""
    urgent = spec(priority="high")
    requests = (("/v1/jobs", urgent), ("/v1/jobs:validate", urgent), ("/v1/batches", {"jobs": [spec(), urgent]}))
    granted = new_key(guarded, "lecture", scopes=["submit", "high"])
    with attacker.client() as client, granted.client() as other:
        for path, body in requests:
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "needs the scope 'high': the key 'attacker' has read, submit" in refused.json()["detail"]
            assert other.post(path, json=body).status_code in (200, 202)
        assert client.post("/v1/jobs", json=spec(priority="low")).status_code == 202


def test_an_administrator_may_run_first(guarded: LiveService) -> None:
    """The scope `admin` holds all others."""
    with new_key(guarded, "operator", scopes=["admin"]).client() as client:
        assert client.post("/v1/jobs", json=spec(priority="high")).status_code == 202
