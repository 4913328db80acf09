"""Models are found, processed once, kept, checked, and never read from a pickle."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from api_schemas.errors import ModelChanged, ModelNotFound, SelfCheckFailed, UnusableModel
from api_schemas.models import ModelOrigin, parse_registry
from api_schemas.spec import ModelSpec
from tests.bridges import boot_bridge
from tests.clean_runs import clean_logits
from tests.tiny_models import tiny_shape
from worker.models.loading import LoadedModel, load_model, self_check
from worker.models.processed import sweep

FLAGS = (
    "fold_ln",
    "center_writing_weights",
    "center_unembed",
    "refactor_factored_attn_matrices",
    "fold_value_biases",
)
MakeFolder = Callable[..., Path]


def load(folder: Path, cache_dir: Path, **flags: bool) -> LoadedModel:
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(folder))}
    return load_model("tiny", ModelSpec(name="tiny", **flags), registry, "cpu", cache_dir)


def only_cache_file(cache_dir: Path) -> Path:
    (path,) = cache_dir.iterdir()
    return path


@pytest.mark.parametrize("d_mlp", [None, 8, 24], ids=["n_inner default", "n_inner d_model", "n_inner other"])
@pytest.mark.parametrize("off", [(), *((flag,) for flag in FLAGS), FLAGS], ids=lambda off: "-".join(off) or "none")
def test_extracted_weights_give_the_logits_of_transformer_lens(
    make_gpt2_folder: MakeFolder, tmp_path: Path, off: tuple[str, ...], d_mlp: int | None
) -> None:
    """Any mix of flags must be read off the bridge with the right axes, an MLP as wide as the stream included."""
    folder = make_gpt2_folder(tiny_shape(d_mlp=d_mlp), seed=3)
    flags = dict.fromkeys(off, False)
    weights = load(folder, tmp_path, **flags).weights
    tokens = torch.randint(23, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = boot_bridge(folder, ModelSpec(name="tiny", **flags))(tokens)
    torch.testing.assert_close(clean_logits(weights, tokens), expected, atol=1e-4, rtol=1e-4)
    assert weights.architecture == tiny_shape(d_mlp=d_mlp)


def test_the_second_start_finds_processed_weights(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Processing a large model takes minutes; it must happen once, and give the same bits."""
    folder = make_gpt2_folder()
    first, second = load(folder, tmp_path), load(folder, tmp_path)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.weights_sha256 == second.weights_sha256
    assert first.revision == second.revision
    for name, value in first.weights.tensors().items():
        assert torch.equal(value, second.weights.tensors()[name]), name


