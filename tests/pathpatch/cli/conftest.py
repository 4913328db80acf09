"""The command line in this process, by itself or talking to a real service."""

import io
import sys

import pytest

from pathpatch import cli
from pathpatch.local import Stack
from tests.commands import Command, Outcome


@pytest.fixture
def pathpatch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.delenv("PATHPATCH_API_KEY", raising=False)

    def run(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pathpatch", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


@pytest.fixture
def to_service(pathpatch: Command, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same, talking to a real service."""
    monkeypatch.setenv("PATHPATCH_URL", stack.url)
    return pathpatch
