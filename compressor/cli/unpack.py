"""`compress unpack BUNDLE -o DIR`: the install step of a packed bundle."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["unpack"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The unpacked bundle's folder.")
@click.option("--force", is_flag=True, help="Replace an existing folder.")
def unpack(bundle: Path, out: Path, force: bool) -> int:
    """Write a bundle that was packed (--pack) with the model as a runtime loads it, to the same bytes."""
    from compressor.unpacking import unpack_bundle

    click.echo(unpack_bundle(bundle, out, force=force))
    return 0
