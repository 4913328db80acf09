"""The command line: what it prints, where, and with which exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import pathpatch as pp
from api_schemas.built_in_models import BUILT_IN
from api_schemas.spec import JobSpec
from pathpatch import cli
from pathpatch.local import Stack
from pathpatch.presets import EARLIER_NAMES, PRESETS, LayersAndHeads, experiment_heads, filled_in, preset, shape_of
from pathpatch.stack.broker import free_port
from tests.commands import Command
from tests.conftest import GPT2_TOKENIZER


def tiny(**changes: Any) -> dict[str, Any]:
    """The founding experiment on few prompts."""
    spec: dict[str, Any] = yaml.safe_load(preset("ioi-heads"))
    spec["dataset"]["examples"] = 8
    return {**spec, **changes}


@pytest.mark.parametrize("command", [*cli.COMMANDS, "keys create", "keys list", "keys revoke"])
def test_every_command_helps_with_an_example(pathpatch: Command, command: str) -> None:
    """An example is read before the options are."""
    code, output, _ = pathpatch(*command.split(), "--help")
    assert code == 0
    assert "Example" in output
    assert f"pathpatch {command}" in output


def test_every_command_but_those_that_draw_or_serve_speaks_json(pathpatch: Command) -> None:
    """Scripts must not read tables."""
    for command in set(cli.COMMANDS) - {"up", "demo", "mcp"}:
        assert "--json" in pathpatch(command, "--help")[1], command


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("model", ["demo", "gpt2-small"])
def test_every_preset_is_a_valid_spec_with_comments(pathpatch: Command, name: str, model: str) -> None:
    """A first spec that does not run would be the last."""
    code, output, _ = pathpatch("new", name, "--model", model)
    assert code == 0
    assert output.startswith("# ")
    assert JobSpec.model_validate(yaml.safe_load(output)).model.name == model


def test_a_file_of_prompts_becomes_a_spec_with_comments(pathpatch: Command) -> None:
    """Its answers are measured; a preset has prompts of its own."""
    file = Path(__file__).parents[2] / "prompt_files" / "eap_ig_ioi.csv"
    code, output, _ = pathpatch("new", "--prompts", str(file), "--model", "demo")
    assert code == 0 and output.startswith("# ")
    spec = JobSpec.model_validate(yaml.safe_load(output))
    assert spec.dataset == pp.prompts_from(file)
    assert spec.metric == pp.logit_diff("correct", "incorrect")
    written = json.loads(pathpatch("new", "--prompts", str(file), "--json")[1])
    assert written["dataset"]["answers"]["correct"] == [773, 798]
    assert "not both" in pathpatch("new", "sweep", "--prompts", str(file))[2]
    assert "none.csv cannot be read" in pathpatch("new", "--prompts", "none.csv")[2]


@pytest.mark.integration
def test_layers_of_a_model_that_nobody_knows_are_said_to_be_a_guess(to_service: Command) -> None:
    """The service is asked for those of a model of one's own."""
    code, text, said = to_service("new", "heads-to-logits", "--model", "nobodys")
    assert code == 0 and "layer: 11" in text
    assert "no service here knows the model 'nobodys': its layers are taken for GPT-2 small's" in said


def test_an_unknown_preset_is_answered_with_the_known_ones(pathpatch: Command) -> None:
    """The fix belongs into the message."""
    code, _, said = pathpatch("new", "io-heads")
    assert code == 1
    assert "ioi-heads" in said


