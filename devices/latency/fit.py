"""Fits a device's latency model to networks that were timed there.

    1. layout and fusion, by what ran                                       (`layout.py`, `fusion.py`)
    2. a law for each group; how much of it is used (terms, + ridge, + trees) is what does best on styles of network
       that were left out: a correction that only knows its own family is not worth having
    3. a multiple for each group:  argmin_m Σ_n (Σ_g m_g P_ng / T_n − 1)² + λ Σ_g (m_g − 1)²,  P_ng of networks left
       out, so that what every call of a group is off by is set right where it shows
    4. the 90% quantile of these networks' log errors, the width of the interval

With `prior`, a model of the same device (at another number of threads, say), its laws are bent: t = e^a p^(1+b).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from compressor.devices.latency.blocks import with_lanes
from compressor.devices.latency.fusion import fit_fusion
from compressor.devices.latency.interval import half_width
from compressor.devices.latency.laws.numbers import USUAL, Core
from compressor.devices.latency.laws.regression import STAGES, Floats, Law, bent, fit_law, within
from compressor.devices.latency.layout import fit_layout
from compressor.devices.latency.learned import REORDER, Learned
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.samples import Sample, Timed, copies, samples_of, timed
from compressor.errors import InputError

__all__ = ["errors", "fit"]

_FOLDS = 5
_FEWEST = 5  # networks below which nothing can be left out
_TRUST = 0.5  # samples count by their share of the time to this power: long calls matter, short ones still tell
_BETTER = {"ridge": 0.95, "trees": 0.9}  # what a richer law's error must be of a plainer one's: luck looks like a law
_HOLD = 3.0  # networks that a multiple of 1 counts as much as
_ROOM = 0.25  # of a multiple


def fit(networks: Sequence[Measured], *, prior: Learned | None = None, core: Core = USUAL) -> Learned:
    """The model of a device of such caches on which `networks` were timed, all with as many threads.

    Raises InputError for none.

    Trees of large groups are fitted by scikit-learn. Raises DeviceError where it is not installed.
    """
    if not networks:
        raise InputError("no networks to learn latencies from", where="latency model")
    if len({network.threads for network in networks}) > 1:
        raise InputError("networks timed with different numbers of threads", where="latency model")
    known = [timed(network) for network in networks]
    core = with_lanes(core, known) if prior is None else prior.layout.core
    if len(known) < _FEWEST:
        return _fitted(known, {}, prior, core)
    stages = {} if prior is not None else _stages(known, core)
    left_out = _left_out(known, _by_name(known), stages, prior, core)
    model = _fitted(known, stages, prior, core)
    multiples = _multiples(left_out)
    spread = _spread(left_out, multiples)
    return _with(model, multiples, spread)


def errors(networks: Sequence[Measured], core: Core = USUAL) -> dict[str, float]:
    """|ln(predicted / measured)| by name, each network predicted from four fifths of the others, by plain laws."""
    known = [timed(network) for network in networks]
    left_out = _left_out(known, _by_name(known), {}, None, with_lanes(core, known))
    return {each.name: abs(math.log(max(sum(parts.values()), 1e-9) / each.microseconds)) for each, parts in left_out}


def _fitted(networks: Sequence[Timed], stages: Mapping[str, str], prior: Learned | None, core: Core) -> Learned:
    seen = [each for network in networks for each in network.convolutions]
    own = prior is None or len(networks) > 4 * _FEWEST
    layout = fit_layout(seen, core) if own or prior is None else prior.layout
    fusion = fit_fusion((n.network.calls, layout.blocked(n.network.calls), set(n.times)) for n in networks)
    if prior is not None and not own:
        fusion = prior.fusion
    groups = {**samples_of(networks, layout), REORDER: copies(networks, layout)}
    laws = dict(prior.laws) if prior is not None else {}
    for group, samples in groups.items():
        if samples:
            before = prior.laws.get(group) if prior is not None else None
            stage = stages.get(group, "terms")
            laws[group] = _law(samples, stage) if before is None else _bent(before, samples)
    scale = float(np.median([law.scale for law in laws.values()])) if laws else 1.0
    operators = {call.op for n in networks for call in n.network.calls}
    operators |= prior.operators if prior is not None else set()
    threads = networks[0].network.threads
    multiples = prior.multiples if prior is not None else {}
    return Learned(layout, fusion, laws, frozenset(operators), scale, multiples, threads=threads)


def _law(samples: Sequence[Sample], stage: str = STAGES[-1]) -> Law:
    return fit_law([s.numbers for s in samples], *_times(samples), stage=stage)


def _bent(law: Law, samples: Sequence[Sample]) -> Law:
    return bent(law, [s.numbers for s in samples], *_times(samples))


def _times(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Microseconds, and how much each sample counts."""
    return np.array([s.microseconds for s in samples]), np.array([s.share**_TRUST for s in samples])


