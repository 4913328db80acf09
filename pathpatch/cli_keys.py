"""`pathpatch keys`: API keys, for administrators."""

from typing import Annotated

import typer

from pathpatch.terminal import (
    DEFAULT_URL,
    AsJson,
    Url,
    as_json,
    connect,
    note,
    print_json,
    print_table,
    reporting,
)  # fmt: skip

keys_app = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke API keys; needs a key with the scope admin in PATHPATCH_API_KEY.",
)


@keys_app.command("create")
@reporting
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, submit or admin; several are fine.")] = None,
    expires_after_days: Annotated[float | None, typer.Option(help="Days until it ends.", min=0)] = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a key and print its secret, which is never shown again.

    Examples:

      pathpatch keys create ana-laptop

      pathpatch keys create dashboard --scope read --expires-after-days 90
    """
    expires_after_s = None if expires_after_days is None else expires_after_days * 86400
    with connect(url) as client:
        key = client.create_key(name, scope or ["read", "submit"], expires_after_s)
    if json:
        print_json(as_json(key))
        return
    print(key.secret)
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
        (key.id, key.name, ", ".join(key.scopes), "revoked" if key.revoked else "valid",
         "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}")
        for key in keys
    ]  # fmt: skip
    print_table(("id", "name", "scopes", "state", "ends"), rows)


@keys_app.command("revoke")
@reporting
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id or its name.")],
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
