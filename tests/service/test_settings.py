"""Settings: each variable is read once, and a senseless one is named."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from service.settings import BadSetting, Settings


def test_nothing_set_means_loopback_without_keys() -> None:
    """A laptop needs no set-up."""
    settings = Settings.read({})
    assert (settings.host, settings.port, settings.keys_required) == ("127.0.0.1", 8000, False)
    assert settings.answers_local_names_only


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "lab-server"])  # noqa: S104
def test_listening_beyond_loopback_requires_keys(host: str) -> None:
    """Otherwise anyone on the network could use the machine."""
    assert Settings.read({"PATHPATCH_HOST": host}).keys_required


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_addresses_are_recognised(host: str) -> None:
    """All of 127/8 and ::1 stay on this machine."""
    assert not Settings.read({"PATHPATCH_HOST": host}).keys_required


def test_an_admin_key_turns_keys_on() -> None:
    """Whoever sets one means it."""
    assert Settings.read({"PATHPATCH_ADMIN_KEY": "a" * 32}).keys_required


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PATHPATCH_PORT", "eighty", "a number"),
        ("PATHPATCH_PORT", "70000", "at most 65535"),
        ("PATHPATCH_LOG_LEVEL", "LOUD", "DEBUG, INFO"),
        ("PATHPATCH_REAPER_INTERVAL_S", "0", "more than 0"),
        ("PATHPATCH_RETENTION_S", "-1", "a number"),
        ("PATHPATCH_RETENTION_S", "inf", "a number"),
        ("PATHPATCH_AUTH", "maybe", "auto, on, off"),
        ("PATHPATCH_WEBHOOK_ALLOW_HTTP", "perhaps", "true or false"),
        ("PATHPATCH_ADMIN_KEY", "short", "at least 32 characters"),
        ("PATHPATCH_WEBHOOK_SECRET", "hunter2", "bytes in base64"),
        ("PATHPATCH_WEBHOOK_SECRET", "whsec_not base64!", "bytes in base64"),
        ("PATHPATCH_WEBHOOK_SECRET", "whsec_c2hvcnQ=", "bytes in base64"),
    ],
)
def test_a_senseless_variable_is_named_with_what_it_may_hold(variable: str, value: str, told: str) -> None:
    """The operator reads this once, at start, instead of wondering later."""
    with pytest.raises(BadSetting, match=told) as caught:
        Settings.read({variable: value})
    assert variable in str(caught.value)


@pytest.mark.parametrize("size", [24, 25, 26, 32, 64])
@pytest.mark.parametrize("is_padded", [True, False])
def test_a_webhook_secret_may_be_padded(size: int, is_padded: bool) -> None:
    """As `openssl rand -base64 32` prints it; the standard's library reads both."""
    text = b64encode(bytes(range(size))).decode()
    secret = "whsec_" + (text if is_padded else text.rstrip("="))
    assert Settings.read({"PATHPATCH_WEBHOOK_SECRET": secret}).webhook_secret == secret
    assert Webhook(secret).sign("msg_1", datetime.now(UTC), "{}")


def test_a_bad_admin_key_is_not_shown() -> None:
    """The message ends in logs."""
    with pytest.raises(BadSetting) as caught:
        Settings.read({"PATHPATCH_ADMIN_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)