def _stages(networks: Sequence[Timed], core: Core) -> dict[str, str]:
    """How rich each group's law shall be, judged on styles left out."""
    errors: dict[str, Floats] = {}
    folds = _by_style(networks)
    for fold in sorted(set(folds)):
        train = [n for n, of in zip(networks, folds, strict=True) if of != fold]
        test = [n for n, of in zip(networks, folds, strict=True) if of == fold]
        if not train:
            return {}
        layout = fit_layout([each for network in train for each in network.convolutions], core)
        known, asked = samples_of(train, layout), samples_of(test, layout)
        for group in known.keys() & asked.keys():
            law, rows = _law(known[group]), [s.numbers for s in asked[group]]
            times, weights = _times(asked[group])
            off = [np.abs(np.log(law.at(stage).predict(rows) / times)).clip(0, 1) @ weights for stage in STAGES]
            errors[group] = errors.get(group, np.zeros(len(STAGES))) + np.array(off)
    return {group: _stage(off) for group, off in errors.items()}


def _stage(errors: Floats) -> str:
    best = 0
    for stage, name in enumerate(STAGES):
        if name in _BETTER and errors[stage] < _BETTER[name] * errors[best]:
            best = stage
    return STAGES[best]


_LeftOut = list[tuple[Measured, dict[str, float]]]  # a network, and the microseconds predicted for it by group


def _left_out(
    networks: Sequence[Timed], folds: Sequence[int], stages: Mapping[str, str], prior: Learned | None, core: Core
) -> _LeftOut:
    found: _LeftOut = []
    for fold in sorted(set(folds)):
        model = _fitted([n for n, of in zip(networks, folds, strict=True) if of != fold], stages, prior, core)
        for each in (n.network for n, of in zip(networks, folds, strict=True) if of == fold):
            groups = model.priced(each.calls)
            found.append((each, {group: sum(p.microseconds) for group, p in groups.items()}))
    return found


def _multiples(left_out: _LeftOut) -> dict[str, float]:
    groups = sorted({group for _, parts in left_out for group in parts})
    shares = np.array([[parts.get(group, 0.0) / n.microseconds for group in groups] for n, parts in left_out])
    off = np.abs(np.log(np.maximum(shares.sum(1), 1e-9)))
    weights = np.minimum(1.0, 0.1 / np.maximum(off, 1e-9))
    gram = shares.T @ (weights[:, None] * shares) + _HOLD * np.eye(len(groups))
    target = shares.T @ (weights * (1 - shares.sum(1)))  # of m − 1, shifted to be positive
    room = np.full(len(groups), _ROOM)
    found = within(gram, target + gram @ room, room, 2 * room) - room
    return {group: float(1 + change) for group, change in zip(groups, found, strict=True)}


def _spread(left_out: _LeftOut, multiples: Mapping[str, float]) -> float:
    """The half width of the interval, of networks left out."""
    return half_width([
        np.log(sum(time * multiples.get(group, 1.0) for group, time in parts.items()) / each.microseconds)
        for each, parts in left_out
        if parts
    ])  # fmt: skip


def _with(model: Learned, multiples: Mapping[str, float], spread: float) -> Learned:
    return Learned(
        model.layout, model.fusion, model.laws, model.operators, model.scale, multiples, spread, model.threads
    )  # fmt: skip


def _by_style(networks: Iterable[Timed]) -> list[int]:
    styles = [each.network.style for each in networks]
    order = {style: place % _FOLDS for place, style in enumerate(sorted(set(styles)))}
    return [order[style] for style in styles]


def _by_name(networks: Iterable[Timed]) -> list[int]:
    """Spread evenly over the folds, networks of one style over all of them."""
    keys = [(each.network.style, each.network.name) for each in networks]
    place = {key: position % _FOLDS for position, key in enumerate(sorted(set(keys)))}
    return [place[key] for key in keys]
