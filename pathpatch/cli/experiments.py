"""Commands that bring an experiment along: new, demo, verify."""

import os
from pathlib import Path
from typing import Annotated

import typer

from api_schemas.built_in_models import BUILT_IN
from pathpatch.cli.terminal import DEFAULT_URL, AsJson, CommandFailed, Url, connect, note, print_json, print_table
from pathpatch.presets import PRESETS, Sizes, preset, spec_of_prompts
from pathpatch.problems import PathPatchingError

Examples = Annotated[int, typer.Option(help="Number of prompts.", min=1)]


def new(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET", help="Which one; without it, they are listed.", autocompletion=lambda: list(PRESETS)
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="The model to write it for.")] = "demo",
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own prompts: CSV, JSONL or JSON of EAP-IG, auto-circuit or MIB."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a commented spec to start from, of a preset or of a file of prompts.

    Examples:

      pathpatch new

      pathpatch new founding-experiment > spec.yaml

      pathpatch new heads-to-logits --model gpt2-small > spec.yaml

      pathpatch new --prompts gender-bias.csv --model gpt2-small > spec.yaml
    """
    if prompts is not None and name is not None:
        raise CommandFailed(f"Give a preset or --prompts, not both: {name} has prompts of its own.")
    if name is None and prompts is None:
        if json:
            print_json(PRESETS)
        else:
            print_table(("preset", "what it does"), PRESETS.items())
            note("pathpatch new PRESET > spec.yaml")
        return
    sizes = _sizes(model)
    text = _of_file(prompts, model, sizes) if prompts is not None else preset(name or "", model, sizes)
    if json:
        import yaml

        print_json(yaml.safe_load(text))
    else:
        typer.echo(text, nl=False)


def _of_file(prompts: Path, model: str, sizes: Sizes | None) -> str:
    from pathpatch.specs import prompts_from

    return spec_of_prompts(prompts_from(prompts), model, sizes)


def _sizes(model: str) -> Sizes | None:
    """Layers and heads of a model that is not built in, from the service; a guess is said to be one."""
    if model == "demo" or model in BUILT_IN:
        return None
    try:
        with connect(os.environ.get("PATHPATCH_URL", DEFAULT_URL)) as client:
            found = client.model(model)
        if found.shape is not None:
            return found.architecture or found.shape
    except PathPatchingError:
        pass
    note(f"no service here knows the model {model!r}: its layers are taken for GPT-2 small's")
    return None


def demo(
    model: Annotated[str, typer.Option(help="The model; gpt2-small runs the notebook's own heads.")] = "demo",
    folder: Annotated[Path, typer.Option(help="Where the result and its pictures go.")] = Path("demo"),
    examples: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Prompts; by default 800, and 200 of a fetched model.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show what broker, worker and service say.")] = False,
) -> None:
    """Run the founding experiment on a stack of its own, and draw its histogram.

    Starts broker, worker and service, submits the experiment over HTTP, and
    stops everything again. A model that `pathpatch models fetch` knows is
    fetched, and its heads are swept first: which of them write the answer?

    Examples:

      pathpatch demo

      pathpatch demo --model gpt2-small

      pathpatch demo --model smollm2-135m

      PATHPATCH_MODELS=mine=/path/to/folder pathpatch demo --model mine
    """
    from pathpatch.cli.demo import run_demo

    run_demo(model, folder, examples, logs)


def verify(
    model: Annotated[
        str, typer.Option(help="GPT-2 small under its name on the server, or smollm2-135m.")
    ] = "gpt2-small",
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Compare a real model on this service with recorded figures; exit code 0 if all agree.

    GPT-2 small with published ones, smollm2-135m with those of examples/real-model.

    Needs the model: from the hub once, or a local copy (PATHPATCH_MODELS=gpt2-small=folder).

    Examples:

      pathpatch verify

      pathpatch verify --model smollm2-135m
    """
    from dataclasses import asdict

    from pathpatch import acceptance, acceptance_smollm2
    from pathpatch.problems import ServiceError

    figures = acceptance_smollm2 if model == "smollm2-135m" else acceptance
    specs = figures.specs(model)
    with connect(url) as client:
        try:
            client.validate(next(iter(specs.values())))
            results = dict(zip(specs, client.map(list(specs.values())), strict=True))
        except ServiceError as exc:
            raise CommandFailed(f"verify needs {model} on the service. {exc}") from exc
    findings = figures.compare(results)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(f.figure, f.expected, f.got, f.tolerance, "yes" if f.ok else "NO") for f in findings]
        print_table(("figure", "expected", "got", "tolerance", "agrees"), rows)
        for source in dict.fromkeys(finding.source for finding in findings):
            note(f"source: {source}")
    if differing := sum(not finding.ok for finding in findings):
        note(f"{differing} of {len(findings)} figures do not agree: is {model} the real one?")
        raise typer.Exit(1)
    note(f"all {len(findings)} figures agree")
