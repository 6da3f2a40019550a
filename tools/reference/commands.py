"""Page `Commands`: every verb of `rca`, as `--help` knows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tools.reference.markdown import definition, escaped


def page(_: Path) -> str:
    """List every verb with usage, arguments and options, panel by panel as in `rca --help`."""
    from rca.cli import app

    command = typer.main.get_command(app)
    verbs: dict[str, list[str]] = {}
    for name, verb in _leaves("rca", command):
        verbs.setdefault(_panel(command, name), []).append(_verb(name, verb))
    return "\n\n".join(
        part for panel in sorted(verbs, reverse=True) for part in (f"## {panel}", *verbs[panel])
    )


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the verbs below a command, by their full names."""
    if not hasattr(command, "commands"):
        yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from _leaves(f"{name} {word}", below)


def _panel(command: Any, name: str) -> str:
    """Return the heading under which `rca --help` lists a verb, or the group that it is in."""
    return command.commands[name.split()[1]].rich_help_panel


def _verb(name: str, verb: Any) -> str:
    context = typer.Context(verb, info_name=name)
    usage = " ".join([name, *verb.collect_usage_pieces(context)])
    parts = [f"### `{name}`", escaped(inspect.cleandoc(verb.help or "")), f"```text\n{usage}\n```"]
    for parameter in verb.get_params(context):
        record = parameter.get_help_record(context)
        if record and parameter.name != "help":
            parts.append(definition(f"`{record[0]}`", escaped(record[1])))
    return "\n\n".join(parts)
