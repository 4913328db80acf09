"""Options of the look of a figure, for the commands that draw one."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from pathpatch.cli.terminal import CommandFailed

LookOptions = Mapping[str, Any]
"""What was given of the options below, as a figure takes them."""

_OPTIONS: dict[str, Any] = {
    "title": Annotated[str | None, typer.Option(help="Title of the figure; empty for none.")],
    "x_label": Annotated[str | None, typer.Option(help="Label of its horizontal axis; empty for none.")],
    "y_label": Annotated[str | None, typer.Option(help="Label of its vertical axis; empty for none.")],
    "colour_limit": Annotated[
        float | None, typer.Option(help="End of a heatmap's colour scale, the same for figures to compare.")
    ],
    "size": Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Size of the figure in inches, as 6x4.")],
}


def with_look(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options added; it gets what was given as the mapping ``look``."""

    @wraps(command)
    def looking(**given: Any) -> None:
        look = {name: value for name in _OPTIONS if (value := given.pop(name)) is not None}
        command(**given, look=_checked(look, given["plot"] is not None))

    own = [one for one in signature(command).parameters.values() if one.name != "look"]
    added = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in _OPTIONS.items()]
    looking.__signature__ = signature(command).replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    looking.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return looking


def _checked(look: dict[str, Any], is_drawn: bool) -> LookOptions:
    """The look as figures take it, checked before any work is done for it."""
    if not look:
        return look
    if not is_drawn:
        option = next(iter(look)).replace("_", "-")
        raise CommandFailed(f"--{option} goes with --plot FILE, and no figure is drawn here.")
    from pathpatch.drawing.look import Look, UnfitLook

    try:
        if "size" in look:
            look["size"] = _inches(look["size"])
        Look(**look)
    except UnfitLook as exc:
        raise CommandFailed(f"--{str(exc).replace(exc.option, exc.option.replace('_', '-'), 1)}.") from exc
    return look


def _inches(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.lower().split("x"))
    except ValueError as exc:
        raise CommandFailed(f"--size: width and height in inches, such as 6x4, not {text!r:.60}.") from exc
