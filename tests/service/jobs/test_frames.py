"""Specs that differ in their dataset alone: what is kept of the rest gives exactly what a fresh check gives."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from api_schemas.errors import FieldError, InvalidSpec, MalformedJson
from job_store.records import NewJob
from job_store.store import JobStore
from service.checkers.checker import Checker, Given, Outline, SpecText
from service.checkers.models import KnownModels
from service.jobs.known import KnownFrames
from service.jobs.speeds import Speed
from service.settings import Settings
from service.specs.frames import Cut, Frame, Framed
from service.specs.limits import SpecLimits
from tests.specs_of_demo import PATCH, PROMPTS, RECEIVERS, SENDERS, catalog, document

MODEL = catalog().get("demo")
LIMITS = SpecLimits(max_examples=12, max_tokens=300, max_result_bytes=300_000)
SPEED = Speed(4e10, 4e10)
Z, Q = {"sweep": {"hook": "z"}}, {"sweep": {"hook": "q"}}
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
ACTIVATION = {"kind": "activation", "nodes": {"sweep": {"hook": "resid_pre"}}}
EACH = {"kind": "activation", "nodes": {"sweep": {"hook": "resid_pre", "positions": "each"}}}

KEPT: dict[str, dict[str, Any]] = {
    "one edge": {},
    "heads": {"patch": {"senders": Z, "receivers": RECEIVERS}, "tags": {'"a"': "é"}, "name": '"dataset":{}'},
    "every edge": {"patch": {"senders": Z, "receivers": Q, "direct_includes_mlps": True}},
    "at a role": {"patch": {**PATCH, "positions": "S1"}},
    "nodes": {"patch": ACTIVATION, "metric": LOGITS},
    "several metrics": {"metric": None, "metrics": [LOGITS, {"kind": "kl"}, {"kind": "loss"}]},
    "a mean": {"patch": {**PATCH, "source": "mean"}, "metric": LOGITS},
    "an estimate": {"patch": {"senders": Z, "receivers": Q}, "method": "attribution", "verify": 3},
    "what reaches nothing": {"patch": {**PATCH, "senders": [{"hook": "z", "layer": 3, "head": 0}, *SENDERS]}},
    "a position of the longer prompts": {"metric": {"kind": "attention", "query": 14, "key": -15}},
    "reduced": {"patch": {"senders": Z, "receivers": RECEIVERS}, "output": {"reduce": {"top": 5}, "decimals": 3}},
    "too large for some": {"patch": {"senders": Z, "receivers": Q}, "output": {"per_example": True}},
    "flags": {"model": {"name": "demo", "refactor_factored_attn_matrices": True, "fold_value_biases": False}},
}
APART: dict[str, dict[str, Any]] = {
    "positions of one example each": {
        "patch": {**PATCH, "positions": [[1], [2]]},
        "dataset": {"kind": "ioi", "examples": 2},
    },
    "each position": {"patch": EACH, "metric": LOGITS},
    "a node's position": {"patch": {**PATCH, "senders": [{**SENDERS[0], "positions": "S1"}]}},
    "an index": {"patch": {**PATCH, "positions": 3}},
    "overlapping nodes": {"patch": {"senders": [*SENDERS, {"hook": "z", "layer": 1}], "receivers": RECEIVERS}},
    "paths": {"patch": {"kind": "path", "paths": [[*SENDERS, *RECEIVERS]]}},
    "a circuit": {"patch": {"kind": "circuit"}, "metric": LOGITS},
    "prompts of one's own": {"dataset": PROMPTS},
}
DATASETS = [
    {"kind": "ioi", "examples": examples, "seed": seed, **more}
    for seed in (0, 3)
    for examples, more in [(1, {}), (2, {"swap": True}), (5, {"new": "swapped"}), (9, {"prompt_type": "BABA"})]
]
DATASETS += [{"kind": "ioi", "examples": 13}, {"kind": "ioi", "examples": 12}]
DATASETS += [{"kind": "ioi", "examples": 1, "prepend_bos": True}]


def _body(changes: dict[str, Any], dataset: dict[str, Any]) -> bytes:
    return json.dumps(document(**changes, dataset=dataset), ensure_ascii=False).encode()


def _checked(checker: Checker, text: SpecText) -> tuple[list[Outline], list[NewJob | str] | list[FieldError]]:
    """The outline; the jobs but for their ids, as they are and as an earlier result answers; the look ahead. Or what
    is wrong.
    """
    specs = checker.specs(text) if checker.framed is None else [checker.framed.normal]
    outlines, jobs = checker.outlines(specs, Given()), []
    try:
        for is_answered in (False, True):
            jobs += checker.new_jobs(specs, Given({"demo": SPEED}, outlines, [is_answered]))
        return outlines, [*(replace(job, id="") for job in jobs), checker.report(specs, Given({"demo": SPEED}))]
    except InvalidSpec as exc:
        return outlines, exc.errors


def _frame_of(body: bytes) -> Frame | None:
    fresh = Checker(Settings(), LIMITS, KnownModels({"demo": MODEL}))
    return Frame.of(fresh.specs(SpecText(body))[0], MODEL, LIMITS)


@pytest.mark.parametrize("changes", KEPT.values(), ids=KEPT)
def test_in_a_known_frame_all_is_as_in_a_fresh_check(changes: dict[str, Any]) -> None:
    """Bit for bit: digests, warnings, shards, estimates; and what is refused is refused in the same words."""
    fresh = Checker(Settings(), LIMITS, KnownModels({"demo": MODEL}))
    frame, refused = _frame_of(_body(changes, {"kind": "ioi", "examples": 4, "seed": 7})), 0
    assert frame is not None
    for dataset in DATASETS * 2:
        body = _body(changes, dataset)
        cut = Cut.of(body)
        assert cut is not None and cut.is_right(32)
        expected = _checked(fresh, SpecText(body))
        framed = Framed.of(frame, cut.dataset, 32)
        assert _checked(replace(fresh, framed=framed), SpecText(body)) == expected
        assert framed.spec == fresh.specs(SpecText(body))[0]
        assert framed.spec.dataset.model_fields_set == dataset.keys()
        refused += not isinstance(expected[1][0], NewJob)
    assert refused


@pytest.mark.parametrize("changes", APART.values(), ids=APART)
def test_what_depends_on_the_prompts_has_no_frame(changes: dict[str, Any]) -> None:
    """It is checked afresh each time."""
    assert _frame_of(json.dumps(document(**changes)).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"patch": {"dataset": {"kind": "ioi"}}, "d\\u0061taset": {"kind": "ioi"}}',
        b'{"tags": {"\\"dataset": {"kind": "ioi"}}}',
        b'[{"dataset": {"kind": "ioi"}}]',
        b'{"dataset": {"kind": "ioi"}, "tags": {"dataset": "x"}}',
        b'{"dataset": {"kind": "\\u0069oi"}}',
        b'{"dataset": {"kind": "prompts", "orig": ["a"]}}',
        b'{"dataset": {"kind": "templates", "slots": {}}}',
    ],
)
def test_a_dataset_that_is_not_plainly_there_is_not_cut_out(body: bytes) -> None:
    """A frame around something else would give a spec that nobody has sent."""
    cut = Cut.of(body)
    assert cut is None or not cut.is_right(32)


@pytest.mark.parametrize(
    "dataset",
    [
        b'{"kind": "ioi", "examples": 2, "examples": 3}',
        b'{"kind": "ioi"}',
        b'{"kind": "ioi", "examples": 1, "seed": 9223372036854775808}',
        b'{"kind": "ioi", "examples": NaN}',
        b'{"kind": "ioi", "examples": "2"}',
        b'{"kind": "greater_than", "examples": 2}',
        b"{kind}",
    ],
)
def test_a_wrong_dataset_in_a_known_frame_is_left_to_the_fresh_check(dataset: bytes) -> None:
    """Which says what is wrong in its own words."""
    frame = _frame_of(_body({}, {"kind": "ioi", "examples": 4}))
    assert frame is not None
    with pytest.raises((MalformedJson, ValidationError)):
        Framed.of(frame, dataset, 32)


def test_only_the_key_that_sent_it_finds_it_as_long_as_the_model_is_the_same() -> None:
    """Else the time of an answer would tell what another key has sent, and a changed model would be passed over."""
    models = {"demo": MODEL}
    frames = KnownFrames(models.get)
    frame = _frame_of(_body({}, {"kind": "ioi", "examples": 4}))
    assert frame is not None
    assert [frames.is_again("ana", b"a"), frames.is_again("ben", b"a"), frames.is_again("ana", b"a")] == [
        False,
        False,
        True,
    ]
    frames.remember("ana", b"a", frame)
    assert frames.find("ana", b"a") is frame
    assert frames.find("ben", b"a") is None and frames.find("ana", b"b") is None
    models["demo"] = replace(MODEL)
    assert frames.find("ana", b"a") is None


@pytest.mark.integration
def test_seeds_of_one_frame_make_the_jobs_that_each_makes_alone(client: httpx.Client, store: JobStore) -> None:
    """Also through HTTP; a spec written otherwise has another frame, and is refused in the same words."""
    headers = {"Content-Type": "application/json"}

    def send(dataset: dict[str, Any], ending: bytes) -> tuple[int, Any]:
        answer = client.post("/v1/jobs", content=_body({"use_cache": False}, dataset) + ending, headers=headers)
        if answer.status_code != 202:
            return answer.status_code, answer.json().get("errors") or answer.json()["detail"]
        name = f"pp:job:{answer.json()['id']}"
        return answer.status_code, (
            store.client.hmget(name, ["facts", "spec"]),
            store.client.hget(f"{name}:inputs", "0"),
        )

    datasets: list[dict[str, Any]] = [{"kind": "ioi", "examples": 3, "seed": seed} for seed in range(5)]
    datasets += [
        {"kind": "ioi", "examples": 0},
        {"kind": "ioi", "examples": 3, "seed": -1},
        {"kind": "oi", "examples": 3},
    ]
    framed = [send(dataset, b"") for dataset in datasets]
    assert framed == [send(dataset, b" " * number) for number, dataset in enumerate(datasets, 1)]
    assert [status for status, _ in framed] == [202] * 5 + [422] * 3
