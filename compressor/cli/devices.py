"""`compress devices`: saved names and what can be seen now; adding, removing, and setting up emulation."""

from __future__ import annotations

import json
from pathlib import Path

import click

from compressor.cli.options import as_json
from compressor.cli.shown import shown

__all__ = ["devices"]


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def devices(context: click.Context, as_json: bool) -> None:
    """List the devices: saved names, and what can be seen now."""
    if context.invoked_subcommand is not None:
        return
    from compressor.devices.registry import saved
    from compressor.devices.visible import seen

    names, visible = saved(), seen()
    if as_json:
        found = {
            "saved": [{"name": name, "url": url} for name, url in names.items()],
            "seen": [{"url": each.url, "state": each.state} for each in visible],
        }
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(name, url, "saved") for name, url in names.items()]
    rows += [("", each.url, each.state) for each in visible]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, url, state in rows:
        text = f"{url:{widths[1]}}  {state}"
        click.echo(shown(f"{name:{widths[0]}}  {text}" if widths[0] else text))


@devices.command()
@click.argument("name")
@click.argument("url")
def add(name: str, url: str) -> None:
    """Save URL as NAME. Nothing is reached: `compress doctor --device NAME` does that."""
    from compressor.devices.registry import add, config_file

    new = add(name, url)
    click.echo(f"{'saved' if new else 'replaced'} {name}: {url} (in {config_file()})")


@devices.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget NAME."""
    from compressor.devices.registry import remove

    click.echo(f"removed {name}: {remove(name)}")


@devices.command()
@click.argument("what", type=click.Choice(["qemu"]))
@click.option("--force", is_flag=True, help="Set it up again, in the place of what is there.")
@click.option(
    "--sources",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="apt's sources to take arm64 packages from, where this machine's own have none.",
)
def setup(what: str, force: bool, sources: Path | None) -> None:
    """Set up emulated Arm: Debian's packages and PyPI's wheels, unpacked in the user's cache; nothing is installed."""
    from compressor.devices.emulation.setup import set_up

    root = set_up(force=force, sources=sources, say=lambda text: click.echo(text, err=True))
    click.echo(f"{what} is set up in {root.path}: {', '.join(f'qemu://{cpu}' for cpu in root.cpus)}")
