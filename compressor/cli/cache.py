"""`compress cache` and `compress cache clear`: the finished stages that reruns resume from."""

from __future__ import annotations

from pathlib import Path

import click

from compressor.cache import Cache, default_folder

__all__ = ["cache"]


@click.group(invoke_without_command=True)
@click.option(
    "--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Another folder than the usual one."
)
@click.pass_context
def cache(ctx: click.Context, cache_dir: Path | None) -> None:
    """Show or clear the cache of finished stages."""
    ctx.obj = Cache(cache_dir or default_folder())
    if ctx.invoked_subcommand is None:
        entries, size = ctx.obj.size()
        click.echo(f"{ctx.obj.folder}: {entries} stages, {size / 1e6:.1f} of at most {ctx.obj.limit / 1e6:.0f} MB")


@cache.command()
@click.pass_obj
def clear(store: Cache) -> None:
    """Remove every finished stage."""
    entries, size = store.clear()
    click.echo(f"removed {entries} stages, {size / 1e6:.1f} MB")
