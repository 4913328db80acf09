"""What was probably meant by a model's name that is not in the registry."""

from collections.abc import Sequence

from api_schemas.built_in_models import known_by
from api_schemas.models import HUB
from api_schemas.wording.values import Suggestions
from checkpoints.families.known import FAMILIES


def hint(name: str, known: Sequence[str]) -> str:
    """The end of a sentence: the closest known name, or which models can be registered, and how."""
    meant = closest(name, known)
    if meant is not None:
        return f" (did you mean {meant!r}?)"
    owner, slash, repository = name.partition("/")
    how = f"{name}=FOLDER, or =FILE.gguf, or ={HUB}OWNER/REPOSITORY"
    if owner and slash and repository:
        how = f"{repository.lower()}={HUB}{name}"
    families = ", ".join(FAMILIES)
    return f" (its operator can register models of the families {families}: PATHPATCH_MODELS={how})"


def closest(name: str, known: Sequence[str]) -> str | None:
    """The built-in name of a repository, else the first known name that begins with it, else the one most like it."""
    if (built_in := known_by(name)) in known:
        return built_in
    last = name.lower().rpartition("/")[2]
    longer = [candidate for candidate in known if last and _bare(candidate).startswith(_bare(last))]
    return longer[0] if longer else Suggestions().closest(last, known)


def _bare(name: str) -> str:
    """Letters and digits alone: `gpt-2` and `gpt2` are one name."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
