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
@as_json
def inspect(model: str, groups: bool, sensitivity: bool, as_json: bool, **options: Any) -> None:
    """Show each layer's shapes, MACs, bytes and predicted time, and which roof it hits."""
    from compressor.api import groups_request, inspect_request, sensitivity_request
    from compressor.request import Request

    if groups and sensitivity:
        raise click.UsageError("--groups and --sensitivity are two tables: ask for one at a time.")

    request = Request(model=model, **options)
    ask = groups_request if groups else sensitivity_request if sensitivity else inspect_request
    found = ask(request)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.console import Console

    found.render(Console(file=sys.stdout, highlight=False))
