"""The 'Bad input' list: each item is refused at its field, with the value and what is allowed."""

from typing import Any

import pytest

from api_schemas.built_in_models import BUILT_IN
from checkpoints.families.known import FAMILIES
from service.specs.limits import SpecLimits
from tests.specs_of_demo import METRICS, PATCH, PROMPTS, RECEIVERS, SENDERS, TOKENS, document, problems, problems_of

LOGIT = {"kind": "logit", "answer": "IO"}


def sender(**fields: Any) -> dict[str, Any]:
    return {"senders": [{"hook": "z", "layer": 1, **fields}], "receivers": RECEIVERS}


def receiver(**fields: Any) -> dict[str, Any]:
    return {"senders": SENDERS, "receivers": [{"hook": "q", "layer": 2, "head": 3, **fields}]}


SENDER_HOOKS = "z, attn_out, mlp_out, post, resid_pre, resid_mid, resid_post, embed, pos_embed"
RECEIVER_HOOKS = "q, k, v, pattern, pre, mlp_in, resid_pre, resid_mid, resid_post"

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "layer out of range": (
        {"patch": sender(layer=4)},
        "/patch/senders/0/layer",
        "layer 4 does not exist: this model has layers 0 to 3",
    ),
    "head out of range": (
        {"patch": receiver(head=8)},
        "/patch/receivers/0/head",
        "head 8 does not exist: this model has heads 0 to 7",
    ),
    "neuron out of range": (
        {"patch": sender(hook="post", neuron=512)},
        "/patch/senders/0/neuron",
        "neuron 512 does not exist: this model has neurons 0 to 511",
    ),
    "negative layer": (
        {"patch": sender(layer=-1)},
        "/patch/senders/0/layer",
        "-1 is out of range: the least allowed is 0 (layer: 0-based layer; absent for `embed` and `pos_embed` only)",
    ),
    "layer of a sweep out of range": (
        {"patch": {"senders": {"sweep": {"hook": "z", "layers": [0, 7]}}, "receivers": RECEIVERS}},
        "/patch/senders/sweep/layers/1",
        "layer 7 does not exist: this model has layers 0 to 3",
    ),
    "head of a metric out of range": (
        {"metric": {"kind": "attention", "query": "end", "key": "IO", "head": {"layer": 1, "head": 9}}},
        "/metric/head/head",
        "head 9 does not exist: this model has heads 0 to 7",
    ),
    "normalised loss": (
        {"metric": {"kind": "loss", "normalize": "noising"}},
        "/metric/normalize",
        "metric 'loss' takes normalize 'none' only, not 'noising': the two clean runs are scored on tokens of their "
        "own, so that they are no scale for the patched run",
    ),
    "position out of range": (
        {"dataset": TOKENS, "patch": {**PATCH, "positions": 4}},
        "/patch/positions",
        "position 4 does not exist: the longest prompt has positions 0 to 3",
    ),
    "position of a node out of range": (
        {"dataset": TOKENS, "patch": sender(positions=[0, 9])},
        "/patch/senders/0/positions/1",
        "position 9 does not exist: the longest prompt has positions 0 to 3",
    ),
    "position of one example out of range": (
        {"dataset": TOKENS, "patch": {**PATCH, "positions": [[3], [0, 3]]}},
        "/patch/positions/1/1",
        "position 3 does not exist in prompt 1, which has 0 to 2",
    ),
    "metric in the padding of a shorter prompt": (
        {"dataset": TOKENS, "metric": {**LOGIT, "position": 3}},
        "/metric/position",
        "position 3 does not exist in prompt 1, which has 0 to 2: a metric is read in every prompt; "
        "the role 'end' is each prompt's last token",
    ),
    "per-example list of wrong length": (
        {"dataset": TOKENS, "patch": {**PATCH, "positions": [[0], [0], [0]]}},
        "/patch/positions",
        "3 lists of positions for 2 examples: give one list per example",
    ),
    "hook that cannot be a sender": (
        {"patch": sender(hook="q")},
        "/patch/senders/0/hook",
        f"hook 'q' cannot be a sender: a sender is one of {SENDER_HOOKS}",
    ),
    "hook that cannot be a receiver": (
        {"patch": receiver(hook="z")},
        "/patch/receivers/0/hook",
        f"hook 'z' cannot be a receiver: a receiver is one of {RECEIVER_HOOKS}",
    ),
    "hook that does not exist": (
        {"patch": {"senders": [{"hook": "attn_ot", "layer": 1}], "receivers": RECEIVERS}},
        "/patch/senders/0/hook",
        f'hook "attn_ot" cannot be a sender: did you mean "attn_out"? A sender is one of {SENDER_HOOKS}',
    ),
    "unknown role": (
        {"metric": {"kind": "attention", "query": "end", "key": "S3"}},
        "/metric/key",
        'there is no role "S3": this dataset\'s roles are IO, S1, S1+1, S2, end',
    ),
    "unknown role of a patch": (
        {"patch": {**PATCH, "positions": ["end", "verb"]}},
        "/patch/positions/1",
        'there is no role "verb": this dataset\'s roles are IO, S1, S1+1, S2, end',
    ),
    "unknown answer": (
        {"metric": {"kind": "logit_diff", "answer": "IO", "minus_answer": "X"}},
        "/metric/minus_answer",
        'there is no answer "X": this dataset\'s answers are IO, S',
    ),
    "answer of several tokens": (
        {"dataset": {**PROMPTS, "answers": {"IO": [" Mary", " Annabelle"]}}},
        "/dataset/answers/IO/1",
        '" Annabelle" is 5 tokens (" An", "n", "ab", "el", "le"): an answer is a single token of this model',
    ),
    "answer without its leading space": (
        {"dataset": {**PROMPTS, "answers": {"IO": ["Mary", " Mary"]}}},
        "/dataset/answers/IO/0",
        '"Mary" is 2 tokens ("M", "ary"): an answer is a single token, such as " Mary" with a leading space',
    ),
    "orig and new of different length": (
        {"dataset": {**TOKENS, "new": [[1, 9, 3, 4], [5, 9]]}},
        "/dataset/new/1",
        "new prompt 1 has 2 tokens and its orig 3: the two must have the same number of tokens. "
        'At position 1, "6", "7" became "9"',
    ),
    "name of several tokens": (
        {"dataset": {**PROMPTS, "new": [PROMPTS["new"][0].replace("Adam", "Annabelle"), PROMPTS["new"][1]]}},
        "/dataset/new/0",
        "new prompt 0 has 15 tokens and its orig 11: the two must have the same number of tokens. "
        'At position 1, " Mary" became " An", "n", "ab", "el", "le"',
    ),
    "fewer prompts in new": (
        {"dataset": {**TOKENS, "new": [[1, 9, 3, 4]]}},
        "/dataset/new",
        "new has 1 prompt and orig 2: each orig has one new",
    ),
    "prompt longer than the context": (
        {"dataset": {"kind": "tokens", "orig": [[1] * 65], "new": [[1] * 65], "roles": {"IO": [0]}}},
        "/dataset/orig/0",
        "orig prompt 0 has 65 tokens: this model's context takes 1 to 64",
    ),
    "empty list of senders": (
        {"patch": {"senders": [], "receivers": RECEIVERS}},
        "/patch/senders",
        "the list is empty: give at least one entry "
        "(senders: Nodes whose output is patched, together; or a sweep, one result per cell)",
    ),
    "empty list of positions": (
        {"patch": {**PATCH, "positions": []}},
        "/patch/positions",
        "the list is empty: leave positions out to patch all of them",
    ),
    "empty list of prompts": (
        {"dataset": {**TOKENS, "orig": []}},
        "/dataset/orig",
        "the list is empty: give at least one entry (orig: Token ids of the run being patched)",
    ),
    "non-integer token": (
        {"dataset": {**TOKENS, "orig": [[1, 2.5, 3, 4], [5, 6, 7]]}},
        "/dataset/orig/0/1",
        "2.5 is not an integer (orig: Token ids of the run being patched)",
    ),
    "token beyond the vocabulary": (
        {"dataset": {**TOKENS, "orig": [[1, 2, 3, 1064], [5, 6, 7]]}},
        "/dataset/orig/0/3",
        "token 1064 does not exist: this model's tokens are 0 to 1063",
    ),
    "overlapping senders": (
        {"patch": {"senders": [*SENDERS, {"hook": "attn_out", "layer": 1}], "receivers": RECEIVERS}},
        "/patch/senders/1",
        "senders z 1.2 and attn_out 1 overlap at every position: the same edge would be counted twice",
    ),
    "unknown model": (
        {"model": {"name": "gpt4"}},
        "/model/name",
        f"There is no model 'gpt4' on this server (its operator can register models of the families "
        f"{', '.join(FAMILIES)}: PATHPATCH_MODELS=gpt4=FOLDER, or =FILE.gguf, or =hub:OWNER/REPOSITORY): "
        f"its models are {', '.join(sorted(['demo', 'golden', *BUILT_IN]))}.",
    ),
    "nearly a model": (
        {"model": {"name": "gpt2"}},
        "/model/name",
        "There is no model 'gpt2' on this server (did you mean 'gpt2-small'?): its models are "
        f"{', '.join(sorted(['demo', 'golden', *BUILT_IN]))}.",
    ),
    "model without files": (
        {"model": {"name": "gpt2-xl"}},
        "/model/name",
        "Model 'gpt2-xl' is not available on this server: its folder does not exist.",
    ),
    "unknown metric": (
        {"metric": {"kind": "logitdiff"}},
        "/metric/kind",
        f'there is no metric "logitdiff": did you mean "logit_diff"? The kinds are {", ".join(METRICS)}',
    ),
    "zero examples": (
        {"dataset": {"kind": "ioi", "examples": 0}},
        "/dataset/examples",
        "0 is out of range: the least allowed is 1 (examples: Number of prompts)",
    ),
    "a million examples": (
        {"dataset": {"kind": "ioi", "examples": 1_000_000}},
        "/dataset/examples",
        "1,000,000 examples: at most 10,000 are allowed (PATHPATCH_MAX_EXAMPLES)",
    ),
    "misspelled field": (
        {"dataset": {"kind": "ioi", "exmaples": 8}},
        "/dataset/exmaples",
        'there is no field "exmaples" here: did you mean "examples"? '
        "The fields are swap, kind, examples, seed, prompt_type, new, prepend_bos",
    ),
    "misspelled field at the top": (
        {"metrix": []},
        "/metrix",
        'there is no field "metrix" here: did you mean "metric"? The fields are '
        "name, model, dataset, patch, metric, metrics, output, method, verify, dtype, priority, expires_after_s, "
        "use_cache, webhook, tags",
    ),
    "misspelled field of a node": (
        {"patch": {"senders": [{"hook": "z", "layer": 1, "haed": 2}], "receivers": RECEIVERS}},
        "/patch/senders/0/haed",
        'there is no field "haed" here: did you mean "head"? '
        "The fields are hook, layer, head, query_head, neuron, positions",
    ),
    "missing field": (
        {"patch": {"senders": SENDERS}},
        "/patch/receivers",
        "receivers is missing: Nodes whose input changes, together; or a sweep, one result per cell, "
        'such as [{"hook": "q", "layer": 10, "head": 7}]',
    ),
    "no metric": (
        {"metric": None},
        "/metric",
        "metric is missing: give either metric or metrics, exactly one of them",
    ),
    "loss of one token": (
        {"dataset": {"kind": "tokens", "orig": [[1]], "new": [[2]]}, "metric": {"kind": "loss"}},
        "/metric/kind",
        "metric 'loss' needs prompts of at least 2 tokens, and prompt 0 has 1",
    ),
    "per_example and reduce": (
        {"output": {"per_example": True, "reduce": "mean"}},
        "/output/per_example",
        "per_example and reduce contradict each other: keep one number per example, or reduce over them",
    ),
    "head missing for a metric": (
        {"patch": {"senders": SENDERS, "receivers": [{"hook": "resid_post", "layer": 3}]}},
        "/metric/head",
        'metric \'attention\' needs a head, such as {"layer": 10, "head": 7}: '
        "there is not exactly one receiver head to take it from",
    ),
}


