"""`compress bench BUNDLE... --device URL`: what bundles cost on a board, measured there."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.carbon import carbon_given
from compressor.cli.options import as_json, carbon, quiet, threads_option
from compressor.durations import duration
from compressor.errors import InputError, OutputError
from compressor.targets.target import Figure

if TYPE_CHECKING:
    from compressor.devices.bench import Bench

__all__ = ["bench"]

_MOST_WATTS = 1e5


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path))
@click.option(
    "--device", "url", default="local", show_default=True, metavar="URL",
    help="local, ssh://…, adb://…, rpc://…, qemu://…, or a saved name.",
)  # fmt: skip
@threads_option("Threads a run.", "the board's cores")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples a run, where that varies.")
@click.option("--time", "seconds", metavar="5s|1min", default="1s", show_default=True, help="Least time a bundle.")
@click.option("--power", "watts", metavar="7W", help="What the board draws while it computes, where no sensor tells.")
@carbon
@click.option("--entry", "entries", multiple=True, metavar="NAME", help="Measure this entry of each bundle, too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write how runs are spread: FILE.html or FILE.svg.")
@click.option("--allow-throttled", is_flag=True, help="Show figures of a board that slowed itself down, marked.")
@as_json
@quiet
def bench(
    bundles: tuple[Path, ...], url: str, threads: int | None, batch: int, seconds: str, plot: Path | None,
    allow_throttled: bool, as_json: bool, quiet: bool, watts: str | None, carbon: float | None,
    entries: tuple[str, ...],
) -> int:  # fmt: skip
    """Measure bundles on a board: golden vectors, then latency, memory and energy, side by side.

    Energy is measured where the board has a sensor, else estimated and labelled. From what making each bundle took
    follows after how many inferences it has used less than the first.

    Bundles are timed in turn, in rounds; the others are compared with the first. A device that vanishes loses
    nothing that was finished: the same command goes on.
    """
    least, intensity = duration(seconds), carbon_given(carbon)
    power = None if watts is None else Figure(_watts(watts), "given")
    if plot is not None:
        _check_plot(plot)
    from compressor.cache import default_folder
    from compressor.cli.progress import Bars
    from compressor.devices.bench import Limits
    from compressor.devices.bench import bench as measure
    from compressor.devices.opening import open_device
    from compressor.export.verify import open_bundle, open_entry
    from compressor.graph.contract import Progress

    for bundle in bundles:  # what is wrong here is told before a board is asked
        open_bundle(bundle)
        for name in entries:
            open_entry(bundle, name)
    limits = Limits(seconds=least, energy=max(least, Limits.energy), batch=batch, threads=threads or 0)
    with open_device(url) as device:
        if plot is not None and not device.describe().timed:
            raise OutputError("there are no times to draw: the device is emulated", where="--plot")
        found = measure(
            device, bundles, limits, allow_throttled=allow_throttled, folder=default_folder().parent / "bench",
            progress=Progress() if quiet else Bars(), carbon=intensity, power=power, entries=entries,
        )  # fmt: skip
    click.echo(json.dumps(found.to_json(), indent=2)) if as_json else _show(found)
    if plot is not None:
        _write_plot(plot, found)
    return 0


def _show(found: Bench) -> None:
    from rich.console import Console

    from compressor.report.bench import render_bench

    render_bench(found, Console(file=sys.stdout, highlight=False))


def _watts(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*W?", text.strip())
    if match is None or not 0 < float(match[1]) < _MOST_WATTS:
        raise InputError(f"{text!r} is no power", where="--power", way_out="Write 7W or 3.5W.")
    return float(match[1])


def _check_plot(plot: Path) -> None:
    """Before anything is measured: that the file could be written."""
    if plot.suffix.lower() not in (".html", ".svg"):
        raise OutputError(f"{plot.name!r} is neither .html nor .svg", where="--plot", way_out="Name it plot.html.")
    folder = plot.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or plot.is_dir():
        raise OutputError(f"{str(plot)!r} cannot be written", where="--plot", way_out="Choose a folder that exists.")


def _write_plot(plot: Path, found: Bench) -> None:
    from compressor.report.bench import bench_html
    from compressor.report.distribution import standalone

    text = standalone(found.figures) if plot.suffix.lower() == ".svg" else bench_html(found)
    try:
        plot.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", where=str(plot)) from error
