"""`compress MODEL --target T`: the main job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from compressor.cli.options import as_json, carbon, model_options, quiet
from compressor.targets.kernels import KERNELS
from compressor.targets.tvm import RUNTIMES

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
@click.option("--latency", metavar="8ms|0.6x", help="Latency budget. With a budget and no --passes, a plan is made.")
@click.option("--size", metavar="2MB|0.25x", help="Size budget.")
@click.option("--memory", metavar="30MB|0.5x", help="Budget of weights and activations together.")
@click.option("--energy", metavar="5mJ|0.5x", help="Budget of an inference, where the target declares its power.")
@click.option("--time", metavar="10min", help="What planning may spend on weighing what could be done.")
@click.option("--front", is_flag=True, help="All plans worth a thought, as recipes, a table and a plot.")
@click.option("--solver", default="auto", show_default=True, metavar="exact|evolution|gradient", help="What plans.")
@click.option("--tune", metavar="500trials|20min", help="Search for faster schedules; with --runtime tvm.")
@click.option("--device", metavar="URL", help="Where --tune measures: rpc://…, or a saved name. [default: local]")
@click.option("--gate", is_flag=True, help="Also revert passes you named when they make things worse.")
@click.option("--pack", is_flag=True, help="Store ternary and 3-bit weights in their fewest bits; see `unpack`.")
@carbon
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep finished stages.")
@click.option("--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Where finished stages are kept.")
@as_json
@quiet
def run(model: str, as_json: bool, quiet: bool, **options: Any) -> int:
    """Compile a PyTorch model into a small, fast, verified artifact for one edge board."""
    from compressor.api import front_request, help_request, run_request
    from compressor.cli.progress import Bars
    from compressor.crew import is_helper
    from compressor.graph.contract import Progress
    from compressor.request import Request

    if is_helper():
        help_request(Request(model=model, **options))
        return 0
    ask = front_request if options["front"] else run_request
    outcome = ask(Request(model=model, **options), progress=Progress() if quiet else Bars())
    if as_json:
        click.echo(json.dumps(outcome.to_json(), indent=2))
    else:
        outcome.render(sys.stdout)
    return outcome.exit_code