@pytest.mark.parametrize(("changes", "pointer", "message"), CASES.values(), ids=CASES)
def test_each_is_told_at_its_field(changes: dict[str, Any], pointer: str, message: str) -> None:
    """These sentences are the first thing that users see; the pointer is in terms of the JSON that they sent."""
    assert problems(**changes) == {pointer: message}


def test_a_sweep_that_is_too_large_names_its_cells_and_the_limit() -> None:
    """A neuron sweep by position has a hundred thousand cells sooner than one thinks."""
    patch = {"senders": {"sweep": {"hook": "post", "neurons": "all", "positions": "each"}}, "receivers": RECEIVERS}
    found = problems(SpecLimits(max_cells=1000), dataset={**TOKENS}, patch=patch)
    assert found == {
        "/patch/senders/sweep": "the sweep has 8,192 cells, and at most 1,000 are allowed (PATHPATCH_MAX_CELLS): "
        "sweep fewer layers, heads, neurons or positions"
    }


def test_a_result_that_is_too_large_names_what_makes_it_smaller() -> None:
    """Every cell of every example is rarely wanted, and would fill the store."""
    patch = {"senders": {"sweep": {"hook": "z"}}, "receivers": RECEIVERS}
    found = problems(
        SpecLimits(max_result_bytes=2**20),
        dataset={"kind": "ioi", "examples": 5000},
        patch=patch,
        output={"per_example": True},
    )
    assert found == {
        "/output/per_example": "the result would take about 2 MiB (32 cells x 5,000 examples); "
        "at most 1 MiB are allowed (PATHPATCH_MAX_RESULT_BYTES): "
        "leave out per_example (mean, sd and sem are then given per cell), "
        'keep the largest cells with "reduce", or take fewer examples'
    }


