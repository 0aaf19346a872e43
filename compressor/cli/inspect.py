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
@as_json
def inspect(model: str, as_json: bool, **options: Any) -> None:
    """Show each layer's shapes, MACs, bytes and predicted time, and which roof it hits."""
    from compressor.api import inspect_request
    from compressor.request import Request

    found = inspect_request(Request(model=model, **options))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.console import Console

    found.render(Console(file=sys.stdout, highlight=False))
