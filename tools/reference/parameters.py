"""Page `Parameters`: every key of params.yaml, from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.reference.markdown import anchored, definition, escaped

SCHEMA = Path("workflow/schemas/params.schema.json")
NUMBERS = {"integer": "whole number", "number": "number"}
PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "names"}

Schema = Mapping[str, Any]


def page(root: Path) -> str:
    """Describe every section of params.yaml and its keys: type, bounds, default and meaning."""
    schema = json.loads((root / SCHEMA).read_text(encoding="utf-8"))
    sections = {key: value for key, value in schema["properties"].items() if _parts(value)}
    alone = {key: value for key, value in schema["properties"].items() if key not in sections}
    required = set(schema["required"])
    parts = ["## At the top", *(_entry(key, "", value, required) for key, value in alone.items())]
    for key, value in sections.items():
        parts += _section(key, value, schema["$defs"])
    return "\n\n".join(parts)


def _section(path: str, field: Schema, kinds: Schema) -> Iterator[str]:
    """Describe a section of the file, or each of the forms that it can have."""
    forms = [kinds[name] for name in _parts(field)]
    yield f"{'#' * (2 + path.count('.'))} `{path}`"
    for form in forms:
        if len(forms) > 1:
            yield f"### `{path}.source: {form['properties']['source']['const']}`"
        yield from _keys(path, form, field.get("default", {}), kinds)


def _keys(path: str, form: Schema, defaults: Schema, kinds: Schema) -> Iterator[str]:
    """Describe the keys of a section, then the sections in it."""
    if "description" in form:
        yield escaped(form["description"])
    required = set(form.get("required", ()))
    # A default in the enclosing section has precedence: two sections may share one form.
    fields = {
        key: {**field, "default": defaults[key]} if key in defaults else field
        for key, field in form["properties"].items()
    }
    anchor = f"{path}.{form['properties']['source']['const']}" if path == "download" else path
    for key, field in fields.items():
        if not _parts(field):
            yield _entry(key, f"{anchor}.", field, required)
    for key, field in fields.items():
        if _parts(field):
            yield from _section(f"{path}.{key}", field, kinds)


def _parts(field: Schema) -> list[str]:
    """List the names of the forms that a section can have; none for a key with a value."""
    references = [field, *field.get("oneOf", ())]
    return [item["$ref"].rpartition("/")[2] for item in references if "$ref" in item]


def _entry(key: str, prefix: str, field: Schema, required: set[str]) -> str:
    value = in_words(field)
    if "const" not in field:
        has_default = "default" in field and key not in required
        value += f", default `{_as_yaml(field['default'])}`" if has_default else ", required"
    text = f"{value}. {escaped(field.get('description', ''))}"
    return definition(anchored(key, prefix + key), text[0].upper() + text[1:])


def _as_yaml(value: object) -> str:
    """Format a default as params.yaml has it: as JSON, but without quotes around a word."""
    return value if isinstance(value, str) else json.dumps(value)


def in_words(field: Schema) -> str:
    """Describe what a key's value may be: its type, its choices, its bounds."""
    if "anyOf" in field:
        return " or ".join(in_words(item) for item in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return _listed([f"`{value}`" for value in field["enum"]])
    if "type" not in field:  # one of several forms of a text
        return f"text that matches `{field['pattern']}`"
    kind = field["type"]
    if kind in NUMBERS:
        return NUMBERS[kind] + _bounds(field)
    if kind == "array":
        return _list_in_words(field)
    if kind == "object":
        return "names, each with a name"
    if kind == "string":
        return "path" if field.get("format") == "path" else "text"
    return {"boolean": "`true` or `false`", "null": "`null`"}[kind]


def _list_in_words(field: Schema) -> str:
    if "prefixItems" in field:
        item = field["prefixItems"][0]
        return f"list of {len(field['prefixItems'])} {PLURALS[item['type']]}{_bounds(item)}"
    item = field["items"]
    return f"list of {PLURALS[item['type']]}{_bounds(item)}"


def _bounds(field: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[bound]:g}" for bound, sign in signs.items() if bound in field]
    return f" {' and '.join(found)}" if found else ""


def _listed(items: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
