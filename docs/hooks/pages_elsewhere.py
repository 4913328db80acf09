"""MkDocs hook: pages and pictures that live elsewhere in the repository become part of the site, unwritten twice.

``examples/*/README.md`` and ``CONTRIBUTING.md`` are read where they are. A link that leaves ``docs/`` (as it must for
somebody who reads the file in the repository) is turned into one within the site.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES_AT_ROOT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
EXAMPLE_FILES = ("README.md", "*/README.md", "*/*.svg", "*/*.yaml", "*.ipynb")
NOT_IN_SITE = "spec_templates"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lives outside ``docs/``."""
    for path in PAGES_AT_ROOT:
        files.append(_file(Path(path), config))
    for pattern in EXAMPLE_FILES:
        for found in sorted((ROOT / "examples").glob(pattern)):
            if found.parent.name != NOT_IN_SITE:
                files.append(_file(found.relative_to(ROOT), config))
    return files


def _file(path: Path, config: MkDocsConfig) -> File:
    return File(path.as_posix(), str(ROOT), config.site_dir, config.use_directory_urls)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as the site needs them."""
    place = page.file.src_uri
    if place in PAGES_AT_ROOT:
        return markdown.replace("](docs/", "](")
    if place.startswith("examples/"):
        return markdown.replace("](../../docs/", "](../../")
    return markdown.replace("](../", "](")


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings as a reader of the site needs them: the name without its Sphinx role."""
    return re.sub(r":(?:class|func|meth|mod):(?=<code>)", "", html)
