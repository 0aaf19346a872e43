"""`compress inspect MODEL --target T`: the per-layer table."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from compressor.cli.options import as_json, model_options

__all__ = ["inspect"]


@click.command()
@model_options
@click.option("--groups", is_flag=True, help="What can be pruned together, and what freezes the rest.")
@click.option("--sensitivity", is_flag=True, help="What each number format in each layer does to the outputs.")
@click.option("--ranks", is_flag=True, help="What low rank in each matrix does to the outputs.")
@as_json
def inspect(model: str, groups: bool, sensitivity: bool, ranks: bool, as_json: bool, **options: Any) -> None:
    """Show each layer's shapes, MACs, bytes and predicted time, and which roof it hits."""
    from compressor.api import groups_request, inspect_request, ranks_request, sensitivity_request
    from compressor.request import Request

    tables = {"--groups": groups, "--sensitivity": sensitivity, "--ranks": ranks}
    asked = [name for name, wanted in tables.items() if wanted]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} are tables of their own: ask for one at a time.")
    ask = {"--groups": groups_request, "--sensitivity": sensitivity_request, "--ranks": ranks_request}
    found: Any = ask.get(asked[0] if asked else "", inspect_request)(Request(model=model, **options))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.console import Console

    found.render(Console(file=sys.stdout, highlight=False))
