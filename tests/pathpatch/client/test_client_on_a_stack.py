"""The client on a real stack: broker, worker and service, nothing faked."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

import pathpatch as pp
from pathpatch.local import Stack
from pathpatch.problems import JobFailed, ServiceError

FILES = Path(__file__).parents[2] / "prompt_files"

pytestmark = pytest.mark.integration

SINGLE = pp.path_patch(
    pp.heads(*(f"2.{head}" for head in range(8))),
    pp.query("3.0"),
    pp.ioi(60),
    pp.attention_diff("end", "IO", "S1"),
    model="demo",
)
SWEEP = pp.path_patch(
    pp.sweep("z"), pp.resid(3), pp.ioi(30), [pp.logit_diff(), pp.kl()], model="demo", tags={"kind": "two metrics"}
)


@pytest.fixture(scope="module")
def client(stack: Stack):
    with pp.Client(stack.url) as talking:
        yield talking


def test_the_founding_experiment_in_one_line(client):
    """The demo model's heads of its card: patching them takes the query's preference for IO away."""
    result = client.run(SINGLE, timeout_s=60)
    assert result.shape == (60,) and result.axes == ("example",)
    assert result.orig.mean() > 0.7 and result.patched.mean() < result.orig.mean() / 2
    assert result.patched.mean() == pytest.approx(result.summary["patched"]["mean"])
    assert result.histogram().data[0].name.startswith("orig, mean 0.9")
    assert result.checks["identity_max_abs"] == 0.0


def test_a_sweep_of_two_metrics_saves_loads_and_draws(client, tmp_path):
    """Arrays with named axes, from the wire to a file and back."""
    result = client.run(SWEEP, timeout_s=60)
    logits = result["logit_diff"]
    assert logits.axes == ("sender_layer", "sender_head") and logits.shape == (4, 8)
    assert np.isfinite(logits.effect).all()
    loaded = pp.Result.load(result.save(tmp_path / "sweep"))
    assert np.array_equal(loaded["kl"].patched, result["kl"].patched)
    assert set(loaded.to_dataframe()["metric"]) == {"logit_diff", "kl"}
    assert loaded.heatmap(block="kl").layout.meta["caption"].startswith("unit: nats · n = 30 · demo")


def test_positions_carry_the_prompts_tokens_everywhere(client, tmp_path):
    """In the notebook, from a file, and as the service draws: a position's number alone says nothing."""
    spec = pp.activation_patch(
        pp.sweep("resid_pre", positions="each"), pp.ioi(4, prompt_type="ABBA"), pp.logit_diff(), model="demo"
    )
    job = client.submit(spec).wait(timeout_s=60)
    first = client.validate(spec).examples[0].orig
    drawn = job.result().heatmap()
    ticks = list(drawn.layout.xaxis.ticktext)
    assert ticks[:2] == [f"{first[0]}  0", f"{first[1].replace(' ', '·', 1)}  1"]
    assert "tokens of the first prompt" in drawn.layout.meta["caption"]
    loaded = pp.Result.load(job.result().save(tmp_path / "positions"))
    assert list(loaded.heatmap().layout.xaxis.ticktext) == ticks
    assert json.loads(client.figure(job.id))["layout"]["xaxis"]["ticktext"] == ticks


def test_what_json_and_npz_say_is_the_same(client, stack):
    """The client reads npz; curl reads JSON: full float32 precision in both."""
    import httpx

    job = client.submit(SWEEP).wait(timeout_s=60)
    by_npz = job.result()
    by_json = pp.Result.from_json(httpx.get(f"{stack.url}/v1/jobs/{job.id}/result").json())
    for one, other in zip(by_npz.blocks, by_json.blocks, strict=True):
        assert np.allclose(one.patched, other.patched, rtol=1e-7, equal_nan=True)
        assert one.coordinates == other.coordinates and one.summary == other.summary


def test_a_job_is_listed_followed_and_erased(client):
    """Everything but the result: states as they come, filters, the end of a record."""
    spec = SINGLE.model_copy(update={"tags": {"test": "listed"}, "use_cache": False})
    job = client.submit(spec)
    states = [event.data["status"] for event in job.follow() if event.type == "status"]
    assert states[-1] == "succeeded" and states == [e.data["status"] for e in job.events() if e.type == "status"]
    assert [one.id for one in client.jobs(tag="test:listed")] == [job.id]
    job.delete()
    with pytest.raises(ServiceError) as caught:
        client.get(job.id)
    assert caught.value.status == 404


