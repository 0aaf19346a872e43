"""`compress generate BUNDLE --prompt TEXT`: talks to a causal language model, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressor.cli.options import as_json, quiet, threads_option
from compressor.cli.shown import shown
from compressor.errors import InputError

if TYPE_CHECKING:
    from compressor.talking import Talker

__all__ = ["generate"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="TEXT", help="What it goes on from, where the bundle has a tokenizer.")
@click.option("--ids", metavar="1,2,3", help="The same as token ids.")
@click.option("--tokens", type=click.IntRange(1), default=64, show_default=True, help="How many at most.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="Draw tokens; 0 takes the likeliest.")
@click.option("--top-k", "top", type=click.IntRange(0), default=0, help="Draw of so many likeliest; 0 of all.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
@threads_option("Threads a run.", "this machine's cores")
@click.option("--trust", is_flag=True, help="Run machine code that is in it (model.so, model_ops.so).")
@as_json
@quiet
def generate(
    bundle: Path, prompt: str | None, ids: str | None, tokens: int, temperature: float, top: int, seed: int,
    trust: bool, threads: int | None, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Generate text with a bundle of a causal language model, through its key–value cache.

    Tokens are printed as they come; how long the first one took, and each further one, goes to stderr.
    """
    from compressor.talking import open_talker

    if (prompt is None) == (ids is None):
        raise click.UsageError("Give either --prompt or --ids.")
    talker = open_talker(bundle, threads=threads, trust=trust)
    start = talker.encode(prompt) if prompt is not None else _ids(str(ids))
    found: list[int] = []
    written = 0
    for token in talker.stream(start, tokens, temperature=temperature, top=top, seed=seed):
        found.append(token)
        if not as_json:
            written = _show(talker, found, written)
    if as_json:
        said = {"ids": found, "text": talker.decode(found), "seconds": talker.seconds}
        click.echo(json.dumps(said, indent=2))
    else:
        click.echo()
    if not quiet and talker.seconds:
        click.echo(_times(talker.seconds, len(start)), err=True)
    return 0


def _show(talker: Talker, found: list[int], written: int) -> int:
    """Write what a token adds; a character that is not whole yet waits for the next."""
    text = talker.decode(found)
    if text.endswith("\ufffd"):
        return written
    click.echo(shown(text[written:]), nl=False)
    return len(text)


def _times(seconds: list[float], read: int) -> str:
    first, rest = f"first token {seconds[0] * 1e3:.3g} ms after {read} read", seconds[1:]
    return f"{first}, then {sum(rest) / len(rest) * 1e3:.3g} ms a token" if rest else first


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"{text!r} is no list of token ids", where="--ids", way_out="Write --ids 1,2,3.") from None
