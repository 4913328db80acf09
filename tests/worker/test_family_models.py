"""Every family is read without transformers, and computes what transformers computes, under every processing flag."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from api_schemas.errors import UnusableModel
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from checkpoints.folder import configuration
from planning.processing_flags import inapplicable_flags
from tests.clean_runs import clean_logits, last_residual
from tests.live_worker import ROOT
from tests.stored_jobs import tiny_spec
from tests.tiny_families import CASES, write_family_folder
from worker.models import capacity
from worker.models.direct import layerwise_residual
from worker.models.loading import LoadedModel, load_model
from worker.process.provenance import check_arithmetic

FLAGS = (
    "fold_ln",
    "center_writing_weights",
    "center_unembed",
    "refactor_factored_attn_matrices",
    "fold_value_biases",
)
OFF = dict.fromkeys(FLAGS, False)


def load(folder: Path, cache_dir: Path, dtype: torch.dtype = torch.float32, **flags: bool) -> LoadedModel:
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(folder))}
    return load_model("tiny", ModelSpec(name="tiny", **flags), registry, "cpu", cache_dir, dtype=dtype)


def tokens() -> torch.Tensor:
    """Prompts longer than every window of the tiny models."""
    return torch.randint(23, (3, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", CASES)
def test_clean_logits_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    """To 1e-5 of the largest, with no flag, each and all; up to a shift where the unembedding is centred."""
    model = write_family_folder(tmp_path / "model", case)
    without = inapplicable_flags(configuration(tmp_path / "model").architecture)
    applicable = [flag for flag in FLAGS if flag not in without]
    with torch.no_grad():
        expected = model(tokens()).logits
    for flags in ([], *([flag] for flag in applicable), applicable):
        weights = load(tmp_path / "model", tmp_path / "cache", **OFF | dict.fromkeys(flags, True)).weights
        shift = expected.mean(dim=-1, keepdim=True) if "center_unembed" in flags else 0.0
        with torch.no_grad():
            deviation = (clean_logits(weights, tokens()) - (expected - shift)).abs().max()
        assert deviation <= 1e-5 * expected.abs().max(), flags


@pytest.mark.parametrize("case", ["llama", "opt", "gemma2"])
def test_flags_that_cannot_apply_leave_the_function_as_it_is(case: str, tmp_path: Path) -> None:
    """The service refuses them where they are asked for; a worker that is given the defaults must not break."""
    write_family_folder(tmp_path / "model", case)
    plain = load(tmp_path / "model", tmp_path / "cache", **OFF).weights
    processed = load(tmp_path / "model", tmp_path / "cache").weights
    with torch.no_grad():
        one, other = clean_logits(plain, tokens()).log_softmax(-1), clean_logits(processed, tokens()).log_softmax(-1)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_flags_do_what_they_say(tmp_path: Path) -> None:
    """Norms are ones, written vectors have mean zero, values no biases, queries and keys even scales."""
    write_family_folder(tmp_path / "model", "opt")
    weights = load(tmp_path / "model", tmp_path / "cache").weights
    for norm in (weights.ln1_w, weights.ln2_w, weights.ln_final_w):
        assert torch.equal(norm, torch.ones_like(norm))
    for written in (weights.W_E, weights.W_pos, weights.W_O, weights.b_O, weights.W_out, weights.b_out, weights.W_U):
        assert written is not None and written.mean(dim=-1).abs().max() < 1e-6
    assert not weights.b_V.any()
    torch.testing.assert_close(weights.W_V.mT @ weights.W_V, torch.eye(4).expand(2, 2, 4, 4), atol=1e-5, rtol=0)
    queries, keys = (
        torch.cat([w, b[:, :, None]], dim=2) for w, b in ((weights.W_Q, weights.b_Q), (weights.W_K, weights.b_K))
    )
    torch.testing.assert_close(queries.norm(dim=2), keys.norm(dim=2))


def test_shards_are_read_as_one_file_is(tmp_path: Path) -> None:
    """Models above some gigabytes come in several files with an index."""
    write_family_folder(tmp_path / "one", "qwen3")
    write_family_folder(tmp_path / "many", "qwen3", max_shard_size="4KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    one, many = load(tmp_path / "one", tmp_path / "cache"), load(tmp_path / "many", tmp_path / "cache")
    assert one.weights_sha256 == many.weights_sha256


def test_layers_of_their_own_compute_what_the_model_does(tmp_path: Path) -> None:
    """The self-check's expectation goes layer by layer, to save memory: local layers and their rotary base included."""
    write_family_folder(tmp_path / "model", "gemma3_text")
    weights = load(tmp_path / "model", tmp_path / "cache").weights
    torch.testing.assert_close(layerwise_residual(weights, tokens()), last_residual(weights, tokens()))