def test_a_name_is_shown_and_found_and_makes_no_other_experiment(client):
    """Two names for one spec: the second is answered from the first's result, and its figures bear its own name."""
    first = pp.path_patch(
        pp.heads("1.1"), pp.resid(3), pp.ioi(7), pp.logit_diff(), model="demo", name="Does 1.1 MATTER?"
    )
    done = client.submit(first).wait(timeout_s=60)
    again = client.submit(first.model_copy(update={"name": "1.1, once more"})).wait(timeout_s=60)
    assert again.job.cached and again.spec.name == "1.1, once more"
    assert [job.id for job in client.jobs(name="does 1.1 matter")] == [done.id]
    assert "1.1, once more · unit: nats" in again.result().histogram().layout.meta["caption"]
    assert "1.1, once more" in again._repr_html_()


def test_a_cancelled_job_has_no_result(client):
    """And says who ended it."""
    long = pp.path_patch(pp.sweep("z"), pp.sweep("v"), pp.ioi(2000), pp.logit_diff(), model="demo", use_cache=False)
    job = client.submit(long).cancel().wait(timeout_s=60)
    assert job.status == "cancelled"
    with pytest.raises(JobFailed, match="cancelled"):
        job.result()


def test_the_services_refusal_names_the_field(client):
    """What only the server can know: how many heads the model has."""
    with pytest.raises(ServiceError) as caught:
        client.submit(pp.path_patch(pp.heads("1.99"), pp.query("2.1"), pp.ioi(5), pp.kl(), model="demo"))
    assert caught.value.errors[0].pointer == "/patch/senders/0/head"
    assert "99" in str(caught.value)


def test_validate_shows_prompts_and_cost(client):
    """Nothing is queued."""
    before = len(client.jobs(limit=None))
    report = client.validate(SWEEP)
    assert report.cells == 32 and set(report.examples[0].roles) == {"IO", "S1", "S1+1", "S2", "end"}
    assert len(client.jobs(limit=None)) == before


def test_map_answers_in_order(client):
    """One batch, one result per spec."""
    specs = [SINGLE.model_copy(update={"dataset": pp.ioi(10 + n)}) for n in range(3)]
    assert [result.shape for result in client.map(specs, timeout_s=60)] == [(10,), (11,), (12,)]


def test_seeds_of_one_spec_are_run_and_pooled(client, capsys):
    """One line of progress for all; the mean over the runs is the mean of their means."""
    results = client.map(SINGLE, seeds=range(3), progress=True)
    assert len({result.provenance["dataset_sha256"] for result in results}) == 3
    assert [result.spec["dataset"]["seed"] for result in results] == [0, 1, 2]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("3 jobs  100%|") and last.endswith("| 3/3 jobs")
    pooled = pp.pool(results)
    effects = [result.effect.mean() for result in results]
    assert float(pooled.effect) == pytest.approx(np.mean(effects))
    assert float(pooled.effect_sd) == pytest.approx(np.std(effects, ddof=1))
    assert pooled.n == 3 and pooled.figure() is not None


def test_a_job_runs_again_with_another_seed(client):
    """By its handle or its id; the changed spec gives the numbers of a fresh one."""
    job = client.submit(SINGLE).wait(timeout_s=60)
    again = job.rerun({"dataset": {"seed": 11}})
    fresh = client.run(client.rerun(job.id, {"dataset": {"seed": 11}, "use_cache": False}).spec)
    assert again.spec.dataset.seed == 11 and again.id != job.id
    assert np.array_equal(again.result(progress=False).patched, fresh.patched)
    with pytest.raises(ServiceError, match="/dataset/sed"):
        job.rerun({"dataset": {"sed": 3}})


