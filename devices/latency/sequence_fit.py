"""Trains a sequence model on networks that were timed on a device.

    members m = 1 … M, each trained without share m of the networks               (`sequence_training.py`)
    interval    t · exp(± q),  q the 90% quantile of |ln T̂ / T| over networks and the members that did not see them

as in conformal prediction. Each network is judged by one member there, where all members predict together: the interval
is rather too wide. What is blocked and fused is learned from all networks, those left out included.

With `prior`, a model of the same device at another number of threads, its members are trained on from where they are.
Das & Mannarswamy, "ML-driven Hardware Cost Model for MLIR", 2023.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from compressor.devices.latency.blocks import with_lanes
from compressor.devices.latency.fusion import Fusion, fit_fusion
from compressor.devices.latency.interval import half_width
from compressor.devices.latency.laws.numbers import USUAL, Core
from compressor.devices.latency.layout import Layout, fit_layout
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.samples import Timed, timed
from compressor.devices.latency.sequence import Member, SequenceModel, work_of
from compressor.devices.latency.sequence_training import Training, batch_of, trained
from compressor.devices.latency.tokens import Sentence, sentences_of
from compressor.devices.latency.vocabulary import Vocabulary, vocabulary_of
from compressor.errors import InputError

__all__ = ["fit_sequence"]

_FEWEST = 5  # networks below which nothing is left out
_WIDE = 0.3  # the interval where nothing could be left out


def fit_sequence(
    networks: Sequence[Measured], *, prior: SequenceModel | None = None, core: Core = USUAL,
    training: Training | None = None,
) -> SequenceModel:  # fmt: skip
    """The token model of a device on which `networks` were timed, all with as many threads; the same each time.

    Raises InputError for no networks, or for several numbers of threads.
    """
    if not networks:
        raise InputError("no networks to learn latencies from", where="latency model")
    if len({network.threads for network in networks}) > 1:
        raise InputError("networks timed with different numbers of threads", where="latency model")
    chosen = training or Training()
    known = [timed(network) for network in networks]
    layout, fusion = _rules(known, core) if prior is None else (prior.layout, prior.fusion)
    streams = [sentences_of(each.network.calls, layout, fusion) for each in known]
    vocabulary = vocabulary_of(streams) if prior is None else prior.vocabulary
    count = chosen.members if prior is None else len(prior.members)
    shares = [_share(each.network.name, count) if len(known) >= _FEWEST else -1 for each in known]
    members: list[Member] = []
    off: list[float] = []
    with _single_thread():
        for place in range(count):
            seen = [i for i, share in enumerate(shares) if share != place] or list(range(len(known)))
            batch = batch_of([known[i] for i in seen], [streams[i] for i in seen], vocabulary)
            members.append(trained(batch, place, None if prior is None else prior.members[place], chosen))
            for i in (i for i, share in enumerate(shares) if share == place and i not in seen):
                off.append(_off(members[-1], known[i].network, streams[i], vocabulary))
    operators = {call.op for each in known for call in each.network.calls} | set(prior.operators if prior else ())
    return SequenceModel(
        layout,
        fusion,
        vocabulary,
        tuple(members),
        frozenset(operators),
        half_width(off) if off else _WIDE,
        networks[0].threads,
    )


def _rules(known: Sequence[Timed], core: Core) -> tuple[Layout, Fusion]:
    """What is blocked and what is fused, by what ran."""
    layout = fit_layout([each for network in known for each in network.convolutions], with_lanes(core, known))
    fusion = fit_fusion((n.network.calls, layout.blocked(n.network.calls), set(n.times)) for n in known)
    return layout, fusion


def _share(name: str, count: int) -> int:
    """By the name alone: a network left out at one number of threads is left out at all."""
    return zlib.crc32(name.encode()) % count


@contextlib.contextmanager
def _single_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _off(member: Member, network: Measured, stream: Sequence[Sentence], vocabulary: Vocabulary) -> float:
    total = float(np.exp(member.logs(vocabulary.encode(stream), work_of(stream))).sum()) if stream else 0.0
    return abs(math.log(max(total, 1e-9) / network.microseconds))
