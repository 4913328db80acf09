"""What one key has drawn is not seen in the time that another key's request takes."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from checkpoints.registry import read_registry
from service.accounts.shares import Slots
from service.checkers.checker import Given, SpecText
from service.checkers.models import KnownModels
from service.checkers.pool import Checkers
from service.datasets.resolve import LEAST_REMEMBERED
from service.jobs.speeds import Speed
from service.models.catalog import ModelCatalog
from service.settings import Settings
from service.specs.limits import SpecLimits
from tests.live_service import ROOT, spec

COUNTING = """
import os
from service.datasets import resolve
draw = resolve.draw_tokens
def counted(*arguments):
    with open(os.environ["DRAWN"], "a") as file:
        file.write("drawn\\n")
    return draw(*arguments)
resolve.draw_tokens = counted
"""


def test_a_seed_that_another_key_has_drawn_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that looks at its own spec twice has it drawn once; whether another key drew it before shows nowhere."""
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    drawn = tmp_path / "drawn"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    monkeypatch.setenv("DRAWN", str(drawn))
    dataset = {"kind": "ioi", "examples": LEAST_REMEMBERED, "seed": 4711}
    text = SpecText(json.dumps(spec(dataset=dataset)).encode())
    models = KnownModels({"demo": ModelCatalog(read_registry("")).get("demo")})
    given = Given(speeds={"demo": Speed.of(set(), {})})

    large = bytearray(500 * 2**20)  # a service that is large itself must not make its checking processes seem so
    large[:: 2**12] = b"x" * (len(large) >> 12)

    async def scenario() -> list[int]:
        checkers = Checkers(Settings(), SpecLimits(), Slots("specs", in_all=1, per_key=1))
        counts = []
        for key in ("victim", "victim", "curious", "curious", "victim"):
            assert await checkers.call(key, text, "report", given, models)
            counts.append(len(drawn.read_text().split()))
        checkers.stop()
        await asyncio.sleep(0.5)  # until the loop has seen the end of the process
        return counts

    assert asyncio.run(scenario()) == [1, 1, 2, 2, 3]
    del large
