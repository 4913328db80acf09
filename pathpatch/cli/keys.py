"""`pathpatch keys`: API keys, for administrators."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from api_schemas.accounts import KeyInfo
from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    Url,
    as_json,
    connect,
    note,
    print_json,
    print_table,
    reporting,
    say,
)  # fmt: skip

keys_app = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke API keys; needs a key with the scope admin in PATHPATCH_API_KEY.",
)


@keys_app.command("create")
@reporting
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, submit, high (priority) or admin; several are fine.")
    ] = None,
    expires_after_days: Annotated[float | None, typer.Option(help="Days until it ends.", min=0)] = None,
    queued_jobs: Annotated[int | None, typer.Option(help="Most jobs that wait for a worker.", min=0)] = None,
    running_shards: Annotated[int | None, typer.Option(help="Most shards that run at once.", min=1)] = None,
    submits_per_minute: Annotated[int | None, typer.Option(help="Most jobs submitted per minute.", min=1)] = None,
    compute_s_per_day: Annotated[
        float | None, typer.Option(help="Most seconds of computing per day (UTC).", min=0)
    ] = None,
    store_bytes: Annotated[int | None, typer.Option(help="Most bytes of jobs and results kept.", min=1)] = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a key and print its secret, which is never shown again.

    Limits that are not given are the server's own (pathpatch me shows them).

    Examples:

      pathpatch keys create ana-laptop

      pathpatch keys create dashboard --scope read --expires-after-days 90

      pathpatch keys create lecture --scope read --scope submit --scope high

      pathpatch keys create robot --submits-per-minute 60 --queued-jobs 1000
    """
    expires_after_s = None if expires_after_days is None else expires_after_days * 86400
    limits = {
        "queued_jobs": queued_jobs,
        "running_shards": running_shards,
        "submits_per_minute": submits_per_minute,
        "compute_s_per_day": compute_s_per_day,
        "store_bytes": store_bytes,
    }
    with connect(url) as client:
        key = client.create_key(name, scope or ["read", "submit"], expires_after_s, limits)
    if json:
        print_json(as_json(key))
        return
    say(key.secret)
    note(f"the secret of {key.name}: give it as PATHPATCH_API_KEY; it is not shown again")


@keys_app.command("list")
@reporting
def list_keys(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List keys, without their secrets.

    Example: pathpatch keys list
    """
    with connect(url) as client:
        keys = client.keys()
    if json:
        print_json([as_json(key) for key in keys])
        return
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            _limits(key),
            _state(key),
            _day(key.expires_at),
            _day(key.last_used_at),
        )
        for key in keys
    ]
    print_table(("id", "name", "scopes", "limits", "state", "ends", "last used"), rows)


def _limits(key: KeyInfo) -> str:
    return ", ".join(f"{name} {limit:g}" for name, limit in key.limits.model_dump(exclude_none=True).items())


def _state(key: KeyInfo) -> str:
    if key.revoked:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"


def _day(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d}"


@keys_app.command("revoke")
@reporting
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or its name if no other valid key has it.")],
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a key useless, within seconds.

    Example: pathpatch keys revoke ana-laptop
    """
    with connect(url) as client:
        client.revoke_key(key)
    if json:
        print_json({"key": key, "revoked": True})
    else:
        note(f"{key} is revoked")
