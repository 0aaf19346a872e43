"""Progress on stderr: a line for what begins, and a bar while batches go by, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import track

from compressor.cli.shown import shown
from compressor.graph.contract import Progress

__all__ = ["Bars"]

T = TypeVar("T")


class Bars(Progress):
    """What the command line shows unless `--quiet`."""

    def say(self, text: str) -> None:
        click.echo(f"· {shown(text)}", err=True)

    def over(self, items: Sequence[T], what: str) -> Iterable[T]:
        console = Console(stderr=True)
        return track(items, f"· {what}", console=console, transient=True, disable=not console.is_terminal)

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        click.echo(f"  {what} {done:4.0%}: {shown}", err=True)