@pytest.mark.parametrize("file", ["eap_ig_ioi.csv", "eap_ig_text.jsonl", "auto_circuit.json", "mib_ioi.jsonl"])
def test_prompts_from_files_run(client, file):
    """Token ids and text name the same answers: the numbers of orig are equal in all formats."""
    dataset = pp.prompts_from(FILES / file, prepend_bos=False)
    dataset = dataset.model_copy(update={"roles": {}})  # auto-circuit's count the token that is left out here
    metric = pp.logit_diff("correct", "incorrect")
    result = client.run(pp.path_patch(pp.heads(2), pp.resid(3), dataset, metric, model="demo"))
    as_text = pp.prompts(
        dataset.orig, dataset.new, answers={"correct": [" Mary", " Anna"], "incorrect": [" John", " Tom"]}
    )
    same = client.run(pp.path_patch(pp.heads(2), pp.resid(3), as_text, metric, model="demo", use_cache=False))
    assert np.array_equal(result.orig, same.orig) and np.array_equal(result.patched, same.patched)


def test_positions_of_a_file_count_its_beginning_of_text(client):
    """auto-circuit's positions do, where its labels say so."""
    dataset = pp.prompts_from(FILES / "auto_circuit.json")
    report = client.validate(pp.path_patch(pp.heads(2), pp.resid(3), dataset, pp.kl(), model="demo"))
    first = report.examples[0]
    assert [first.orig[first.roles[role]] for role in ("IO", "S1", "end")] == [" Mary", " John", " to"]


def test_an_id_that_is_no_token_names_its_answer(client):
    """The file was made with another model's tokenizer."""
    dataset = pp.prompts(["When Mary"], ["When John"], answers={"correct": [50000]})
    with pytest.raises(ServiceError, match="/dataset/answers/correct/0: token 50000 does not exist"):
        client.validate(pp.path_patch(pp.heads(2), pp.resid(3), dataset, pp.logit("correct"), model="demo"))


def test_a_negative_position_of_a_metric_counts_from_each_prompts_end(client):
    """As a role's does: -1 is `end` in prompts of every length, for logits and for attention."""
    dataset = pp.prompts(
        ["When Mary and John went to", "Then, when Mary and John went to"],
        ["When Anna and Tom went to", "Then, when Anna and Tom went to"],
        answers={"IO": [" Mary", " Mary"]},
    )
    attends = {"head": "3.0"}
    named = [pp.logit("IO"), pp.kl(), pp.attention("end", 1, **attends)]
    counted = [pp.logit("IO", -1), pp.kl(-1), pp.attention(-1, 1, **attends)]
    by_name, by_count = (
        client.run(pp.path_patch(pp.heads(2), pp.query("3.0"), dataset, metrics, model="demo"))
        for metrics in (named, counted)
    )
    for one, other in zip(by_name.blocks, by_count.blocks, strict=True):
        assert np.array_equal(one.patched, other.patched) and np.array_equal(one.orig, other.orig)
    too_far = pp.path_patch(pp.heads(2), pp.query("3.0"), dataset, pp.kl(-99), model="demo")
    with pytest.raises(ServiceError, match="/metric/position: position -99 does not exist in prompt 0"):
        client.submit(too_far)


def test_models_workers_and_version_are_told(client):
    """What is there to run on."""
    assert any(model.name == "demo" and model.available for model in client.models())
    assert client.model("demo").shape is not None
    assert client.workers()
    assert client.version()["version"]
    assert client.me().name


def test_the_async_client_runs_several_jobs_at_once(stack):
    """Two experiments, awaited together."""

    async def both():
        async with pp.AsyncClient(stack.url) as client:
            return await asyncio.gather(client.run(SINGLE, timeout_s=60), client.run(SWEEP, timeout_s=60))

    single, sweep = asyncio.run(both())
    assert single.shape == (60,) and len(sweep.blocks) == 2


@pytest.mark.parametrize(
    ("figure_format", "start"),
    [("json", b"{"), ("html", b"<!doctype"), ("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")],
)
def test_the_service_draws_the_same_figures(client, figure_format, start):
    """For curl, and for the page."""
    job = client.submit(SINGLE).wait(timeout_s=60)
    assert client.figure(job.id, figure_format).startswith(start)
    assert client.figure(job.id, figure_format, title="Mine", size=(5, 4)).startswith(start)


def test_the_service_draws_with_the_look_that_is_asked_for(client):
    """What `result.figure` takes, `client.figure` takes too."""
    job = client.submit(SINGLE).wait(timeout_s=60)
    layout = json.loads(client.figure(job.id, title="Mine", x_label="p", size=(5, 4)))["layout"]
    assert (layout["title"]["text"], layout["width"], layout["height"]) == ("Mine", 480, 384)
    assert layout["xaxis"]["title"]["text"].startswith("p<br>")