def test_other_flags_are_kept_apart(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """The flags are part of what the weights are."""
    folder = make_gpt2_folder()
    assert load(folder, tmp_path).weights_sha256 != load(folder, tmp_path, fold_ln=False).weights_sha256
    assert len(list(tmp_path.iterdir())) == 2


def test_changed_weights_are_processed_anew(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """A folder that was overwritten by a newer checkpoint must not answer with the old one's numbers."""
    folder = make_gpt2_folder(seed=1)
    before = load(folder, tmp_path)
    shutil.copy(make_gpt2_folder(seed=2) / "model.safetensors", folder / "model.safetensors")
    after = load(folder, tmp_path)
    assert not after.from_cache
    assert after.revision != before.revision


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x40
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def forget_metadata(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, empty, forget_metadata])
def test_damaged_processed_weights_are_made_again(
    make_gpt2_folder: MakeFolder, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """A disk error must neither stop a worker nor reach a result."""
    folder = make_gpt2_folder()
    sound = load(folder, tmp_path)
    damage(only_cache_file(tmp_path))
    again = load(folder, tmp_path)
    assert not again.from_cache
    assert again.weights_sha256 == sound.weights_sha256
    assert load(folder, tmp_path).from_cache


def test_an_unwritable_cache_does_not_stop_the_worker(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """A read-only disk costs time, not answers."""
    (tmp_path / "file").write_text("in the way")
    assert not load(make_gpt2_folder(), tmp_path / "file" / "cache").from_cache


START_FROM_CACHE = """
import sys
from pathlib import Path
from api_schemas.models import ModelOrigin, parse_registry
from api_schemas.spec import ModelSpec
from tests.tiny_weights import node, prompts, result_of
from worker.process import child
from worker.process import shard_work
from worker.models.loading import load_model

name, registry, cache = sys.argv[1:]
loaded = load_model(name, ModelSpec(name=name), parse_registry(registry), "cpu", Path(cache))
patch = {"senders": [node("z", 0, head=0)], "receivers": [node("resid_post", 0)]}
assert result_of(loaded.weights, prompts([4, 3]), patch).blocks
print(loaded.from_cache, loaded.revision, *sorted({"transformers", "transformer_lens"} & set(sys.modules)))
"""


def start_worker_process(name: str, registry: str, cache: Path, **env: str) -> str:
    """Load a model in a fresh interpreter that imports what a worker's child does, and run a job; what it printed."""
    command = [sys.executable, "-c", START_FROM_CACHE, name, registry, str(cache)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, env=os.environ | env, capture_output=True, text=True, timeout=120)
    return run.stdout.strip() or run.stderr.strip().splitlines()[-1]


def test_a_start_from_processed_weights_imports_no_transformer_lens(
    make_gpt2_folder: MakeFolder, tmp_path: Path
) -> None:
    """Nor does its first job: the import alone takes longer than a short one."""
    folder = make_gpt2_folder()
    revision = load(folder, tmp_path).revision
    assert start_worker_process("tiny", f"tiny={folder}", tmp_path) == f"True {revision}"


def test_a_hub_model_is_found_in_the_local_hub_cache(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Machines without a network use what was downloaded before; the commit is the revision."""
    commit = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    repository = tmp_path / "hub" / "models--openai-community--gpt2"
    shutil.copytree(make_gpt2_folder(), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    assert start_worker_process("gpt2-small", "", tmp_path / "cache", **env) == (
        f"False {commit} transformer_lens transformers"
    )


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_model_that_is_nowhere_says_what_was_looked_for_and_where(tmp_path: Path, offline: str) -> None:
    """Without a hub this must be an answer at once, not minutes of retries."""
    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    answer = start_worker_process("gpt2-medium", "", tmp_path / "cache", **env)
    assert "ModelNotFound" in answer
    for part in ("openai-community/gpt2-medium", str(tmp_path / "hub"), "hub", "PATHPATCH_MODELS=gpt2-medium=FOLDER"):
        assert part in answer


def test_an_unregistered_name_lists_the_registered_ones(tmp_path: Path) -> None:
    """The name comes from the registry only, so a path in a request reaches no disk."""
    with pytest.raises(ModelNotFound, match="distilgpt2"):
        load_model("/etc", ModelSpec(name="/etc"), parse_registry(""), "cpu", tmp_path)


def test_a_folder_of_pickles_is_refused(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Unpickling runs code."""
    folder = make_gpt2_folder()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnusableModel, match=r"pytorch_model\.bin.*convert it to safetensors"):
        load(folder, tmp_path)


def test_a_pickle_beside_safetensors_is_not_read(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Many published folders hold both."""
    folder = make_gpt2_folder()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(folder, tmp_path).weights.architecture.n_layers == 2


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bloom", "architectures": ["BloomForCausalLM"]}, "BloomForCausalLM"),
        ({"activation_function": "relu"}, "'relu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scaled"),
        ({"n_embd": "wide"}, "config.json is damaged"),
        ({"n_positions": 13}, "do not fit its config.json"),
        ({"n_layer": 3}, "weights are missing"),
    ],
)
def test_another_architecture_is_refused_by_name(
    make_gpt2_folder: MakeFolder, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """Weights that merely have fitting shapes would give numbers of no model."""
    folder = make_gpt2_folder()
    change_config(folder, **changes)
    with pytest.raises(UnusableModel, match=message) as caught:
        load(folder, tmp_path)
    assert str(folder) in str(caught.value) and str(folder) not in caught.value.detail  # clients read the detail


def test_a_config_without_a_size_names_it(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """The operator must know what to add."""
    folder = make_gpt2_folder()
    path = folder / "config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "n_head"}))
    with pytest.raises(UnusableModel, match=r"config\.json has no 'n_head'"):
        load(folder, tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named_with_its_folder(make_gpt2_folder: MakeFolder, tmp_path: Path, missing: str) -> None:
    """The commonest mistake: the wrong folder."""
    folder = make_gpt2_folder()
    (folder / missing).unlink()
    with pytest.raises(ModelNotFound, match=f"looked for {missing} in the folder {folder}") as caught:
        load(folder, tmp_path)
    assert f"looked for {missing} in the folder, which has none" in caught.value.detail


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A path mistyped in PATHPATCH_MODELS."""
    with pytest.raises(ModelNotFound, match=f"the folder {tmp_path / 'no'}, which does not exist"):
        load(tmp_path / "no", tmp_path)


def test_truncated_weights_are_refused(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """An interrupted copy."""
    folder = make_gpt2_folder()
    cut_short(folder / "model.safetensors")
    with pytest.raises(UnusableModel, match=r"model\.safetensors is truncated or not safetensors"):
        load(folder, tmp_path)


def test_weights_in_several_files_are_read_by_their_index(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Large checkpoints are cut into files."""
    folder = make_gpt2_folder()
    whole = load(folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:10], names[10:]), start=1):
        file_name = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file_name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file_name)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(folder, tmp_path).weights_sha256 == whole.weights_sha256
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UnusableModel, match=r"model-00002-of-00002\.safetensors"):
        load(folder, tmp_path)


def test_half_precision_files_become_float32(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """The demo model is shipped so."""
    folder = make_gpt2_folder()
    halves = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", {"format": "pt"})
    assert load(folder, tmp_path).weights.dtype == torch.float32


@pytest.mark.parametrize("center_unembed", [True, False])
@pytest.mark.parametrize("scale", [0.0, 1e-4])
def test_a_model_whose_logits_are_all_equal_passes_its_self_check(
    make_gpt2_folder: MakeFolder, tmp_path: Path, scale: float, center_unembed: bool
) -> None:
    """Centring leaves no logit that is large: what deviates then is rounding, and 0 of 0 is no deviation."""
    folder = make_gpt2_folder()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.wte.weight"] = torch.ones_like(tensors["transformer.wte.weight"]) * scale
    save_file(tensors, path, {"format": "pt"})
    weights = load(folder, tmp_path, center_unembed=center_unembed).weights
    logits = clean_logits(weights, torch.arange(12)[None])
    assert torch.allclose(logits, logits[..., :1].expand_as(logits), atol=1e-6)
    assert load(folder, tmp_path, center_unembed=center_unembed).from_cache


def test_weights_too_large_for_float32_are_a_fault_of_the_file(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Every number is finite, and the logits are not; no device is to blame, and no worker ends."""
    folder = make_gpt2_folder()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.1.mlp.c_proj.weight"] *= 1e38
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UnusableModel, match="its logits are not finite: the weights are too large for float32"):
        load(folder, tmp_path)


def test_nan_weights_are_named_by_tensor(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """A run that diverged; the worker says so as the service does."""
    folder = make_gpt2_folder()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.wpe.weight"][3, 1] = float("nan")
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(
        UnusableModel, match=r"model\.safetensors holds NaN or infinite values in transformer\.wpe\.weight"
    ):
        load(folder, tmp_path)


def test_a_revision_outlives_its_files_as_processed_weights(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Jobs that were queued before the folder was overwritten run what they were accepted for, or fail saying so."""
    folder = make_gpt2_folder(seed=1)
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(folder))}
    before = load(folder, tmp_path)
    shutil.copy(make_gpt2_folder(seed=2) / "model.safetensors", folder / "model.safetensors")
    spec = ModelSpec(name="tiny")
    again = load_model("tiny", spec, registry, "cpu", tmp_path, before.revision)
    assert (again.revision, again.weights_sha256) == (before.revision, before.weights_sha256)
    with pytest.raises(ModelChanged, match=f"accepted for revision {before.revision}.*now revision local-"):
        load_model("tiny", spec, registry, "cpu", tmp_path / "empty", before.revision)


def test_processed_weights_on_disk_are_bounded(make_gpt2_folder: MakeFolder, tmp_path: Path) -> None:
    """Each save of a fine-tune leaves a file; the least recently used go, and whatever was left half written."""
    folders = [make_gpt2_folder(seed=seed) for seed in (1, 2, 3)]
    for age, folder in enumerate(folders):
        load(folder, tmp_path)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (time.time() - 100 + age,) * 2)
    abandoned = tmp_path / ".writing-x.safetensors"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    assert load(folders[0], tmp_path).from_cache  # used again, so that the second is the oldest
    size = next(tmp_path.glob("[!.]*")).stat().st_size
    sweep(tmp_path, 2 * size + 100)
    assert not abandoned.exists() and len(list(tmp_path.iterdir())) == 2
    assert [load(folder, tmp_path).from_cache for folder in (folders[0], folders[2], folders[1])] == [True, True, False]
    sweep(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("tied", [True, False])
def test_an_unembedding_of_its_own_is_honoured(make_gpt2_folder: MakeFolder, tmp_path: Path, tied: bool) -> None:
    """What `tie_word_embeddings` says, as transformers runs it."""
    from transformers import GPT2LMHeadModel

    folder = make_gpt2_folder()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if not tied:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].flip(0).contiguous()
    save_file(tensors, path, {"format": "pt"})
    change_config(folder, tie_word_embeddings=tied)
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        expected = GPT2LMHeadModel.from_pretrained(folder)(tokens).logits
    weights = load(folder, tmp_path, center_unembed=False).weights
    torch.testing.assert_close(clean_logits(weights, tokens), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_device_that_computes_wrong_numbers_is_refused(
    make_gpt2_folder: MakeFolder, tmp_path: Path, wrong: float
) -> None:
    """A broken GPU answers quickly and wrongly; a worker must not serve from it."""
    weights = load(make_gpt2_folder(), tmp_path).weights
    with safe_open(only_cache_file(tmp_path), framework="pt") as file:
        expected_logits = file.get_tensor("expected_logits")
    self_check("tiny", weights, expected_logits)
    with pytest.raises(SelfCheckFailed, match="'tiny' on cpu"):
        self_check("tiny", replace(weights, W_out=weights.W_out * wrong), expected_logits)
