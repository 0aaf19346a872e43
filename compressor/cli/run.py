"""`compress MODEL --target T`: the main job."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from compressor.cli.options import as_json, carbon, model_options, quiet
from compressor.errors import InputError
from compressor.jobs import ENGINES
from compressor.targets.kernels import KERNELS
from compressor.targets.tvm import RUNTIMES

if TYPE_CHECKING:
    from compressor.fronting import Front
    from compressor.graph.contract import Progress
    from compressor.jobs.summary import Jobs
    from compressor.outcome import Outcome

__all__ = ["run"]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@model_options
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The bundle's folder. [default: MODEL-TARGET]")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What runs it there. [default: onnx]")
@click.option("--kernels", type=click.Choice(KERNELS), help="What multiplies by weights in blocks. [default: portable]")
@click.option("--passes", metavar="LIST", help="fold,int8:calibrator=entropy … instead of the target's defaults.")
@click.option("--recipe", type=click.Path(path_type=Path), help="Run a recipe.toml again.")
@click.option("--keep", multiple=True, metavar="GLOB", help="Parameters to leave alone.")
@click.option("--recover", metavar="5min|300steps|3epochs|none", help="Train on --data, the original as teacher.")
@click.option("--teacher", metavar="FILE", help="Another network to learn from; MODEL is the student.")
@click.option("--train", metavar="file.py:fn", help="For prune:how=dhspg. fn(model) yields the loss of each step.")
@click.option("--max-drop", default="1%", show_default=True, help="Largest fall of the metric: 1% of it, or 1pt.")
@click.option(
    "--latency",
    metavar="8ms|0.6x|min",
    help="Latency budget; min: what --max-drop allows. With a budget and no --passes, a plan is made.",
)
@click.option("--size", metavar="2MB|0.25x|min", help="Size budget.")
@click.option("--memory", metavar="30MB|0.5x|min", help="Budget of weights and activations together.")
@click.option("--energy", metavar="5mJ|0.5x|min", help="Budget of an inference, where the target declares its power.")
@click.option("--time", metavar="10min", help="What planning may spend on weighing what could be done.")
@click.option("--front", is_flag=True, help="All plans worth a thought, as recipes, a table and a plot.")
@click.option("--solver", default="auto", show_default=True, metavar="exact|evolution|gradient", help="What plans.")
@click.option("--tune", metavar="500trials|20min", help="Search for faster schedules; with --runtime tvm.")
@click.option("--device", metavar="URL", help="A board to measure on (ssh://…, a saved name): passes, plans, --tune.")
@click.option("--gate", is_flag=True, help="Also revert passes you named when they make things worse.")
@click.option("--pack", is_flag=True, help="Store ternary and 3-bit weights in their fewest bits; see `unpack`.")
@carbon
@click.option("--shard", metavar="i/n", help="Of a list of jobs every n-th, from the i-th (1/8 … 8/8).")
@click.option("--engine", type=click.Choice(ENGINES), default="here", show_default=True, help="What runs a list.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep finished stages.")
@click.option("--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Where finished stages are kept.")
@as_json
@quiet
@click.pass_context
def run(
    ctx: click.Context, /, model: str, as_json: bool, quiet: bool, shard: str | None, engine: str, **options: Any
) -> int:  # fmt: skip
    """Compile a PyTorch model into a small, fast, verified artifact for one edge board.

    MODEL may be a list of jobs (jobs.toml), of many models for many boards.
    """
    from compressor.api import front_request, help_request, run_request
    from compressor.cli.progress import Bars
    from compressor.crew import is_helper
    from compressor.graph.contract import Progress
    from compressor.jobs.document import is_list
    from compressor.request import Request

    if is_list(model):
        return _run_list(ctx, Path(model), shard, engine, options, as_json, Progress() if quiet else Bars())
    for name in ("shard", "engine"):
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError("it is for a list of jobs", where=f"--{name}", way_out="Give one: compress jobs.toml.")
    if is_helper():
        help_request(Request(model=model, **options))
        return 0
    ask = front_request if options["front"] else run_request
    return _show(ask(Request(model=model, **options), progress=Progress() if quiet else Bars()), as_json)


def _run_list(
    ctx: click.Context, path: Path, shard: str | None, engine: Any, options: Mapping[str, Any], as_json: bool,
    progress: Progress,
) -> int:  # fmt: skip
    """A list of jobs. Options that were given hold for all of them."""
    from compressor.api import jobs_request
    from compressor.jobs.running import Asked

    whole = {name: options[name] for name in ("out", "force", "dry_run")}
    said = [name for name in options if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    given = {name: options[name] for name in said if name not in whole}
    return _show(jobs_request(Asked(path, given, **whole, shard=shard, engine=engine), progress=progress), as_json)


def _show(found: Outcome | Front | Jobs, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        found.render(sys.stdout)
    return found.exit_code
