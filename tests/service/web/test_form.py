"""The form of a new experiment, typed into with real keys: nothing that is typed is lost, locked or replaced."""

import json
import re

import pytest

import pathpatch as pp
from tests.conftest import GPT2_TOKENIZER

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.integration

SWEEP = pp.path_patch(pp.sweep("z"), pp.resid(3), pp.ioi(20), pp.logit_diff(), model="demo")


def opened(page, stack, preset="founding-experiment"):
    """The form with a preset, its preview there."""
    page.goto(f"{stack.url}/#/new?preset={preset}")
    expect(page.locator(".verdict .tiles")).to_be_visible()


def said(page):
    """The spec as the form's JSON says it."""
    return json.loads(page.get_by_label("Spec", exact=True).input_value())


def fault_of(page, label):
    """What stands beside a field as its fault."""
    return page.locator(".field", has=page.get_by_label(label, exact=True)).locator(".fault")


def test_one_key_too_many_neither_locks_a_field_nor_flips_its_neighbour(page, stack):
    """Backspace in "3.0" makes "3.", which is nothing yet: it stays, with an error beside it, until it is right."""
    opened(page, stack)
    names, kind = page.get_by_label("Receiver names"), page.get_by_label("Into")
    names.click()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    expect(fault_of(page, "Receiver names")).to_contain_text("“3.” is not a head: write layer.head, such as 9.6")
    expect(names).to_have_value("3.")
    expect(names).to_be_enabled()
    expect(names).to_have_attribute("aria-invalid", "true")
    expect(kind).to_have_value("q")
    expect(page.locator(".verdict .problem")).to_contain_text("“3.” is not a head")
    page.keyboard.type("1")
    expect(fault_of(page, "Receiver names")).to_be_hidden()
    expect(page.locator(".verdict .tiles")).to_be_visible()
    assert said(page)["patch"]["receivers"] == [{"hook": "q", "layer": 3, "head": 1}]


def test_a_field_can_be_emptied_and_typed_again(page, stack):
    """Each field of names, numbers and positions, key by key."""
    opened(page, stack)
    for label, text in [("Sender names", "1.0, 1.7"), ("Receiver names", "2.1"), ("Examples", "12"), ("To", "S1"),
                        ("Only at positions", "IO, end"), ("Tags", "topic:names, night:3")]:  # fmt: skip
        page.get_by_label(label, exact=True).click()
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        expect(page.get_by_label(label, exact=True)).to_have_value("")
        page.keyboard.type(text)
        expect(page.get_by_label(label, exact=True)).to_have_value(text)
    expect(page.locator(".verdict .tiles")).to_contain_text("12 examples")
    spec = pp.specs.as_spec(said(page))
    assert spec.patch.senders == pp.heads("1.0", "1.7") and spec.patch.receivers == pp.query("2.1")
    assert (spec.dataset.examples, spec.metric.key, spec.patch.positions) == (12, "S1", ["IO", "end"])
    assert spec.tags == {"topic": "names", "night": "3"}


def test_named_heads_can_be_chosen_after_a_sweep(page, stack, client):
    """From the preset of a sweep, and when a sweep is run again with changes."""
    job = client.submit(SWEEP).wait(timeout_s=60)
    for again in (False, True):
        if again:
            page.goto(f"{stack.url}/#/jobs/{job.id}")
            page.get_by_role("button", name="Run again with changes").click()
            expect(page.locator(".verdict .tiles")).to_be_visible()
        else:
            opened(page, stack, "heads-to-logits")
        page.get_by_label("From", exact=True).first.select_option("z")
        expect(fault_of(page, "Sender names")).to_contain_text("Name heads, such as 9.6, 9.9.")
        page.get_by_label("Sender names").press_sequentially("1.0, 1.1")
        expect(page.get_by_label("From", exact=True).first).to_have_value("z")
        expect(page.locator(".verdict .tiles dd").first).to_have_text("1")
        assert said(page)["patch"]["senders"] == [{"hook": "z", "layer": 1, "head": head} for head in (0, 1)]


