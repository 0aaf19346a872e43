"""The kinds of latency model that a profile's tables can be fitted to, by the name that model.json keeps.

features    laws over features of each call        (`learned.py`; also where model.json names none)
tokens      a network over the operator stream     (`sequence.py`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.devices.latency.laws.numbers import USUAL, Core
from compressor.devices.latency.learned import Learned
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.predicted import CallModel
from compressor.devices.latency.sequence import SequenceModel
from compressor.errors import InputError

__all__ = ["FEATURES", "KINDS", "TOKENS", "fit_models", "read_model"]

FEATURES, TOKENS = Learned.kind, SequenceModel.kind
KINDS = (FEATURES, TOKENS)


def read_model(data: Mapping[str, Any]) -> CallModel:
    """One entry of model.json. Raises KeyError, TypeError or ValueError for what is none."""
    kind = data.get("model", FEATURES)
    if kind == FEATURES:
        return Learned.from_json(data)
    if kind == TOKENS:
        return SequenceModel.from_json(data)
    raise ValueError(f"a latency model of kind {kind!r}, where {' and '.join(KINDS)} are known")


def fit_models(
    networks: Mapping[int, Sequence[Measured]], kind: str = FEATURES, core: Core = USUAL
) -> dict[int, CallModel]:  # fmt: skip
    """A model of each number of threads from the networks timed with it on such a core; the first is the prior of the
    others.

    Raises InputError for no networks or another kind, DeviceError where scikit-learn is asked for and missing.
    """
    found: dict[int, CallModel] = {}
    if kind == TOKENS:
        from compressor.devices.latency.sequence_fit import fit_sequence

        tokens: SequenceModel | None = None
        for threads, own in networks.items():
            found[threads] = fitted = fit_sequence(own, prior=tokens, core=core)
            tokens = tokens or fitted
        return found
    if kind != FEATURES:
        raise InputError(f"no kind of latency model: {kind!r}", where="latency model", way_out=" or ".join(KINDS))
    from compressor.devices.latency.fit import fit

    features: Learned | None = None
    for threads, own in networks.items():
        found[threads] = laws = fit(own, prior=features, core=core)
        features = features or laws
    return found
