"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["as_json", "carbon", "model_options", "quiet", "threads_option", "timed_device", "timed_target"]

F = TypeVar("F", bound=Callable[..., Any])


def model_options(command: F) -> F:
    """MODEL and everything that says what it is and what goes into it."""
    for decorate in reversed(
        [
            click.argument("model"),
            click.option("-t", "--target", help="The board: a name from `compress targets`, or your own .toml."),
            click.option("--data", metavar="FILE|DIR|file.py:fn", help="Real inputs, and labels if there are any."),
            click.option(
                "--input", "inputs", multiple=True, metavar="[NAME=]1x3x224x224[:DTYPE]", help="An input's shape."
            ),
            click.option("--metric", metavar="NAME|file.py:fn", help="accuracy, cosine, mse, perplexity, or your own."),
            click.option("--model", "factory", metavar="file.py:factory", help="Builds the network for a state dict."),
            click.option("--no-kv-cache", is_flag=True, help="A causal language model without its key–value cache."),
            click.option("--trust", is_flag=True, help="Allow the model file to execute code while it is loaded."),
            click.option(
                "--batch", type=click.IntRange(1), default=1, show_default=True, help="Batch to cost and time."
            ),
            threads_option("Threads to cost and time with.", "the target's"),
            click.option(
                "--seed", type=click.IntRange(0), default=None, help="Seed for synthetic inputs. [default: 0]"
            ),
        ]
    ):
        command = decorate(command)
    return command


def threads_option(what: str, default: str) -> Callable[[F], F]:
    """`--threads`; where nothing is said a figure does not depend on the environment that it was taken in."""
    told = f"{what} [default: {default}, whatever OMP_NUM_THREADS says: that bounds PyTorch alone]"
    return click.option("--threads", type=click.IntRange(1), help=told)


carbon = click.option("--carbon", type=float, metavar="G", help="Grams of CO2e a kWh. [default: 475, assumed]")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
timed_device = click.option(
    "--device", "url", default="local", show_default=True, metavar="URL",
    help="local, ssh://…, adb://…, or a saved name: what is measured.",
)  # fmt: skip
timed_target = click.option(
    "--target", default="host", show_default=True, metavar="NAME", help="The kind of board that it is."
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
