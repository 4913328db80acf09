"""What makes two specs equal: the digest under which results are found again."""

import hashlib
import json

from api_schemas.spec import JobSpec

NOT_PART_OF_THE_RESULT = {"tags", "priority", "webhook", "use_cache", "expires_after_s"}


def spec_sha256(spec: JobSpec, revision: str) -> str:
    """Digest of everything in the spec that its result depends on, and of the model's revision.

    Args:
        revision: Hub commit of the model, or digest of its local files.
    """
    content = spec.model_dump(mode="json", exclude=NOT_PART_OF_THE_RESULT)
    text = json.dumps([content, revision], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
