"""The page of the HTTP interface, made from its OpenAPI document.

sphinxcontrib-openapi shows neither the fields of a message with their meaning nor defaults and bounds of parameters.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def page(document: Schema, level: int) -> str:
    """Markdown of all routes and all messages; level: of the headings."""
    messages = document["components"]["schemas"]
    blocks = [block for path, methods in document["paths"].items() for block in _route(path, methods, level)]
    blocks.append(f"{'#' * level} Messages")
    for name, schema in messages.items():
        blocks += [f"(http-{name.lower()})=\n{'#' * (level + 1)} {name}", _message(schema)]
    return "\n\n".join(blocks) + "\n"


def _route(path: str, methods: Schema, level: int) -> Iterator[str]:
    for method, operation in methods.items():
        yield f"{'#' * level} `{method.upper()} {path}`"
        yield operation.get("description", operation.get("summary", ""))
        if parameters := operation.get("parameters"):
            rows = [
                (f"`{each['name']}`", each["in"], _kind(each["schema"]), _default(each), each.get("description", ""))
                for each in parameters
            ]
            yield _table(("Parameter", "In", "Type", "Default", "Meaning"), rows)
        if "requestBody" in operation:
            yield f"The body is JSON: {_body(operation['requestBody'])}."
        answers = [
            (f"`{status}`", _body(answer), "" if status == "200" else answer["description"])
            for status, answer in sorted(operation["responses"].items())
        ]
        yield _table(("Status", "Body", "When"), answers)


def _body(answer: Schema) -> str:
    content = answer.get("content", {}).get("application/json", {})
    return _kind(content["schema"]) if content else "none"


def _message(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`" + ("" if name in required else " (not always)"),
            _kind(field),
            _example(field),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return "\n\n".join(filter(None, [schema.get("description"), _table(("Field", "Type", "Example", "Meaning"), rows)]))


def _kind(schema: Schema) -> str:
    """A type in words, with a link to the message where it is one."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#http-{name.lower()})"
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_kind, options)))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_kind(inner)}" if isinstance(inner, Mapping) else "object"
    limits = [f"{words} {schema[name]:g}" for name, words in BOUNDS.items() if name in schema]
    return ", ".join([KINDS.get(str(kind), "any value"), *limits])


def _default(parameter: Schema) -> str:
    if parameter.get("required"):
        return "required"
    value = parameter["schema"].get("default")
    return "" if value is None else f"`{json.dumps(value)}`"


def _example(schema: Schema) -> str:
    examples = schema.get("examples") or [None]
    return "" if examples[0] is None else f"`{json.dumps(examples[0], ensure_ascii=False)}`"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table without the columns that are empty in every row."""
    kept = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    lines = [[heads[at] for at in kept], ["---"] * len(kept), *([row[at] for at in kept] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