def test_bfloat16_is_float32_but_for_its_rounding(tmp_path: Path) -> None:
    """Asked for where float32 would not fit; kept apart in the cache."""
    model = write_family_folder(tmp_path / "model", "llama")
    weights = load(tmp_path / "model", tmp_path / "cache", torch.bfloat16).weights
    assert weights.dtype == torch.bfloat16 and all(value.dtype == weights.dtype for value in weights.tensors().values())
    assert load(tmp_path / "model", tmp_path / "cache", torch.bfloat16).from_cache
    assert not load(tmp_path / "model", tmp_path / "cache").from_cache
    with torch.no_grad():
        expected = model(tokens()).logits.log_softmax(-1)
        found = clean_logits(weights, tokens()).float().log_softmax(-1)
    assert 1e-4 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_model_that_does_not_fit_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is read, not by the system that kills the worker."""
    write_family_folder(tmp_path / "model", "llama")
    monkeypatch.setattr(capacity, "memory_bytes", lambda: 12_000)
    with pytest.raises(UnusableModel, match=r"its weights take 0\.0 GB as float32, and cpu has 0\.0 GB"):
        load(tmp_path / "model", tmp_path / "cache")


def test_one_in_the_cache_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of smaller devices may share the folder of processed weights."""
    write_family_folder(tmp_path / "model", "llama")
    found = load(tmp_path / "model", tmp_path / "cache")
    monkeypatch.setattr(capacity, "memory_bytes", lambda: 12_000)
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(tmp_path / "model"))}
    with pytest.raises(UnusableModel, match=r"its processed weights take 0\.0 GB, and cpu has 0\.0 GB"):
        load_model("tiny", ModelSpec(name="tiny"), registry, "cpu", tmp_path / "cache", found.revision)


WITHOUT = """
import sys
from pathlib import Path
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from worker.models.loading import load_model

folder, cache = sys.argv[1:]
registry = {"tiny": ModelOrigin(name="tiny", folder=folder)}
loaded = load_model("tiny", ModelSpec(name="tiny"), registry, "cpu", Path(cache))
print(loaded.from_cache, sorted({"transformers", "transformer_lens"} & set(sys.modules)))
"""


def test_no_start_imports_transformers(tmp_path: Path) -> None:
    """Neither the first, which reads the checkpoint, nor the second, which reads the cache."""
    write_family_folder(tmp_path / "model", "llama")
    said = [
        subprocess.run(
            [sys.executable, "-c", WITHOUT, str(tmp_path / "model"), str(tmp_path / "cache")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["False []", "True []"]


PEAK = """
import json, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from worker.models.assembly import weight_bytes
from worker.models.loading import load_model
from tests.clean_runs import clean_logits

def memory(kind):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[kind].split()[0]) * 1024

def load(folder, cache):
    registry = {"tiny": ModelOrigin(name="tiny", folder=folder)}
    return load_model("tiny", ModelSpec(name="tiny"), registry, "cpu", Path(cache))

small, large, cache = sys.argv[1:]
load(small, cache)
before = memory("VmHWM"), memory("VmRSS")
loaded = load(large, cache)
weights = loaded.weights
peak, n_bytes = memory("VmHWM") - before[0], weights.n_bytes
clean_logits(weights, torch.arange(8)[None])
resident = memory("VmRSS") - before[1]
counted = weight_bytes(weights.architecture, weights.dtype)
print(json.dumps([loaded.from_cache, peak, n_bytes, resident, weights.n_bytes, counted]))
"""


@pytest.mark.slow
def test_loading_takes_little_more_memory_than_the_weights(tmp_path: Path) -> None:
    """At most 1.2 times: an 8 billion parameter model must load on a machine that holds it.

    And what it holds while it runs, copies included, is what the loader compared with the device's memory.
    """
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "vocab_size": 16000}
    write_family_folder(tmp_path / "small", "llama")
    write_family_folder(tmp_path / "large", "llama", changes=sizes)
    for is_second in (False, True):
        command = [sys.executable, "-c", PEAK, *(str(tmp_path / name) for name in ("small", "large", "cache"))]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        from_cache, peak, n_bytes, resident, running, counted = json.loads(run.stdout)
        assert n_bytes > 200e6 and from_cache == is_second
        assert peak <= 1.2 * n_bytes
        assert running == counted > n_bytes
        assert counted <= resident < counted + 50e6, "beside it, only what a process needs for products"


def test_a_job_gets_the_arithmetic_that_it_asks_for(tmp_path: Path) -> None:
    """A worker that holds bfloat16 weights has nothing to compute float32 with; its provenance must not say so."""
    write_family_folder(tmp_path / "model", "llama")
    weights = load(tmp_path / "model", tmp_path / "cache", torch.bfloat16).weights
    assert weights.is_rounded
    spec = tiny_spec()
    check_arithmetic(spec.model_copy(update={"dtype": "bfloat16"}), weights.dtype)
    check_arithmetic(spec, torch.float32)
    with pytest.raises(UnusableModel, match=r"the job asks for float32: ask for dtype bfloat16"):
        check_arithmetic(spec, weights.dtype)
