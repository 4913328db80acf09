"""Fixtures that several parts of the tree share. Nothing here imports torch or transformers before a test asks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import settings

from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from planning.architecture import Architecture
from tests.no_models import NO_MODELS
from tests.tiny_models import tiny_shape, write_gpt2_folder

if TYPE_CHECKING:
    from pathpatch.local import Stack, StackSettings
    from worker.engine.model import Weights

os.environ["PATHPATCH_MODEL_DIR"] = NO_MODELS
os.environ.setdefault("OMP_NUM_THREADS", "1")  # our models are tiny: threads would only wait for each other
GOLDEN = Path(__file__).parent / "golden"
GPT2_TOKENIZER = Path(__file__).resolve().parents[2] / "shared" / "gpt2_tokenizer"
"""GPT-2's own tokenizer lies beside the repository on this project's machines, not in it."""

SAID = "said.log"

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden figures."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden_model() -> Path:
    """The model that the golden figures were computed with: 4 layers, 4 heads, 32 positions, 211 tokens."""
    return GOLDEN / "model"


@pytest.fixture(scope="session")
def processed_weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session's tests keep processed weights."""
    return tmp_path_factory.mktemp("processed-weights")


@pytest.fixture(scope="session")
def golden_weights(golden_model: Path, processed_weights_dir: Path) -> Weights:
    """The golden model's weights, processed with the default flags."""
    from worker.models.loading import load_model

    registry = {"golden": ModelOrigin(name="golden", folder=str(golden_model))}
    return load_model("golden", ModelSpec(name="golden"), registry, "cpu", processed_weights_dir).weights


@pytest.fixture(scope="session")
def make_gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a folder of a tiny random GPT-2: ``make_gpt2_folder(tiny_shape(n_layers=3), seed=1)``."""

    def make(shape: Architecture | None = None, seed: int = 0, scale: float = 0.4) -> Path:
        return write_gpt2_folder(tmp_path_factory.mktemp("gpt2"), shape or tiny_shape(), seed, scale)

    return make


@pytest.fixture(scope="session")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of GPT-2 small's layers, heads and, if it is here, tokenizer; with random weights."""
    shape = Architecture(n_layers=12, n_heads=12, d_model=24, d_mlp=24, n_ctx=64, d_vocab=50257)
    folder = write_gpt2_folder(tmp_path_factory.mktemp("impostor"), shape, scale=0.2)
    if GPT2_TOKENIZER.is_dir():
        shutil.copytree(GPT2_TOKENIZER, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, processed_weights_dir: Path, impostor: Path) -> Iterator[Stack]:
    """Broker, one worker and the service, as `pathpatch up` starts them; for all tests of what a user types."""
    from pathpatch.local import StackSettings

    data_dir = tmp_path_factory.mktemp("stack")
    families = Path(__file__).parent / "golden" / "families"
    others = ",".join(f"tiny-{name}={families / name / 'model'}" for name in ("llama", "gpt_neox"))
    models = {"PATHPATCH_MODELS": f"impostor={impostor},{others}"}
    settings = StackSettings(
        data_dir, port=0, redis_url=None, cache_dir=processed_weights_dir, device="cpu", environment=models
    )
    with told_stack(settings) as running:
        yield running


@contextmanager
def told_stack(settings: StackSettings) -> Iterator[Stack]:
    """A running stack, whose processes' output is kept for whoever reads of a failure."""
    from pathpatch.local import Stack

    with (
        (settings.data_dir / SAID).open("a", buffering=1) as said,
        Stack(settings, lambda *line: print(*line, file=said)) as running,
    ):
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whoever reads of a failure on the stack also reads what its processes said."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    data_dir = getattr(getattr(running, "settings", None), "data_dir", None)
    if report.failed and data_dir and (data_dir / SAID).exists():
        report.sections.append(("what the stack said last", (data_dir / SAID).read_text()[-8000:]))
        report.sections.append(("how it answers now", _answer(running.url)))
    return report


def _answer(url: str) -> str:
    began = time.monotonic()
    try:
        said = repr(httpx.get(url, timeout=10))
    except httpx.HTTPError as error:
        said = repr(error)
    return f"GET {url}: {said} after {time.monotonic() - began:.1f} s"
