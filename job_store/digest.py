"""The digest that two equal specs share, under which an earlier result is found."""

import hashlib
import json

from api_schemas.spec import JobSpec

NOT_PART_OF_THE_RESULT = {"name", "tags", "priority", "webhook", "use_cache", "expires_after_s"}


def spec_sha256(spec: JobSpec, revision: str, software: str = "") -> str:
    """Digest of everything that the spec's result depends on.

    Args:
        revision: Hub commit of the model, or digest of its local files.
        software: Digest of the version and of what draws data sets: another may draw other prompts from an equal spec.
    """
    return hashlib.sha256(digest_text(spec, revision, software).encode()).hexdigest()


def digest_text(spec: JobSpec, revision: str, software: str = "") -> str:
    """What ``spec_sha256`` is the digest of."""
    content = spec.model_dump(mode="json", exclude=NOT_PART_OF_THE_RESULT)
    return json.dumps([content, revision, software], sort_keys=True, separators=(",", ":"))
