"""Both kinds of model are what everything above takes."""

from __future__ import annotations

from compressor.devices.latency.fusion import Fusion
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.learned import Learned
from compressor.devices.latency.model import LearnedLatency
from compressor.devices.latency.predicted import CallModel, Predicted
from compressor.devices.latency.sequence import SequenceModel
from compressor.devices.latency.vocabulary import Vocabulary


def test_either_is_a_model_of_calls() -> None:
    features: CallModel = Learned(Layout(), Fusion(), {}, frozenset(), threads=1)
    tokens: CallModel = SequenceModel(Layout(), Fusion(), Vocabulary((), {}), (), frozenset(), threads=2)
    assert [model.kind for model in (features, tokens)] == ["features", "tokens"]
    for model in (features, tokens):
        found = model.predict([])
        assert isinstance(found, Predicted)
        assert found == Predicted(0.0, 0.0, 0.0, {}, 1.0, ())
    assert LearnedLatency({1: features, 2: tokens}, "two kinds").models == {1: features, 2: tokens}
