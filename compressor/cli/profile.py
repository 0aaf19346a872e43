"""`compress profile --device D --target T`: measures a device's kernels and teaches the latency model."""

from __future__ import annotations

import re
from pathlib import Path

import click

from compressor.cli.options import quiet, timed_device, timed_target
from compressor.durations import duration

__all__ = ["profile"]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@timed_device
@timed_target
@click.option("--time", "limit", metavar="5min|29min", default="29min", show_default=True, help="The most it may take.")
@click.option("--kernels", type=click.IntRange(100), default=1400, show_default=True, help="The most that are timed.")
@click.option("--threads", metavar="1,2", help="Numbers of threads. [default: 1 and the target's]")
@click.option("--model", "kind", type=click.Choice(["features", "tokens"]), default="features", show_default=True,
    help="Laws over features of each kernel, or a network that reads the operators as text.",
)  # fmt: skip
@click.option("--refit", is_flag=True, help="Measure nothing: fit --model to the tables of an earlier profile.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for the tables. [default: the user's]")
@quiet
def profile(
    url: str, target: str, limit: str, kernels: int, threads: str | None, kind: str, refit: bool, out: Path | None,
    quiet: bool,
) -> int:  # fmt: skip
    """Measure kernels on a device as its runtime really runs them, and fit the latency model to them.

    From then on `inspect`, the report and the passes predict this target from what was measured. A device that
    vanishes loses nothing: the same command goes on.
    """
    from compressor.cache import default_folder
    from compressor.cli.progress import Bars
    from compressor.devices.latency.lookup import user_profile
    from compressor.devices.opening import open_device
    from compressor.graph.contract import Progress
    from compressor.profiling import Limits
    from compressor.profiling import profile as measure
    from compressor.profiling import refit as fit_again
    from compressor.targets import load_target

    board = load_target(target)
    counts = _threads(threads) if threads else tuple(sorted({1, board.threads}))
    limits = Limits(seconds=duration(limit), kernels=kernels, threads=counts)
    place = out or user_profile(board.name)
    if refit:
        about = fit_again(place, kind).about
        click.echo(f"{kind} fitted to {about['kernels']} kernels of {about['networks']} networks: {place}")
        return 0
    with open_device(url) as device:
        found = measure(
            device, board, place, default_folder().parent / "profile" / board.name, limits,
            model=kind, progress=Progress() if quiet else Bars(),
        )  # fmt: skip
    about = found.profile.about
    click.echo(
        f"{about['kernels']} kernels of {about['networks']} networks in {about['seconds'] / 60:.1f} minutes: {place}"
    )
    for name, reason in found.failures.items():
        click.echo(f"left out: {name}: {reason}")
    return 0


def _threads(text: str) -> tuple[int, ...]:
    from compressor.errors import InputError

    parts = text.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]{0,3}\s*", part, re.ASCII) for part in parts):
        raise InputError(f"{text!r} are no numbers of threads", where="--threads", way_out="Write 1 or 1,2.")
    return tuple(sorted({int(part) for part in parts}))
