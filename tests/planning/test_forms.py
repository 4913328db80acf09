"""Counts of examples alike, added up, give the very price that counting all of them at once gives."""

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from planning.cost import forms_for, phase_flops
from tests.random_jobs import MODEL_NAMES, MODELS, jobs


def _joined(one: ResolvedDataset, examples: list[int]) -> ResolvedDataset:
    """Some of its examples, in this order, any of them several times."""
    return ResolvedDataset(
        orig=[one.orig[example] for example in examples],
        new=[one.new[example] for example in examples],
        roles={role: [places[example] for example in examples] for role, places in one.roles.items()},
        answers={answer: [ids[example] for example in examples] for answer, ids in one.answers.items()},
    )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_known_forms_price_any_examples_as_a_fresh_count_does(data: st.DataObject) -> None:
    """Bit for bit, also where the plans of single examples differ in their parts."""
    name, kind = data.draw(MODEL_NAMES), data.draw(st.sampled_from(["path", "activation"]))
    spec, dataset = data.draw(jobs(name, kind, data.draw(st.booleans()), data.draw(st.booleans())))
    text = spec.patch.model_dump_json()
    assume('"each"' not in text and '"positions":[[' not in text)
    shape = MODELS[name][0]
    known = forms_for(spec, shape, dataset)
    for _ in range(3):
        some = _joined(dataset, data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=5)))
        assert phase_flops(spec, shape, some, known) == phase_flops(spec, shape, some)
