"""What is wrong with a spec, or with the model that it names."""

from api_schemas.errors.base import FieldError, PathPatchingError, first_of


class InvalidSpec(PathPatchingError):
    """A spec that cannot run; ``errors`` lists every invalid field."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(first_of(errors))
        self.errors = errors


class Misfit(ValueError):
    """Valid fields that contradict each other; raised inside validators.

    ``problems`` holds one pair per field: its path (relative to the model that raises) and the sentence to show.
    """

    def __init__(self, *problems: tuple[tuple[str | int, ...], str]) -> None:
        super().__init__("; ".join(sentence for _, sentence in problems))
        self.problems = problems


# The registry of models


class UnknownModel(InvalidSpec):
    """A model name that is not in the registry."""

    def __init__(self, name: str, known: list[str], hint: str = "") -> None:
        message = f"There is no model {name!r} on this server{hint}: its models are {', '.join(sorted(known))}."
        super().__init__([FieldError(pointer="/model/name", message=message)])


class ModelUnavailable(InvalidSpec):
    """A registered model whose files are missing, broken, or of another architecture.

    ``reason`` names files but no folder: clients read it, and the server's paths are private.
    """

    def __init__(self, name: str, reason: str) -> None:
        message = f"Model {name!r} is not available on this server: {reason}"
        super().__init__([FieldError(pointer="/model/name", message=message)])
        self.reason = reason


# Requests over HTTP


def without_folder(sentence: str, folder: str) -> str:
    """The sentence for clients, without the server's folder. The operator's log keeps the folder."""
    return sentence.replace(f" {folder}", "").replace(folder, "the folder") if folder else sentence


class ModelNotFound(PathPatchingError):
    """A worker did not find a model's files."""

    code = "model_not_found"
    title = "The model's files were not found"

    def __init__(self, name: str, looked_for: str, folder: str = "") -> None:
        super().__init__(f"Model {name!r} was not found: {looked_for}")
        self.detail = without_folder(self.detail, folder)


class UnusableModel(PathPatchingError):
    """A model's files exist but are broken, unsafe, or of another architecture."""

    code = "unusable_model"
    title = "The model's files cannot be used"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"The model in the folder {where} cannot be used: {reason}.")
        self.detail = without_folder(self.detail, where)


class SelfCheckFailed(PathPatchingError):
    """A model's forward pass on this device differs from the numbers stored when its weights were processed."""

    code = "self_check_failed"
    title = "The device computes wrong numbers"

    def __init__(self, name: str, device: str, deviation: float, allowed: float) -> None:
        super().__init__(
            f"Model {name!r} on {device}: the logits of the self-check deviate by {deviation:.1e} (relative) from the "
            f"stored ones; at most {allowed:.0e} is allowed. This worker takes no jobs."
        )
