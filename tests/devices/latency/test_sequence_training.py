"""Training one member: what the batch holds, and that the loss of what was seen falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timed_networks import networks

from compressor.devices.latency.fusion import Fusion
from compressor.devices.latency.layout import Layout
from compressor.devices.latency.samples import timed
from compressor.devices.latency.sequence import Member
from compressor.devices.latency.sequence_training import Batch, Training, batch_of, trained
from compressor.devices.latency.tokens import COPIES, sentences_of
from compressor.devices.latency.vocabulary import vocabulary_of


def batch(count: int = 6) -> Batch:
    known = [timed(network) for network in networks(count)]
    streams = [sentences_of(each.network.calls, Layout(True), Fusion()) for each in known]
    return batch_of(known, streams, vocabulary_of(streams))


def off(member: Member, of: Batch) -> float:
    """|ln t̂ / t| of the calls, all networks as one stream."""
    logs = member.logs(of.rows.double().numpy(), of.work.double().numpy())
    told = of.weights.numpy() > 0
    return float(np.abs(logs - np.log(of.times.numpy()))[told].mean())


def test_the_batch_holds_every_sentence_of_every_network() -> None:
    known = [timed(network) for network in networks(3)]
    streams = [sentences_of(each.network.calls, Layout(True), Fusion()) for each in known]
    found = batch_of(known, streams, vocabulary_of(streams))
    count = sum(map(len, streams))
    assert found.rows.shape[0] == found.work.shape[0] == len(found.network) == count
    assert found.first.sum() == found.last.sum() == 3
    starts = torch.flatten(torch.nonzero(found.first[:, 0])).tolist()
    assert starts == [0, len(streams[0]), len(streams[0]) + len(streams[1])]
    assert found.totals.tolist() == pytest.approx([each.network.microseconds for each in known])
    copies = [sentence.op == COPIES for stream in streams for sentence in stream]
    assert found.copies.bool().tolist() == copies
    assert not found.weights[found.copies.bool()].any(), "no copy has a time of its own"


def test_training_lowers_the_error() -> None:
    seen = batch()
    early = trained(seen, 0, None, Training(width=8, steps=1))
    late = trained(seen, 0, None, Training(width=8, steps=120))
    assert off(late, seen) < 0.1
    assert off(late, seen) < 0.5 * off(early, seen)


def test_the_same_seed_is_the_same_member_and_another_is_another() -> None:
    brief = Training(width=4, steps=3)
    first, second, other = (trained(batch(2), seed, None, brief) for seed in (1, 1, 2))
    assert first.to_json() == second.to_json()
    assert first.to_json() != other.to_json()


def test_a_prior_is_trained_on_from_where_it_is() -> None:
    seen = batch()
    prior = trained(seen, 0, None, Training(width=8, steps=60))
    kept = trained(seen, 0, prior, Training(steps=3))
    assert kept.embed.shape == prior.embed.shape
    assert off(kept, seen) == pytest.approx(off(prior, seen), abs=0.05)
