"""`compress calibrate --device D --target T`: a handful of measurements for a target that was never profiled."""

from __future__ import annotations

import math

import click

from compressor.cli.options import quiet, timed_device, timed_target

__all__ = ["calibrate"]

_TEN = 9  # of fewer networks the interval is the widest of all


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@timed_device
@timed_target
@click.option("--models", type=click.IntRange(3, 12), default=10, show_default=True, help="Networks to measure.")
@click.option("--threads", type=click.IntRange(1), help="Threads to time with. [default: the target's]")
@quiet
def calibrate(url: str, target: str, models: int, threads: int | None, quiet: bool) -> int:
    """Measure a handful of small networks on a device, and bend the target's latency model to them.

    It starts from the target's data sheet or from the profile of another device, whichever predicts the measured
    networks better when each is left out. `compress profile` takes longer and is more exact.
    """
    from compressor.cache import default_folder
    from compressor.calibrating import calibrate_target
    from compressor.cli.progress import Bars
    from compressor.devices.latency.lookup import answering, calibration_file
    from compressor.devices.opening import open_device
    from compressor.graph.contract import Progress
    from compressor.targets import load_target

    board = load_target(target)
    work = default_folder().parent / "calibrate" / board.name
    progress = Progress() if quiet else Bars()
    with open_device(url) as device:
        found = calibrate_target(device, board, work, models=models, threads=threads, progress=progress)
    factors = ", ".join(f"{kind} {factor:.2f}×" for kind, factor in found.factors.items())
    click.echo(f"{len(found.measured)} networks measured; {found.base} bent by: {factors}")
    share = "nine of ten" if len(found.measured) >= _TEN else f"all {len(found.measured)}"
    click.echo(f"left out in turn, {share} are within {100 * math.expm1(found.spread):.0f}%")
    click.echo(str(calibration_file(board.name)))
    if (first := answering(board)) != calibration_file(board.name):
        click.echo(f"it is not used here: {board.name} is answered from {first or 'the data sheet'}")
    return 0
