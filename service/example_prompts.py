"""The first prompts of a dataset as the model will read them, for people to look at before a job is queued."""

from api_schemas.datasets import ResolvedDataset
from api_schemas.jobs import ExamplePrompt
from service.datasets.draft import pieces
from service.models import CatalogModel

SHOWN = 3


def example_prompts(dataset: ResolvedDataset, model: CatalogModel, count: int = SHOWN) -> list[ExamplePrompt]:
    """Tokens as text, with roles and answers; ids in place of text where the model has no tokenizer."""
    return [
        ExamplePrompt(
            orig=pieces(model.tokenizer, dataset.orig[example]),
            new=pieces(model.tokenizer, dataset.new[example]),
            roles={role: positions[example] for role, positions in dataset.roles.items()},
            answers={answer: pieces(model.tokenizer, [ids[example]])[0] for answer, ids in dataset.answers.items()},
        )
        for example in range(min(count, len(dataset)))
    ]
