"""TransformerBridges for the tests of the oracle; importing this takes the seconds that transformer_lens takes."""

from pathlib import Path

import transformers
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.spec import ModelSpec
from worker.models.processing import one_thread


def boot_bridge(folder: Path, flags: ModelSpec | None = None) -> TransformerBridge:
    """A checkpoint folder on TransformerBridge, its weights processed with a spec's flags (all, by default)."""
    flags = flags or ModelSpec(name="any")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu")
    with one_thread():
        bridge.enable_compatibility_mode(disable_warnings=True, **flags.model_dump(exclude={"name"}))
    return bridge
