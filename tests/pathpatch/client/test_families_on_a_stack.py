"""Decoders of other families from a spec to its figure, on a real stack; what they cannot do is refused by name."""

from typing import Any

import pytest

import pathpatch as pp
from pathpatch.drawing.charting import chart_for
from pathpatch.drawing.charts import Heatmap
from pathpatch.local import Stack
from pathpatch.problems import ServiceError

pytestmark = pytest.mark.integration

TOKENS = pp.tokens([[5, 9, 2, 7], [1, 2, 3]], [[6, 9, 4, 7], [1, 8, 3]], answers={"x": [4, 4], "y": [8, 8]})
LOGITS = pp.logit_diff("x", "y")


@pytest.fixture(scope="module")
def client(stack: Stack):
    with pp.Client(stack.url) as talking:
        yield talking


def test_keys_of_a_llama_are_swept_by_key_value_head(client: pp.Client) -> None:
    """From the service's plan through the worker to the axis of the figure."""
    known = client.model("tiny-llama").architecture
    assert known is not None and (known.n_heads, known.n_kv_heads) == (4, 2)
    job = client.submit(pp.path_patch(pp.heads("0.1"), pp.sweep("k"), TOKENS, LOGITS, model="tiny-llama"))
    flags = job.spec.model
    assert (flags.fold_ln, flags.center_writing_weights, flags.refactor_factored_attn_matrices) == (True, False, False)
    result = job.result(timeout_s=60)
    assert result.shape == (4, 2) and result.provenance["n_kv_heads"] == 2
    chart = chart_for(result)
    assert isinstance(chart, Heatmap) and chart.column_label == "receiver key-value head"
    one = client.run(pp.path_patch(pp.heads("0.1"), pp.key("2.3", query_head=True), TOKENS, LOGITS, model="tiny-llama"))
    assert one.shape == (2,) and abs(one.effect).max() > 0


@pytest.mark.parametrize(
    ("model", "patch", "flags", "pointer", "message"),
    [
        (
            "tiny-llama", (pp.heads("0.1"), pp.key("2.3")), {}, "/patch/receivers/0/head",
            "head 3 of k does not exist: this model has key-value heads 0 to 1",
        ),
        (
            "tiny-llama", (pp.heads("0.1"), pp.query("2.3")), {"center_writing_weights": True},
            "/model/center_writing_weights", "center_writing_weights cannot apply: this model's RMSNorm reads the mean",
        ),
        (
            "tiny-gpt_neox", (pp.heads("0.1"), pp.resid(2, "mid")), {}, "/patch/receivers/0/hook",
            'hook "resid_mid" does not exist here: this model\'s blocks are parallel',
        ),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_named(
    client: pp.Client, model: str, patch: tuple[Any, Any], flags: dict[str, Any], pointer: str, message: str
) -> None:
    """A 422 before anything is queued, with the reason."""
    spec = pp.path_patch(*patch, TOKENS, LOGITS, model="demo").model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ServiceError) as caught:
        client.submit({**spec, "model": {"name": model, **flags}})
    (error,) = caught.value.errors
    assert (caught.value.status, error.pointer) == (422, pointer)
    assert error.message.startswith(message)


def test_a_rerun_on_another_family_takes_that_familys_flags(client: pp.Client) -> None:
    """What the first spec left to its model is left to the second's too."""
    job = client.submit(pp.path_patch(pp.heads("0.1"), pp.query("2.3"), TOKENS, LOGITS, model="tiny-llama"))
    again = client.rerun(job.id, {"model": {"name": "tiny-gpt_neox"}})
    assert again.spec.model.center_writing_weights is True
    back = client.rerun(again.id, {"model": {"name": "tiny-llama"}})
    assert back.spec == job.spec
