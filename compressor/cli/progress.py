"""Progress on stderr: a line for what begins; while batches go by a bar on a terminal, and a line at times in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import track

from compressor.cli.shown import shown
from compressor.graph.contract import Progress

__all__ = ["Bars"]

_QUIET_SECONDS = 20.0

T = TypeVar("T")


class Bars(Progress):
    """What the command line shows unless `--quiet`."""

    def say(self, text: str) -> None:
        click.echo(f"· {shown(text)}", err=True)

    def over(self, items: Sequence[T], what: str) -> Iterable[T]:
        console = Console(stderr=True)
        if console.is_terminal:
            return track(items, f"· {what}", console=console, transient=True)
        return self._told(items, what)

    def _told(self, items: Sequence[T], what: str) -> Iterator[T]:
        """For a log: a line once the first has taken long, and now and then how far it is."""
        told = time.monotonic()
        for index, item in enumerate(items):
            yield item
            if time.monotonic() - told >= _QUIET_SECONDS:
                self.say(f"{what}: {index + 1} of {len(items)}")
                told = time.monotonic()

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        click.echo(f"  {what} {done:4.0%}: {shown}", err=True)