def test_without_a_service_the_message_says_how_to_start_one(pathpatch: Command) -> None:
    """The commonest mistake gets one line and no traceback, at once."""
    url = f"http://127.0.0.1:{free_port()}"
    code, output, said = pathpatch("models", "--url", url)
    assert code == 1
    assert output == ""
    assert said.startswith(f"error: nothing answers at {url}: start it with `pathpatch up`")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("spec.json", '{"model": }', "is not JSON: Expecting value at line 1, column 11"),
        ("spec.yaml", "model: [1", "is not YAML"),
        ("spec.yaml", "- 1\n- 2\n", "holds no spec"),
        ("spec.yaml", "", "holds no spec"),
    ],
)
def test_a_spec_that_cannot_be_read_is_named_with_the_place(
    pathpatch: Command, tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    """A file with a slip in it must say where."""
    (tmp_path / name).write_text(text)
    code, _, said = pathpatch("submit", str(tmp_path / name))
    assert code == 1
    assert complaint in said
    assert len(said.splitlines()) == 1


def test_a_missing_spec_file_is_named(pathpatch: Command, tmp_path: Path) -> None:
    """And the way to get one."""
    code, _, said = pathpatch("run", str(tmp_path / "none.yaml"))
    assert code == 1
    assert "No such file" in said
    assert "pathpatch new" in said


def test_an_ending_that_cannot_be_drawn_is_refused_before_the_work(pathpatch: Command, tmp_path: Path) -> None:
    """Not after an hour's sweep."""
    code, _, said = pathpatch("run", "-", "--plot", str(tmp_path / "figure.jpg"), stdin=preset("sweep"))
    assert code == 1
    assert "must end in one of .html, .svg, .png" in said


@pytest.mark.parametrize("model", ["demo", *BUILT_IN])
def test_a_preset_names_layers_and_heads_that_the_model_has(model: str) -> None:
    """`--model distilgpt2` writes a spec that runs: six layers, not GPT-2 small's twelve."""
    shape = shape_of(model)
    for name in PRESETS:
        said = re.sub("#.*", "", preset(name, model))
        assert all(int(layer) < shape.n_layers for layer in re.findall(r"layers?: \[?(\d+)", said)), name
        assert all(int(head) < shape.n_heads for head in re.findall(r"heads?: \[?(\d+)", said)), name


def test_presets_of_grouped_heads_name_no_head_that_keys_lack() -> None:
    """Where query heads share keys and values, a list of hooks with heads would be refused."""
    for model in ("llama-3.2-1b", "demo"):
        for name in PRESETS:
            patch = yaml.safe_load(preset(name, model))["patch"]
            for end in ("senders", "receivers", "nodes"):
                sweep = patch[end]["sweep"] if isinstance(patch.get(end), dict) else {"hook": ""}
                is_mixed = isinstance(sweep["hook"], list) and {"q", "k"} <= set(sweep["hook"])
                assert model == "demo" or not is_mixed or sweep["heads"] == "joint", name
    assert LayersAndHeads.of("mine", LayersAndHeads(30, 9, 3)).is_grouped
    assert not LayersAndHeads.of("gpt2-small", None).is_grouped


def test_the_founding_experiment_fits_a_checkpoint_of_any_shape() -> None:
    """`make demo MODEL=mine`: the notebook's heads are GPT-2 small's, other models have their own."""
    assert experiment_heads("mine") == experiment_heads("gpt2-small") == ([[9, 6], [9, 9], [10, 10]], [10, 7])
    assert experiment_heads("mine", shape_of("demo")) == ([[2, head] for head in range(8)], [3, 0])


def test_a_wrong_option_is_a_usage_error(pathpatch: Command) -> None:
    """Exit code 2, as everywhere."""
    assert pathpatch("list", "--limit", "many")[0] == 2


def test_the_command_starts_quickly() -> None:
    """Nobody waits a second for --help; figures and numerics are imported when needed."""
    code = "import sys; import pathpatch.cli; print('numpy' in sys.modules, 'plotly' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


@pytest.mark.integration
def test_run_shows_the_summary_and_draws(to_service: Command, tmp_path: Path) -> None:
    """From a spec to a table, a picture and a file, in one line."""
    plot, saved = tmp_path / "histogram.html", tmp_path / "result.npz"
    code, output, said = to_service("run", "-", "--plot", str(plot), "-o", str(saved), stdin=yaml.safe_dump(tiny()))
    assert code == 0, said
    layer, head = experiment_heads("demo")[1]
    assert f"attention end → IO minus end → S1, head {layer}.{head} (probability)" in output
    assert "patched" in output
    assert "plotly" in plot.read_text().lower()
    assert saved.stat().st_size > 0


@pytest.mark.integration
def test_json_output_is_json_and_nothing_else(to_service: Command) -> None:
    """It is piped into other programs."""
    code, output, _ = to_service("run", "-", "--json", stdin=json.dumps(tiny()))
    assert code == 0
    result = json.loads(output)
    assert result["shape"] == [8]
    assert result["summary"]["orig"]["n"] == 8


@pytest.mark.integration
def test_a_jobs_life_by_commands(to_service: Command, tmp_path: Path) -> None:
    """Submit, wait, look, list, fetch, draw, erase."""
    (tmp_path / "spec.json").write_text(json.dumps(tiny(tags={"trial": "by-commands"})))
    code, output, said = to_service("submit", str(tmp_path / "spec.json"))
    assert code == 0, said
    job = output.strip()
    assert to_service("wait", job, "--timeout", "120")[0] == 0
    code, output, _ = to_service("status", job)
    assert code == 0
    assert "succeeded" in output or "cached" in output
    assert json.loads(to_service("status", job, "--json")[1])["id"] == job
    assert job in to_service("list", "--tag", "trial:by-commands")[1]
    assert "succeeded" in to_service("events", job, "--follow")[1]
    plot = tmp_path / "histogram.svg"
    assert to_service("result", job, "--plot", str(plot))[0] == 0
    assert plot.read_text().lstrip().startswith("<?xml")
    assert to_service("cancel", job)[0] == 1
    assert to_service("delete", job)[0] == 0
    code, _, said = to_service("status", job)
    assert code == 1
    assert job in said


@pytest.mark.integration
def test_a_wrong_spec_names_field_value_and_what_is_allowed(to_service: Command) -> None:
    """The service's words reach the terminal, without a traceback."""
    spec = tiny()
    spec["patch"]["receivers"][0]["head"] = 13
    for command in ("submit", "validate", "run"):
        code, _, said = to_service(command, "-", stdin=json.dumps(spec))
        assert code == 1
        assert "/patch/receivers/0/head" in said
        assert "13" in said
        assert "0 to 7" in said


@pytest.mark.integration
def test_validate_shows_prompts_with_their_roles(to_service: Command) -> None:
    """Seen before it is run."""
    code, output, _ = to_service("validate", "-", stdin=json.dumps(tiny()))
    assert code == 0
    assert "[IO]" in output
    assert "cells 1" in output


@pytest.mark.integration
def test_models_workers_and_version_are_shown(to_service: Command) -> None:
    """What can run, on what."""
    assert "demo" in to_service("models")[1]
    assert "cpu" in to_service("workers")[1]
    code, output, _ = to_service("version", "--json")
    assert code == 0
    assert json.loads(output)["service"]["version"]


@pytest.mark.integration
def test_keys_are_made_listed_and_revoked(to_service: Command) -> None:
    """The secret is the only thing on standard output, and it is in no list."""
    code, secret, _ = to_service("keys", "create", "ana-laptop", "--scope", "read")
    assert code == 0
    assert secret.startswith("pp_")
    assert secret.count("\n") == 1
    listed = to_service("keys", "list")[1]
    assert "ana-laptop" in listed
    assert secret.strip() not in listed
    assert to_service("keys", "revoke", "ana-laptop")[0] == 0
    keys = json.loads(to_service("keys", "list", "--json")[1])
    assert [key["revoked"] for key in keys if key["name"] == "ana-laptop"] == [True]


@pytest.mark.integration
def test_a_key_is_made_with_limits_of_its_own(to_service: Command) -> None:
    """The options have the names of the API's fields, and the list shows them."""
    wanted = {
        "queued_jobs": 5,
        "running_shards": 2,
        "submits_per_minute": 60,
        "compute_s_per_day": 1.5,
        "store_bytes": 10**9,
    }
    options = [word for name, limit in wanted.items() for word in (f"--{name.replace('_', '-')}", str(limit))]
    code, output, _ = to_service("keys", "create", "limited", *options, "--json")
    assert code == 0 and json.loads(output)["limits"] == wanted
    row = next(line for line in to_service("keys", "list")[1].splitlines() if " limited " in line)
    assert "queued_jobs 5, running_shards 2, submits_per_minute 60, compute_s_per_day 1.5" in row
    code, _, said = to_service("keys", "create", "none", "--compute-s-per-day", "0")
    assert code == 1 and "/limits/compute_s_per_day" in said
    assert to_service("keys", "create", "none", "--running-shards", "0")[0] == 2


@pytest.mark.integration
def test_a_key_that_has_ended_is_listed_as_expired(to_service: Command) -> None:
    """Not as valid: it opens nothing."""
    assert to_service("keys", "create", "brief", "--expires-after-days", "0.0000001")[0] == 0
    row = next(line for line in to_service("keys", "list")[1].splitlines() if " brief " in line)
    assert " expired " in row


@pytest.mark.integration
def test_verify_without_the_real_model_says_what_it_needs(to_service: Command) -> None:
    """Most machines of our tests have no hub."""
    models = json.loads(to_service("models", "--json")[1])
    if any(model["name"] == "gpt2-small" and model["available"] for model in models):
        pytest.skip("the real model is here")
    code, _, said = to_service("verify")
    assert code == 1
    assert "verify needs gpt2-small on the service" in said
    assert "PATHPATCH_MODELS=gpt2-small=FOLDER" in said


@pytest.mark.integration
@pytest.mark.skipif(not GPT2_TOKENIZER.is_dir(), reason=f"GPT-2's tokenizer is not at {GPT2_TOKENIZER}")
def test_verify_of_another_model_says_which_figures_differ(to_service: Command) -> None:
    """A table of expected, got and tolerance, its sources, and exit code 1."""
    code, output, said = to_service("verify", "--model", "impostor")
    assert code == 1, said
    heading, *rows = output.splitlines()
    assert heading.split() == ["figure", "expected", "got", "tolerance", "agrees"]
    assert len(rows) == 19
    assert sum(row.endswith("NO") for row in rows) > 10
    assert "is impostor the real one?" in said
    assert "arXiv:2211.00593" in said


@pytest.mark.integration
def test_several_specs_are_one_batch(to_service: Command, tmp_path: Path) -> None:
    """Accepted all or none, watched and cancelled by one id."""
    files = [tmp_path / f"{seed}.yaml" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_text(yaml.safe_dump(tiny(dataset={"kind": "ioi", "examples": 4, "seed": seed})))
    code, output, said = to_service("submit", *map(str, files))
    assert code == 0, said
    batch = output.strip()
    assert batch.startswith("batch_")
    code, output, _ = to_service("wait", batch, "--timeout", "60")
    assert code == 0
    assert "3 succeeded" in output
    assert len(json.loads(to_service("status", batch, "--json")[1])["jobs"]) == 3
    assert to_service("cancel", batch)[0] == 0
    files[1].write_text(yaml.safe_dump(tiny(metric={"kind": "likelihood"})))
    code, _, said = to_service("submit", *map(str, files))
    assert code == 1
    assert "/jobs/1/metric" in said


@pytest.mark.integration
def test_another_kind_of_figure_is_drawn_or_says_what_it_needs(to_service: Command, tmp_path: Path) -> None:
    """In every format."""
    for ending in ("html", "svg"):
        scatter, heatmap = tmp_path / f"scatter.{ending}", tmp_path / f"heatmap.{ending}"
        spec = json.dumps(tiny())
        code, _, said = to_service("run", "-", "--plot", str(scatter), "--kind", "scatter", stdin=spec)
        assert code == 0, said
        assert "no change" in scatter.read_text()
        code, _, said = to_service("run", "-", "--plot", str(heatmap), "--kind", "heatmap", stdin=spec)
        assert code == 1
        assert "figure 'heatmap' needs a sweep of two axes or more" in said
        assert not heatmap.exists()


@pytest.mark.integration
def test_a_figure_for_a_paper_has_the_users_words_and_size(to_service: Command, tmp_path: Path) -> None:
    """Title, labels and size reach the file; what cannot be is refused before the job is sent."""
    plot = tmp_path / "paper.svg"
    look = ("--title", "Name movers", "--x-label", "probability", "--y-label", "prompts", "--size", "5x4")
    code, _, said = to_service("run", "-", "--plot", str(plot), *look, stdin=json.dumps(tiny()))
    assert code == 0, said
    drawn = plot.read_text()
    assert 'width="360pt" height="288pt"' in drawn
    assert all(f"<!-- {text} -->" in drawn for text in ("Name movers", "probability", "prompts"))
    pdf = tmp_path / "paper.pdf"
    assert to_service("run", "-", "--plot", str(pdf), stdin=json.dumps(tiny()))[0] == 0
    assert pdf.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plot", "a.svg", "--size", "big"), "--size: width and height in inches, such as 6x4, not 'big'"),
        (("--plot", "a.svg", "--size", "0x4"), "--size: width and height in inches, each 1 to 40"),
        (("--plot", "a.svg", "--colour-limit", "-1"), "--colour-limit: a number above 0, such as 0.5, not -1.0"),
        (("--title", "Name movers"), "--title goes with --plot FILE"),
    ],
)
def test_a_look_that_cannot_be_is_refused_before_anything_is_sent(
    pathpatch: Command, options: tuple[str, ...], words: str
) -> None:
    """No service is asked: nothing runs for a figure that cannot be drawn."""
    code, _, said = pathpatch("run", "-", *options, stdin=preset("sweep"))
    assert code == 1
    assert words in said