def test_too_many_tokens_are_refused() -> None:
    """A few long prompts are as much work as many short ones."""
    found = problems(SpecLimits(max_tokens=10), dataset=TOKENS)
    allowed = "the most is 10 (PATHPATCH_MAX_TOKENS): use fewer or shorter prompts"
    assert found == {"/dataset": f"the two runs have 14 tokens in all; {allowed}"}


def test_everything_wrong_is_told_at_once() -> None:
    """Nobody wants to submit seven times to learn of seven mistakes."""
    found = problems(
        dataset={**TOKENS, "new": [[1, 9], [5, 9, 2000]], "answers": {"IO": [1]}},
        patch={"senders": [{"hook": "z", "layer": 9, "head": 9}], "receivers": RECEIVERS, "positions": "nowhere"},
        metrics=[{"kind": "kl", "position": "start"}, {"kind": "logit", "answer": "S"}],
        metric=None,
    )
    assert sorted(found) == [
        "/dataset/answers/IO",
        "/dataset/new/0",
        "/dataset/new/1/2",
        "/metrics/0/position",
        "/metrics/1/answer",
        "/patch/positions",
        "/patch/senders/0/head",
        "/patch/senders/0/layer",
    ]


@pytest.mark.parametrize("whole", [None, 3, "spec", [], [1]])
def test_a_body_that_is_no_object_is_told_at_the_root(whole: Any) -> None:
    """The empty pointer means the whole document (RFC 6901)."""
    found = problems_of(whole)
    assert list(found) == [""] and "is not an object" in found[""]


def test_the_document_that_the_cases_change_runs() -> None:
    """Otherwise the cases above could fail for another reason."""
    assert problems_of(document()) == {}
