"""The first prompts of a dataset as the model will read them, for people to look at before a job is queued."""

from api_schemas.datasets import DRAWN_DATASETS, Dataset, ResolvedDataset, TemplatesDataset
from api_schemas.errors import PathPatchingError
from api_schemas.jobs import ExamplePrompt
from api_schemas.nodes import SweepOf
from api_schemas.spec import JobSpec
from service.datasets.resolve import resolve
from service.datasets.words import pieces
from service.models.catalog import CatalogModel
from service.specs.limits import SpecLimits
from service.specs.validation import Models

SHOWN = 3
TOKENS_SHOWN = 100
"""Of one answer's set."""


def first_prompt(spec: JobSpec, revision: str, models: Models, limits: SpecLimits) -> list[str] | None:
    """Tokens of the first orig prompt, to label positions; None where none are swept, or that revision is gone."""
    ends = [getattr(spec.patch, end, None) for end in ("swept_start", "receivers", "nodes")]
    if not any(isinstance(end, SweepOf) and end.sweep.positions is not None for end in ends):
        return None
    try:
        model = models.get(spec.model.name)
        if model.revision != revision:
            return None
        dataset = resolve(_first_example(spec.dataset), model, limits).dataset
    except PathPatchingError:
        return None
    return pieces(model.tokenizer, dataset.orig[0])


def _first_example(dataset: Dataset) -> Dataset:
    """A longer draw begins with the shorter one of the same seed."""
    if isinstance(dataset, (*DRAWN_DATASETS, TemplatesDataset)):
        return dataset.model_copy(update={"examples": 1})
    return dataset.model_copy(update={"orig": dataset.orig[:1], "new": dataset.new[:1], "roles": {}, "answers": {}})


def _words(model: CatalogModel, answer: int | list[int]) -> str | list[str]:
    """An answer's token, or the tokens of its set, of a large one the first."""
    if isinstance(answer, int):
        return pieces(model.tokenizer, [answer])[0]
    more = [f"… {len(answer) - TOKENS_SHOWN:,} more"] if len(answer) > TOKENS_SHOWN else []
    return pieces(model.tokenizer, answer[:TOKENS_SHOWN]) + more


def example_prompts(dataset: ResolvedDataset, model: CatalogModel, count: int = SHOWN) -> list[ExamplePrompt]:
    """Tokens as text, with roles and answers; ids in place of text where the model has no tokenizer."""
    return [
        ExamplePrompt(
            orig=pieces(model.tokenizer, dataset.orig[example]),
            new=pieces(model.tokenizer, dataset.new[example]),
            roles={role: positions[example] for role, positions in dataset.roles.items()},
            answers={answer: _words(model, ids[example]) for answer, ids in dataset.answers.items()},
        )
        for example in range(min(count, len(dataset)))
    ]