@pytest.mark.integration
def test_each_of_several_metrics_is_drawn(to_service: Command, tmp_path: Path) -> None:
    """A figure shows one metric; none may be lost."""
    spec = tiny(metrics=[{"kind": "kl"}, {"kind": "loss"}])
    del spec["metric"]
    code, _, said = to_service("run", "-", "--plot", str(tmp_path / "both.svg"), stdin=json.dumps(spec))
    assert code == 0, said
    assert {path.name for path in tmp_path.iterdir()} == {"both-1-kl.svg", "both-2-loss.svg"}


@pytest.mark.integration
def test_the_caller_health_and_webhooks_are_shown(to_service: Command) -> None:
    """What an administrator asks first."""
    code, output, _ = to_service("me")
    assert code == 0
    assert output.startswith("local (local), may read, submit, admin")
    code, output, _ = to_service("health")
    assert code == 0
    assert {"store", "workers", "models"} < set(output.split())
    assert json.loads(to_service("webhooks", "--json")[1]) == []
    assert json.loads(to_service("models", "demo", "--json")[1])["name"] == "demo"


@pytest.mark.integration
def test_a_pipe_that_closes_early_is_no_traceback(stack: Stack) -> None:
    """`pathpatch events ... | head -1` ends quietly."""
    command = f"{sys.executable} -m pathpatch.cli models | head -0"
    environment = {**os.environ, "PATHPATCH_URL": stack.url}
    run = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)  # noqa: S602
    assert "Traceback" not in run.stderr


def test_a_preset_has_one_name_and_its_earlier_one_still_works() -> None:
    """The page offers what `pathpatch new` writes; a folder of `examples/` of the same name asks the same question."""
    for earlier, name in EARLIER_NAMES.items():
        assert preset(earlier) == preset(name) and earlier not in PRESETS
    assert [one["name"] for one in filled_in("demo")] == list(PRESETS)
    folders = {path.parent.name for path in Path("examples").glob("*/spec.yaml")}
    assert {"founding-experiment", "heads-to-logits", "edge-matrix", "activation-patching", "attribution"} <= folders
    for name in folders & set(PRESETS):
        asked = (yaml.safe_load(Path(f"examples/{name}/spec.yaml").read_text()), yaml.safe_load(preset(name)))
        assert len({spec["patch"].get("kind", "path") for spec in asked}) == 1, name
        assert len({spec["metric"]["kind"] for spec in asked}) == 1, name
