"""What a user can meet is in docs/: every route, command, error code and setting."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from api_schemas.built_in_models import BUILT_IN
from api_schemas.errors import PathPatchingError
from pathpatch import cli, fetching, problems
from pathpatch.cli import terminal
from pathpatch.cli.keys import keys_app
from pathpatch.cli.models import models_app
from pathpatch.client import calls
from pathpatch.results import files, pooling
from service.app import create_app
from service.settings import Settings
from service.specs.limits import SpecLimits

ROOT = Path(__file__).parent.parent
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
SETTINGS_FILES = (
    "worker/settings.py",
    "pathpatch/cli/terminal.py",
    "pathpatch/stack/stack.py",
    "pathpatch/local.py",
    "pathpatch/client/connection.py",
)
FOR_TESTS = {"PATHPATCH_SIMULATED_DEVICE_FLOPS", "PATHPATCH_SHARD_DELAY_S"}
SEEN_BY_USERS = {PathPatchingError.__module__} | {
    module.__name__ for module in (problems, terminal, files, pooling, calls, fetching)
}
NOT_SETTINGS = {"environment", "redis_url"}


def routes() -> list[str]:
    """``GET /v1/jobs/{}`` and the others, whatever their parameters are called."""
    paths = create_app(Settings()).openapi()["paths"]
    return [f"{method.upper()} {re.sub('{.*?}', '{}', path)}" for path, methods in paths.items() for method in methods]


def codes() -> list[str]:
    """Every stable error code."""

    def below(kind: type[PathPatchingError]) -> set[str]:
        is_seen_by_users = kind.__module__ in SEEN_BY_USERS
        return ({kind.code} if is_seen_by_users else set()).union(*map(below, kind.__subclasses__()))

    return sorted(below(PathPatchingError))


def settings() -> list[str]:
    """Every environment variable that somebody may set."""
    named = {f"PATHPATCH_{field.name.upper()}" for kind in (Settings, SpecLimits) for field in fields(kind)}
    named -= {f"PATHPATCH_{name.upper()}" for name in NOT_SETTINGS}
    for file in SETTINGS_FILES:
        named |= set(re.findall(r"PATHPATCH_[A-Z_]*[A-Z]", (ROOT / file).read_text(encoding="utf-8")))
    return sorted(named - FOR_TESTS)


def commands() -> list[str]:
    """``run`` and the others, with those of ``keys``."""
    groups = {"keys": keys_app, "models": models_app}
    return [
        *cli.COMMANDS,
        *(
            f"{group} {command.name}"
            for group, app in groups.items()
            for command in app.registered_commands
            if not command.hidden
        ),
    ]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_documented(route: str) -> None:
    """In the table of docs/http.md, as ``METHOD /path``."""
    assert f"`{route}`" in re.sub("{.*?}", "{}", DOCS)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    """In the table of docs/command-line.md."""
    assert f"`pathpatch {command}" in DOCS


@pytest.mark.parametrize("code", codes())
def test_every_error_code_is_documented(code: str) -> None:
    """In the tables of docs/errors.md, with what to do."""
    assert f"| `{code}` |" in DOCS


@pytest.mark.parametrize("setting", settings())
def test_every_setting_is_documented(setting: str) -> None:
    """In the table of docs/deploy.md."""
    assert f"| `{setting}` |" in DOCS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A link to a page that was renamed is worse than none."""
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["demo", *BUILT_IN])
def test_every_built_in_model_is_documented(name: str) -> None:
    """With its repository and its licence."""
    known = BUILT_IN.get(name)
    wanted = [] if known is None else [known.repository, known.licence, known.family]
    (row,) = (
        line for line in (ROOT / "docs" / "models.md").read_text().splitlines() if line.startswith(f"| `{name}` |")
    )
    assert [word for word in wanted if word not in row] == []
