"""What was probably meant by a model's name that is not in the registry."""

from collections.abc import Sequence

from api_schemas.built_in_models import known_by
from api_schemas.models import HUB
from api_schemas.wording.values import Suggestions


def hint(name: str, known: Sequence[str]) -> str:
    """The end of a sentence: the closest known name, or how a repository of the hub is registered; empty if neither."""
    meant = closest(name, known)
    if meant is not None:
        return f" (did you mean {meant!r}?)"
    owner, slash, repository = name.partition("/")
    if owner and slash and repository:
        own = repository.lower()
        return f" (its operator can register one of the hub's: PATHPATCH_MODELS={own}={HUB}{name})"
    return ""


def closest(name: str, known: Sequence[str]) -> str | None:
    """The built-in name of a repository, else the first known name that begins with it, else the one most like it."""
    if (built_in := known_by(name)) in known:
        return built_in
    last = name.lower().rpartition("/")[2]
    longer = [candidate for candidate in known if last and candidate.lower().startswith(last)]
    return longer[0] if longer else Suggestions().closest(last, known)
