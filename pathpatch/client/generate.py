"""Writes ``blocking/`` from ``awaited/``: one definition of the client, with and without ``async``.

``python pathpatch/client/generate.py`` after a change of ``awaited/``; a test holds the two equal. Needs ruff.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOTE = "# Generated from ../awaited by `python pathpatch/client/generate.py`: change that instead.\n"
SUBSTITUTES = {
    r"\n    Every method is awaited; ``follow`` is an async iterator\.\n": "",
    r"\ban ``async with``": "a ``with``",
    r"\basync (?=def|with|for)": "",
    r"\bawait ": "",
    r"\bawaited\b": "blocking",
    r"\basyncio\b": "time",
    r"\bAsync(?=[A-Z])": "",
    r"\b__a(?=enter__|exit__)": "__",
    r"\ba(?=close\(|read\(|iter_lines\()": "",
}


def blocking(source: str) -> str:
    """A module without ``async``, formatted as the rest."""
    for pattern, substitute in SUBSTITUTES.items():
        source = re.sub(pattern, substitute, source)
    return _ruff(_ruff(NOTE + source, "check", "--select", "I", "--fix", "--quiet"), "format")


def _ruff(source: str, *command: str) -> str:
    ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(HERE / "blocking" / "client.py"), "-"]
    return subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout  # noqa: S603


def modules() -> dict[Path, str]:
    """Each generated file and what it must hold."""
    sources = sorted(path for path in (HERE / "awaited").glob("*.py") if path.name != "__init__.py")
    return {HERE / "blocking" / path.name: blocking(path.read_text(encoding="utf-8")) for path in sources}


if __name__ == "__main__":
    for path, text in modules().items():
        path.write_text(text, encoding="utf-8")
