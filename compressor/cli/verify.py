"""`compress verify BUNDLE`: hashes and golden vectors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from compressor.cli.options import as_json

__all__ = ["verify"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--trust", is_flag=True, help="Run machine code that is in it (model.so, model_ops.so).")
@as_json
def verify(bundle: Path, trust: bool, as_json: bool) -> int:
    """Check a bundle: every file's hash, and the golden vectors in its runtime."""
    from compressor.export.bundle import verify_bundle
    from compressor.trying_operators import bundled_artifact

    found = verify_bundle(bundle, trust=trust, library=bundled_artifact)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else str(found))
    return 0 if found.ok else 1
