"""The documentation site builds without a warning, and needs no other host to be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pathpatch

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    """Links may lead elsewhere; scripts, styles, fonts and pictures may not."""
    for page in site.rglob("*.html"):
        assert not FETCHED.findall(page.read_text(encoding="utf-8")), page.relative_to(site)
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8"), style.relative_to(site)


def test_every_example_is_a_page_with_its_pictures(site: Path) -> None:
    """They are read from examples/, so nothing is written twice."""
    examples = sorted(path.parent.name for path in (ROOT / "examples").glob("*/README.md"))
    assert len(examples) == 12
    for example in examples:
        page = site / "examples" / example / "index.html"
        pictures = re.findall(r'<img[^>]*src="([^"]+\.svg)"', page.read_text(encoding="utf-8"))
        assert pictures
        for picture in pictures:
            assert (page.parent / picture).is_file(), f"{example}: {picture}"


def test_every_route_and_schema_is_in_the_reference(site: Path) -> None:
    """The page is written from the service's own OpenAPI at build time."""
    from service.app import create_app
    from service.settings import Settings

    document = create_app(Settings()).openapi()
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name.lower().strip("_")}"' in page


def test_every_python_name_is_in_the_reference(site: Path) -> None:
    """README promises it."""
    page = (site / "client" / "index.html").read_text(encoding="utf-8")
    for name in set(pathpatch.__all__) - {"__version__"}:
        assert re.search(rf'id="[\w.]+\.{name}"', page), name
