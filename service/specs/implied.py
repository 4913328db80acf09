"""What other fields or the model imply, written out: specs that mean the same are then equal."""

from collections.abc import Iterator

from api_schemas.circuits import CircuitPatch, ExactScores
from api_schemas.datasets import Dataset, TokensDataset
from api_schemas.errors import FieldError
from api_schemas.nodes import Node, SweepOf
from api_schemas.spec import AnyPatch, JobSpec, ModelSpec, PathPatch
from api_schemas.wording.values import wrong
from planning.architecture import Architecture
from planning.processing_flags import inapplicable_flags
from service.models.catalog import CatalogModel
from service.specs.comparison import ends_of


def normalised(spec: JobSpec, model: CatalogModel | None) -> JobSpec:
    """The spec with its implied defaults written out; those that the model implies too, if it is known."""
    ends: dict[str, object] = {field: _written_out(end) for field, end in ends_of(spec.patch).items()}
    if isinstance(spec.patch, PathPatch) and spec.patch.paths is not None:
        ends["paths"] = [[_written_out(node) for node in path] for path in spec.patch.paths]
    update = {"receiver_update": spec.patch.update} if isinstance(spec.patch, PathPatch) else {}
    parts: dict[str, object] = {
        "patch": _with_choice(spec.patch.model_copy(update=ends | update)),
        "output": spec.output.model_copy(update={"per_example": spec.per_example}),
    }
    if model is not None:
        parts["model"] = with_flags(spec.model, model.architecture)
        parts["dataset"] = with_bos(spec.dataset, model)
    return spec.model_copy(update=parts)


def with_bos(dataset: Dataset, model: CatalogModel) -> Dataset:
    """The dataset, with the beginning that the model's own tokenizer gives each prompt where it does not say."""
    if isinstance(dataset, TokensDataset) or dataset.prepend_bos is not None:
        return dataset
    return dataset.model_copy(update={"prepend_bos": model.adds_bos})


def _with_choice(patch: AnyPatch) -> AnyPatch:
    """A circuit's score and choice, where circuits are not given."""
    if not isinstance(patch, CircuitPatch) or patch.edges is not None:
        return patch
    score = patch.score or (None if patch.choice.by == "acdc" else ExactScores(method="exact"))
    return patch.model_copy(update={"score": score, "choose": patch.choice})


def with_flags(model: ModelSpec, architecture: Architecture) -> ModelSpec:
    """The flags that are applied: those that were not asked for are false where they would change the function."""
    unasked = inapplicable_flags(architecture).keys() - model.model_fields_set
    return model.model_copy(update=dict.fromkeys(unasked, False))


def flag_errors(model: ModelSpec, architecture: Architecture) -> Iterator[FieldError]:
    """Flags that were asked for and cannot apply."""
    for flag, reason in inapplicable_flags(architecture).items():
        if flag in model.model_fields_set and getattr(model, flag):
            yield wrong(("model", flag), f"{flag} cannot apply: {reason}. Leave it out, or write false")


def _written_out(end: Node | list[Node] | SweepOf) -> Node | list[Node] | SweepOf:
    """A sweep with its choice of heads and neurons."""
    if not isinstance(end, SweepOf):
        return end
    sweep = end.sweep
    choices = {"heads": sweep.head_choice, "neurons": sweep.neuron_choice}
    return SweepOf(sweep=sweep.model_copy(update=choices))
