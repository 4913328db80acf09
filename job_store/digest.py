"""The digest that two equal specs share, under which an earlier result is found."""

import hashlib
import json

from api_schemas.spec import JobSpec

NOT_PART_OF_THE_RESULT = {"name", "tags", "priority", "webhook", "use_cache", "expires_after_s"}


def spec_sha256(spec: JobSpec, revision: str) -> str:
    """Digest of the model's revision and of the spec's fields that affect the result.

    Args:
        revision: Hub commit of the model, or digest of its local files.
    """
    content = spec.model_dump(mode="json", exclude=NOT_PART_OF_THE_RESULT)
    text = json.dumps([content, revision], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
