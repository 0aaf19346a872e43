"""How long a decoder takes to answer: until its first token, which comes after a text is read, and for each further
one, through its cache and with all that an application does between two of them.

    first_ms   median over answers of the time of `read` tokens at once
    token_ms   median over their steps of one token behind what is kept
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from .decode import Decoder, chosen
from .model import JobError, Model

__all__ = ["answered"]


def answered(job: Mapping[str, Any], folder: str, *, runs: int = 3, seconds: float = 1.0) -> dict[str, Any]:
    """At least so many answers in so many seconds, after one that is not counted. Raises JobError."""
    plan, model = job["decoder"], Model(dict(job, inputs={}), folder)
    names = [output.name for output in model.session.get_outputs()]
    decoder = Decoder(
        lambda feed: dict(zip(names, model.session.run(names, dict(feed)))),
        plan["inputs"], plan["tokens"], plan["scores"],
    )  # fmt: skip
    dtype = next(spec["dtype"] for spec in plan["inputs"] if spec["name"] == plan["tokens"])
    shape = int(plan["batch"]), int(plan["read"])
    text = {plan["tokens"]: np.random.default_rng(0).integers(0, int(plan["vocabulary"]), shape).astype(dtype)}
    first: list[float] = []
    further: list[float] = []
    try:
        _answer(decoder, text, int(plan["steps"]))
        end = time.perf_counter() + seconds
        while len(first) < runs or time.perf_counter() < end:
            read, *steps = _answer(decoder, text, int(plan["steps"]))
            first.append(read)
            further += steps
    except Exception as error:  # each status of the runtime is a class of its own, all from Exception
        raise JobError("run", error) from error
    return {
        "first_ms": median(first) * 1e3, "token_ms": median(further) * 1e3, "read": shape[1],
        "steps": int(plan["steps"]), "runs": len(first),
    }  # fmt: skip


def _answer(decoder: Decoder, text: Mapping[str, Any], steps: int) -> list[float]:
    """Seconds until the first token, and of each further one."""
    start = time.perf_counter()
    ids = chosen(decoder.read(text)[:, -1])
    times = [time.perf_counter() - start]
    for _ in range(steps):
        start = time.perf_counter()
        ids = chosen(decoder.step(ids))
        times.append(time.perf_counter() - start)
    return times
