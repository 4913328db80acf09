"""MkDocs hook: a page of every route and every field, written from the service's own OpenAPI at build time."""

import json
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from service.app import create_app
from service.settings import Settings

PAGE, SCHEMA_FILE = "api.md", "openapi.json"
REFUSAL = "`application/problem+json` [Problem](#schema-problem)"
Document = dict[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page, and the OpenAPI document itself."""
    document = create_app(Settings()).openapi()
    files.append(File.generated(config, PAGE, content="\n".join(page(document))))
    files.append(File.generated(config, SCHEMA_FILE, content=json.dumps(document, indent=1)))
    return files


def page(document: Document) -> Iterator[str]:
    """The page, line by line."""
    yield "# API reference\n"
    yield f"Of pathpatch {document['info']['version']}, from its OpenAPI document, [here]({SCHEMA_FILE}) as JSON."
    yield "A running service has the same at `/docs`, to try out. [HTTP API](http.md) is the short version.\n"
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in document["tags"]:
        yield f"## {tag['name'].capitalize()}\n\n{tag['description']}\n"
        for route, operation in operations:
            if tag["name"] in operation["tags"]:
                yield from operation_section(route, operation)
    yield "## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from schema_section(name, schema)


def operation_section(route: str, operation: Document) -> Iterator[str]:
    """One route: what it takes and what it answers."""
    yield f"### `{route}`\n\n{operation.get('description') or operation['summary']}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | |\n|---|---|---|---|"
        for parameter in parameters:
            name = f"`{parameter['name']}`" + (" (required)" if parameter["required"] else "")
            said = _cell(parameter.get("description", ""))
            yield f"| {name} | {parameter['in']} | {type_of(parameter['schema']).removesuffix(' or null')} | {said} |"
        yield ""
    if body := operation.get("requestBody"):
        kinds = [type_of(content["schema"]) for content in body["content"].values()]
        yield f"Body: {', '.join(dict.fromkeys(kinds))}\n"
    yield "| answer | body | |\n|---|---|---|"
    refusals = []
    for status, answer in sorted(operation["responses"].items()):
        bodies = [
            f"`{kind}` {type_of(content.get('schema', {}))}" for kind, content in answer.get("content", {}).items()
        ]
        if bodies == [REFUSAL]:
            refusals.append(f"{status} {_cell(answer['description']).rstrip('.')}")
        else:
            yield f"| {status} | {'<br>'.join(bodies)} | {_cell(answer['description'])} |"
    yield f"\nRefused with a [Problem](#schema-problem): {'; '.join(refusals)}.\n" if refusals else ""


def schema_section(name: str, schema: Document) -> Iterator[str]:
    """One schema: its fields, with type, default, meaning and an example."""
    yield f"### {name} {{#{anchor(name)}}}\n\n{schema.get('description', '')}\n"
    if not (fields := schema.get("properties")):
        yield f"{type_of({key: value for key, value in schema.items() if key != 'title'})}\n"
        return
    yield "| field | type | |\n|---|---|---|"
    required = schema.get("required", [])
    for field, content in fields.items():
        said = [_cell(content.get("description", ""))]
        if field in required:
            said.append("Required.")
        elif content.get("default") not in (None, [], {}):
            said.append(f"Default: `{_json(content['default'])}`.")
        examples = [example for example in content.get("examples", []) if example not in (None, [], {})]
        if examples and len(_json(examples[0])) <= 80:
            said.append(f"Example: `{_json(examples[0])}`.")
        yield f"| `{field}` | {type_of(content)} | {' '.join(filter(None, said))} |"
    yield ""


def type_of(schema: Document) -> str:
    """A type in words, with links to the schemas that it names."""
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        return f"[{name}](#{anchor(name)})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(type_of(part) for part in schema[choice]))
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{_json(value)}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {type_of(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {type_of(schema['additionalProperties'])}"
        case str(kind):
            return kind + _limits(schema)
    return "any"


def _limits(schema: Document) -> str:
    """Bounds of a number or a text."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema and schema[key] < 2**53]
    if "maxLength" in schema:
        said.append(f"at most {schema['maxLength']} characters")
    return f" ({', '.join(said)})" if said else ""


def anchor(name: str) -> str:
    """Where a schema is on the page."""
    return f"schema-{name.lower().strip('_')}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _cell(text: str) -> str:
    """Text that fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