@pytest.mark.skipif(not GPT2_TOKENIZER.is_dir(), reason="the impostor has no names without GPT-2's tokenizer")
def test_whoever_types_fast_loses_no_key(page, stack):
    """While the preview is asked for, and after a preset was chosen whose answer is still on its way."""
    opened(page, stack)
    names = ", ".join(f"{layer}.{head}" for layer in range(3) for head in range(8))
    page.get_by_label("Sender names").fill("")
    page.get_by_label("Sender names").press_sequentially(names)
    expect(page.get_by_label("Sender names")).to_have_value(names)
    assert len(said(page)["patch"]["senders"]) == 24
    page.get_by_label("Examples").select_text()
    page.keyboard.type("7")
    page.get_by_label("Model").select_option("impostor")
    page.get_by_label("Examples").press("End")
    page.keyboard.type("1")
    expect(page.locator(".verdict .tiles")).to_contain_text("71 examples")
    expect(page.get_by_label("Examples")).to_have_value("71")


def test_a_refusal_goes_when_it_is_mended(page, stack):
    """It would be read as the answer to what stands there now."""
    opened(page, stack)
    page.get_by_label("Receiver names").fill("2.99")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator("form .problem")).to_contain_text("/patch/receivers")
    page.get_by_label("Receiver names").fill("2.1")
    expect(page.locator("form .problem")).to_have_count(0)
    expect(page.locator(".verdict .example").first).to_be_visible()


def test_what_is_wrong_in_a_field_is_not_sent(page, stack):
    """The button says the same as the field."""
    opened(page, stack)
    page.get_by_label("Tags").fill("night")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator("form .problem")).to_contain_text("“night” is not a tag: write name:value")
    expect(page).to_have_url(re.compile("#/new"))


def started(page, client):
    """The spec of the job that the button started."""
    page.get_by_role("button", name="Start the experiment").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_"))
    return client.get(page.url.rsplit("/", 1)[-1]).job.spec


def test_own_prompts_are_typed_in_the_form(page, stack, client):
    """Prompts, answers and roles, without a line of JSON."""
    opened(page, stack)
    page.get_by_label("Kind of prompts").select_option("prompts")
    page.get_by_label("Prompts of orig").fill("When Mary and John left\nWhen Tom and James left\n")
    page.get_by_label("Prompts of new").fill("When John and Mary left\nWhen James and Tom left")
    page.get_by_label("Answers").fill('IO: Mary, Tom\nS: " John", " James"')
    page.get_by_label("Roles").fill("IO: Mary, Tom\nS1: 3\nend: -1")
    expect(page.locator(".verdict .tiles")).to_contain_text("2 examples")
    expect(page.locator(".verdict")).to_contain_text("IO = “␣Mary”, S = “␣John”")
    dataset = started(page, client).dataset
    assert dataset.orig == ["When Mary and John left", "When Tom and James left"]
    assert dataset.answers == {"IO": [" Mary", " Tom"], "S": [" John", " James"]}
    assert dataset.roles == {"IO": [" Mary", " Tom"], "S1": [3, 3], "end": [-1, -1]}


