"""English prose as bytes: the running text of Perl's manual, Debian's package perl-doc; a tenth of its pages held out.

Each .pod file is a document. Code, headings and markup are dropped, as is a paragraph that an earlier page has too, so
that nothing held out was trained on. On other systems, point PERL_POD at a folder with the manual's .pod files.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .gpt import CONTEXT

__all__ = ["batches", "documents", "fingerprint", "folder", "stream", "windows"]

SKIPPED = {"perltoc", "perluniprops", "perlcn", "perljp", "perlko", "perltw"}  # contents, a table, not English
HELD_OUT = 10  # one page in so many
SHORTEST = 60  # characters of a paragraph


def folder() -> Path:
    """Where the manual is; `FileNotFoundError` says what to install."""
    given = os.environ.get("PERL_POD")
    for place in [Path(given)] if given else sorted(Path("/usr/share/perl").glob("*/pod"), reverse=True):
        if (place / "perlre.pod").is_file():
            return place
    raise FileNotFoundError(
        "Perl's manual is not installed: `apt-get install perl-doc` (Debian and Ubuntu), "
        "or set PERL_POD to a folder with its .pod files"
    )


@functools.cache
def documents(split: str = "test") -> dict[str, str]:
    """The prose of each page by its name, of "train" or "test"."""
    seen: set[str] = set()
    pages: dict[str, str] = {}
    for path in sorted(folder().glob("*.pod")):
        if path.stem in SKIPPED:
            continue
        paragraphs = [p for p in _prose(path.read_text("utf-8", "replace")) if p not in seen]
        seen.update(paragraphs)
        if paragraphs:
            pages[path.stem] = "\n\n".join(paragraphs) + "\n\n"
    held_out = {name for name in pages if zlib.crc32(name.encode()) % HELD_OUT == 0}
    return {name: page for name, page in pages.items() if (name in held_out) == (split == "test")}


@functools.cache
def stream(split: str = "test") -> Tensor:
    """All pages of the split as one row of bytes, int64."""
    return torch.from_numpy(np.frombuffer("".join(documents(split).values()).encode(), np.uint8).copy()).long()


def fingerprint(split: str = "test") -> str:
    """Tells whether another machine's manual has the same text: it differs from one Perl to the next."""
    return hashlib.sha256("".join(documents(split).values()).encode()).hexdigest()[:16]


def windows(
    split: str = "test", count: int | None = None, length: int = CONTEXT + 1, seed: int | None = None
) -> Tensor:
    """[N, length] bytes: evenly spread over the split, or with a seed, `count` random places. None: all of it once.

    A model is given `ids[:, :-1]` and predicts `ids[:, 1:]`.
    """
    codes = stream(split)
    last = len(codes) - length
    if seed is not None:
        starts = torch.randint(0, last + 1, (count or 1,), generator=torch.Generator().manual_seed(seed))
    elif count is None:
        starts = torch.arange(0, last + 1, length - 1)  # each byte is predicted once
    else:
        starts = torch.linspace(0, last, count, dtype=torch.float64).long()
    return codes[starts[:, None] + torch.arange(length)]


def batches(
    split: str = "test", size: int = 16, count: int | None = None, seed: int | None = None, length: int = CONTEXT + 1
) -> Iterator[Tensor]:
    """`windows`, `size` at a time."""
    yield from windows(split, count, length, seed).split(size)


def _prose(pod: str) -> list[str]:
    """A page's running text, a paragraph each, without markup."""
    paragraphs = [p for p in re.split(r"\n\s*\n", pod) if not p.startswith((" ", "\t", "="))]
    plain = [_plain(" ".join(paragraph.split())) for paragraph in paragraphs]
    return [paragraph for paragraph in plain if len(paragraph) >= SHORTEST]


def _plain(words: str) -> str:
    """Perl's `C<code>`, `L<shown|link>`, `C<< a < b >>` and their like, from the inside out."""
    less, more = "\0", "\1"  # signs that end no code
    words = re.sub(r"E<(\w+)>", lambda sign: ENTITIES.get(sign[1], ""), words)
    for edge in (3, 2):
        code = rf"\b[BCFILSX]<{{{edge}}} (.*?) >{{{edge}}}"
        words = re.sub(code, lambda c: c[1].replace("<", less).replace(">", more), words)
    before = ""
    while words != before:
        before, words = words, re.sub(r"X<[^<>]*>|Z<>", "", words)
        words = re.sub(r"L<(?:([^<>|]*)\|)?([^<>]*)>", lambda link: link[1] or link[2], words)
        words = re.sub(r"\b[BCFIS]<([^<>]*)>", r"\1", words)
    return words.replace(less, "<").replace(more, ">")


ENTITIES = {"lt": "\0", "gt": "\1", "sol": "/", "verbar": "|", "amp": "&", "quot": '"'}
