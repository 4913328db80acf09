"""The page in a real browser, against a real stack: broker, worker and service as processes of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathpatch.client import Client
from pathpatch.local import Stack

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FLAGS += ["--disable-dev-shm-usage"]  # a container's /dev/shm is often too small for a browser, which then hangs
TIMEOUT_MS = 60_000
"""A busy machine takes seconds for what is a matter of milliseconds."""


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """The Python client on the same stack, to prepare and to check."""
    with Client(stack.url) as talking:
        yield talking


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, if it is installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium, or set CHROMIUM")
    playwright.expect.set_options(timeout=TIMEOUT_MS)
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, stack: Stack):
    """A fresh tab. Fails the test when the page logs an error or asks another host for anything."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    errors, strangers = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if _is_ours(message) else None)
    tab.on("request", lambda request: strangers.append(request.url) if _is_foreign(request.url, stack.url) else None)
    yield tab
    context.close()
    assert errors == []
    assert strangers == []


def _is_ours(message) -> bool:
    """An error of the page's own; the browser itself reports every answer of 400 or more."""
    return message.type == "error" and "Failed to load resource" not in message.text


def _is_foreign(url: str, home: str) -> bool:
    return not url.startswith((home, "data:", "blob:"))
