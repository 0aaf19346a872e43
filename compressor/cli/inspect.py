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
@as_json
def inspect(model: str, groups: bool, as_json: bool, **options: Any) -> None:
    """Show each layer's shapes, MACs, bytes and predicted time, and which roof it hits."""
    from compressor.api import groups_request, inspect_request
    from compressor.request import Request

    request = Request(model=model, **options)
    found = groups_request(request) if groups else inspect_request(request)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.console import Console

    found.render(Console(file=sys.stdout, highlight=False))