def test_sets_of_answers_are_typed_and_read_from_a_file(page, stack, client):
    """`Mary | Anna` is a set; where one prompt has a set, all have."""
    opened(page, stack)
    page.get_by_label("Kind of prompts").select_option("prompts")
    content = (
        b"clean,corrupted,correct,incorrect_idx\n"
        b"When Mary left,When John left,\"['Mary', ' Anna']\",\"[12, 13]\"\nWhen Tom left,When John left,Tom,7\n"
    )
    page.get_by_label("From a file").set_input_files({"name": "sets.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.get_by_label("Answers")).to_have_value('correct: "Mary" | Anna, "Tom"\nincorrect: #12 | #13, #7')
    page.get_by_label("Answers").fill("here: Mary | John, Tom\nthere: Anna | Paul")
    page.get_by_label("Metric").select_option("prob_diff")
    page.get_by_label("Answer", exact=True).fill("here")
    page.get_by_label("Minus answer").fill("there")
    expect(page.locator(".verdict")).to_contain_text("here = “␣Mary” or “␣John”, there = “␣Anna” or “␣Paul”")
    dataset = started(page, client).dataset
    assert dataset.answers == {"here": [[" Mary", " John"], [" Tom"]], "there": [[" Anna", " Paul"]] * 2}


def test_drawn_datasets_and_new_metrics_are_chosen_in_the_form(page, stack, client):
    """What a tokenizer cannot say is told beside the kind of prompts."""
    opened(page, stack, "induction")
    page.get_by_label("Kind of prompts").select_option("greater_than")
    expect(fault_of(page, "Kind of prompts")).to_contain_text("needs years that are two tokens")
    page.get_by_label("Kind of prompts").select_option("induction")
    page.get_by_label("Metric").select_option("accuracy")
    page.get_by_label("Answer", exact=True).fill("B")
    page.get_by_label("Examples").fill("12")
    spec = started(page, client)
    assert (spec.dataset.kind, spec.dataset.examples, spec.metric.kind) == ("induction", 12, "accuracy")


def test_answers_that_are_too_few_are_told_beside_them(page, stack):
    """Three prompts and two answers."""
    opened(page, stack, "prompts")
    page.get_by_label("Answers").fill("IO: Mary, Tom, Anna")
    expect(fault_of(page, "Answers")).to_contain_text("IO has 3 values and there are 2 prompts")


CSV = '\ufeffclean,corrupted,correct,incorrect\r\n"When Mary, and John left",When John and Mary left, Mary, John\r\n'
JSONL = json.dumps(
    {"orig": "When Mary, and John left", "new": "When John and Mary left", "correct": " Mary", "incorrect": " John"}
)


@pytest.mark.parametrize(("name", "content"), [("pairs.csv", CSV), ("pairs.jsonl", JSONL)])
def test_own_prompts_are_read_from_a_file(page, stack, name, content):
    """As tables and as lines of JSON; a comma in quotes, a byte-order mark and `\\r` are no part of a prompt."""
    opened(page, stack)
    page.get_by_label("Kind of prompts").select_option("prompts")
    page.get_by_label("From a file").set_input_files(
        {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    )
    expect(page.get_by_label("Prompts of orig")).to_have_value("When Mary, and John left")
    dataset = said(page)["dataset"]
    assert (dataset["orig"], dataset["new"]) == (["When Mary, and John left"], ["When John and Mary left"])
    assert dataset["answers"] == {"correct": [" Mary"], "incorrect": [" John"]}


def test_a_file_without_prompts_says_what_it_needs(page, stack):
    """The columns that it may have, and those it has."""
    opened(page, stack)
    page.get_by_label("Kind of prompts").select_option("prompts")
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"text,label\nWhen,1\n"}
    page.get_by_label("From a file").set_input_files(file)
    expect(fault_of(page, "From a file")).to_contain_text(
        "no column of prompts: name it orig, or clean, or prompt; here are text, label"
    )


def test_activations_at_positions_are_patched_from_the_form(page, stack, client):
    """The other kind of patch: nodes, positions, and what they become."""
    opened(page, stack)
    page.get_by_label("Kind of patch").select_option("activation")
    page.get_by_label("What is patched").select_option("mixed")
    page.get_by_label("Node names").fill("z 1.0, mlp_out 2, embed")
    page.get_by_label("Only at positions").fill("end")
    page.get_by_label("Patched with").select_option("mean")
    page.get_by_label("Metric").select_option("logit_diff")
    page.get_by_label("Examples").fill("9")
    expect(page.locator(".verdict .tiles")).to_contain_text("9 examples")
    patch = started(page, client).patch
    nodes = [{"hook": "z", "layer": 1, "head": 0}, {"hook": "mlp_out", "layer": 2}, {"hook": "embed"}]
    assert [node.model_dump(exclude_none=True) for node in patch.nodes] == nodes
    assert (patch.kind, patch.positions, patch.source) == ("activation", "end", "mean")


def test_a_sweep_by_layers_and_positions_with_an_estimate(page, stack, client):
    """Part of the heads, position by position, by attribution with the largest computed exactly."""
    opened(page, stack, "heads-to-logits")
    page.get_by_label("Layers").first.fill("1-2")
    page.get_by_label("Heads").first.fill("0, 3")
    page.get_by_label("Position by position").first.fill("S1, end")
    page.get_by_label("Method").select_option("attribution")
    page.get_by_label("Computed exactly").fill("3")
    page.get_by_label("Examples").fill("8")
    expect(page.locator(".verdict .tiles")).to_contain_text("2 sender layers × 2 sender heads × 2 sender positions")
    spec = started(page, client)
    sweep = {"hook": "z", "layers": [1, 2], "heads": [0, 3], "positions": ["S1", "end"]}
    assert spec.patch.senders.sweep.model_dump(exclude_none=True) == sweep
    assert (spec.method, spec.verify) == ("attribution", 3)


def test_circuits_are_asked_for_in_the_form(page, stack, client):
    """How edges are scored, how circuits are chosen, and of which sizes; other kinds of patch have no such fields."""
    opened(page, stack, "heads-to-logits")
    page.get_by_label("Kind of patch").select_option("circuit")
    page.get_by_label("Edges scored").select_option("attribution")
    page.get_by_label("Sizes").fill("30, 10x")
    expect(fault_of(page, "Sizes")).to_contain_text("“10x” is not a size")
    page.get_by_label("Sizes").fill("30, 100")
    page.get_by_label("Patched with").select_option("zero")
    expect(page.get_by_label("Method")).to_be_hidden()
    expect(page.locator(".verdict .tiles")).to_contain_text("1519 edges")
    assert said(page)["patch"] == {
        "kind": "circuit", "score": {"method": "attribution"}, "choose": {"by": "top", "edges": [30, 100]},
        "source": "zero",
    }  # fmt: skip
    page.get_by_label("Circuits chosen").select_option("acdc")
    expect(fault_of(page, "Threshold")).to_contain_text("threshold is missing")
    page.get_by_label("Threshold").fill("0.5")
    expect(page.locator(".verdict .tiles")).to_be_visible()
    assert said(page)["patch"] == {"kind": "circuit", "choose": {"by": "acdc", "threshold": 0.5}, "source": "zero"}
    page.get_by_label("Kind of patch").select_option("path")
    expect(page.get_by_label("Threshold")).to_be_hidden()


def test_a_metric_of_attention_gives_way_to_one_of_logits_for_circuits(page, stack, client):
    """Nobody has to find out first that circuits take none."""
    opened(page, stack, "founding-experiment")
    assert said(page)["metric"]["kind"] == "attention_diff"
    page.get_by_label("Kind of patch").select_option("circuit")
    expect(page.locator(".verdict .tiles")).to_contain_text("1519 edges")
    assert said(page)["metric"] == {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


def test_edges_of_a_circuit_of_ones_own_are_typed_in_the_form(page, stack, client):
    """One on each line; what is wrong with one is told beside them, and a spec with some fills the field."""
    opened(page, stack, "heads-to-logits")
    page.get_by_label("Kind of patch").select_option("circuit")
    page.get_by_label("Circuits chosen").select_option("own")
    expect(page.get_by_label("Edges scored")).to_be_hidden()
    edges = page.get_by_label("Edges", exact=True)
    edges.fill("input->a0.h0<v>\nm3->a0.h0<v>")
    expect(fault_of(page, "Edges")).to_contain_text("leads backwards")
    edges.fill("input->a0.h0<v>\na0.h0->logits\n")
    expect(page.locator(".verdict .tiles")).to_be_visible()
    spec = said(page)
    assert spec["patch"] == {"kind": "circuit", "edges": {"mine": ["input->a0.h0<v>", "a0.h0->logits"]}}
    page.locator("summary", has_text="The whole spec as JSON").click()
    spec["patch"]["edges"] = {"movers": ["a0.h0->logits"]}
    page.get_by_label("Spec", exact=True).fill(json.dumps(spec))
    expect(edges).to_have_value("movers:\na0.h0->logits")
    edges.press_sequentially("\nm1->logits")
    assert started(page, client).patch.edges == {"movers": ["a0.h0->logits", "m1->logits"]}


def test_several_circuits_of_ones_own_are_typed_in_the_form(page, stack, client):
    """A line with a name and a colon begins each, and a spec with several fills the field."""
    opened(page, stack, "heads-to-logits")
    page.get_by_label("Kind of patch").select_option("circuit")
    page.get_by_label("Circuits chosen").select_option("own")
    edges = page.get_by_label("Edges", exact=True)
    edges.fill("a0.h0->logits\nmovers:\nm1->logits\nmovers:\n")
    expect(fault_of(page, "Edges")).to_contain_text("Two circuits are named “movers”")
    edges.fill("a0.h0->logits\n:\nm1->logits")
    expect(fault_of(page, "Edges")).to_contain_text("A circuit has no name")
    edges.fill("a0.h0->logits\n\nmovers:\ninput->a0.h0<v>, a0.h0->logits\nm3->a0.h0<v>")
    expect(fault_of(page, "Edges")).to_contain_text("leads backwards")
    edges.fill("a0.h0->logits\n\nmovers:\ninput->a0.h0<v>, a0.h0->logits")
    expect(page.locator(".verdict .tiles")).to_be_visible()
    spec = said(page)
    assert spec["patch"]["edges"] == {"mine": ["a0.h0->logits"], "movers": ["input->a0.h0<v>", "a0.h0->logits"]}
    page.locator("summary", has_text="The whole spec as JSON").click()
    spec["patch"]["edges"] = {"movers": ["a0.h0->logits"], "mine": [], "all": ["m1->logits"]}
    page.get_by_label("Spec", exact=True).fill(json.dumps(spec))
    expect(edges).to_have_value("movers:\na0.h0->logits\n\nmine:\n\nall:\nm1->logits")
    edges.press_sequentially("\nm2->logits")
    assert started(page, client).patch.edges == {**spec["patch"]["edges"], "all": ["m1->logits", "m2->logits"]}


def test_a_metric_of_a_head_and_a_position_is_chosen_in_the_form(page, stack, client):
    """Activation patching has no receiver to take the head from."""
    opened(page, stack)
    page.get_by_label("Kind of patch").select_option("activation")
    page.get_by_label("Node names").fill("1.0")
    page.get_by_label("Of head").fill("2")
    expect(fault_of(page, "Of head")).to_contain_text("“2” is not a head: write layer.head")
    page.get_by_label("Of head").fill("2.1")
    expect(page.locator(".verdict .tiles")).to_be_visible()
    metric = started(page, client).metric
    assert (metric.head.layer, metric.head.head) == (2, 1)


def test_several_metrics_are_edited_one_at_a_time(page, stack, client):
    """Added, chosen, changed and dropped; a fault of the one that is shown is told beside its field."""
    opened(page, stack, "heads-to-logits")
    one = said(page)["metric"]
    measured = page.get_by_label("Measured")
    measured.select_option("add")
    expect(measured).to_have_value("1")
    page.get_by_label("Metric").select_option("prob")
    page.get_by_label("Answer", exact=True).fill("X")
    expect(fault_of(page, "Answer")).to_contain_text("there is no answer")
    page.get_by_label("Answer", exact=True).fill("S")
    expect(page.locator(".verdict .tiles")).to_be_visible()
    assert said(page)["metrics"] == [one, {"kind": "prob", "answer": "S", "position": "end"}]
    measured.select_option("0")
    expect(page.get_by_label("Metric")).to_have_value(one["kind"])
    measured.select_option("add")
    page.get_by_label("Metric").select_option("kl")
    assert [metric["kind"] for metric in said(page)["metrics"]] == [one["kind"], "prob", "kl"]
    measured.select_option("drop")
    expect(page.get_by_label("Metric")).to_have_value("prob")
    assert [metric.kind for metric in started(page, client).metrics] == [one["kind"], "prob"]


def test_answers_of_a_file_may_be_token_ids(page, stack):
    """`correct_idx` and `incorrect_idx`, as EAP-IG's tables have them."""
    opened(page, stack)
    page.get_by_label("Kind of prompts").select_option("prompts")
    content = b"clean,corrupted,correct_idx,incorrect_idx\nWhen Mary left,When John left,12,7\n"
    page.get_by_label("From a file").set_input_files({"name": "ids.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.get_by_label("Answers")).to_have_value("correct: #12\nincorrect: #7")
    assert said(page)["dataset"]["answers"] == {"correct": [12], "incorrect": [7]}


def test_a_name_is_given_in_the_form_and_heads_the_job(page, stack, client):
    """In its list, its heading, and the choice of jobs to compare."""
    opened(page, stack)
    page.get_by_label("Name", exact=True).fill("Name movers, second try")
    page.get_by_label("Examples").fill("6")
    expect(page.locator(".verdict .tiles")).to_contain_text("6 examples")
    assert started(page, client).name == "Name movers, second try"
    expect(page.locator("h1")).to_have_text("Name movers, second try")
    page.goto(f"{stack.url}/#/jobs")
    expect(page.get_by_role("link", name="Name movers, second try").first).to_be_visible()


def test_the_model_says_what_kind_of_decoder_it_is(page, stack):
    """Its heads and norms stand below its name, and presets fit it."""
    opened(page, stack)
    about = page.locator(".field", has=page.get_by_label("Model", exact=True))
    expect(about).to_contain_text("gpt2: 4 layers of 8 heads, d_model 128, learned positions, LayerNorm")
    page.get_by_label("Model", exact=True).select_option("smollm2-135m")
    expect(about).to_contain_text("30 layers of 9 heads")
    expect(page.get_by_label("Receiver names")).to_have_value("24.4")


def options_of(page, label):
    """What a choice offers, by value."""
    return [one.get_attribute("value") for one in page.get_by_label(label, exact=True).first.locator("option").all()]


def test_only_nodes_that_the_model_has_are_offered(page, stack):
    """Parallel blocks have no resid_mid, rotary models no pos_embed; query heads that share keys count apart."""
    opened(page, stack)
    assert {"resid_mid", "pos_embed"} <= {*options_of(page, "From")} and "query_k" not in options_of(page, "Into")
    assert "sweep:q,k" in options_of(page, "Into")
    page.get_by_label("Model", exact=True).select_option("tiny-gpt_neox")
    expect(page.get_by_label("From", exact=True).first.locator("option[value=pos_embed]")).to_have_count(0)
    assert not {"resid_mid", "sweep:resid_mid"} & {*options_of(page, "From"), *options_of(page, "Into")}
    page.get_by_label("Model", exact=True).select_option("tiny-llama")
    expect(page.get_by_label("Into", exact=True).locator("option[value=query_k]")).to_have_count(1)
    assert "resid_mid" in options_of(page, "From") and "sweep:q,k" not in options_of(page, "Into")


def test_a_node_that_the_model_lacks_stays_chosen_until_it_is_changed(page, stack):
    """What a person chose is not replaced; the service says why it cannot be."""
    opened(page, stack)
    page.get_by_label("From", exact=True).first.select_option("resid_mid")
    page.get_by_label("Sender names").fill("1")
    page.get_by_label("Model", exact=True).select_option("tiny-gpt_neox")
    expect(page.get_by_label("From", exact=True).first).to_have_value("resid_mid")
    expect(page.locator(".verdict .problem")).to_contain_text("resid_mid")
    assert said(page)["patch"]["senders"] == [{"hook": "resid_mid", "layer": 1}]


def test_keys_as_one_query_head_reads_them(page, stack):
    """`query_head` is a kind of receiver, read from the JSON and written into it."""
    opened(page, stack)
    page.get_by_label("Model", exact=True).select_option("tiny-llama")
    page.get_by_label("Into", exact=True).select_option("query_k")
    page.get_by_label("Receiver names").fill("1.x")
    expect(fault_of(page, "Receiver names")).to_contain_text("“1.x” is not a query head: write layer.query head")
    page.get_by_label("Receiver names").fill("1.3")
    assert said(page)["patch"]["receivers"] == [{"hook": "k", "layer": 1, "query_head": 3}]
    page.locator("summary", has_text="The whole spec as JSON").click()
    spec = said(page)
    spec["patch"]["receivers"] = [
        {"hook": "v", "layer": 1, "query_head": 2},
        {"hook": "v", "layer": 1, "query_head": 1},
    ]
    page.get_by_label("Spec", exact=True).fill(json.dumps(spec))
    expect(page.get_by_label("Into", exact=True)).to_have_value("query_v")
    expect(page.get_by_label("Receiver names")).to_have_value("1.2, 1.1")
