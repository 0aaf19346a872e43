"""A decoder is fed what it needs at each step, and tokens are chosen as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.devices.runner.decode import Decoder, chosen, generated

INPUTS = [
    {"name": "ids", "dtype": "int64", "shape": ["batch", "sequence"]},
    {"name": "mask", "dtype": "bool", "shape": ["batch", "past + sequence"]},
    {"name": "position_ids", "dtype": "int64", "shape": ["batch", "sequence"]},
    {"name": "kind", "dtype": "int64", "shape": ["batch", "sequence"]},
    {"name": "past_key_values.0.key", "dtype": "float32", "shape": ["batch", 1, "past", 1]},
]


class Counts:
    """Scores the token after the last one highest, and keeps the tokens."""

    def __init__(self) -> None:
        self.fed: list[dict[str, Any]] = []

    def __call__(self, feed: Any) -> Any:
        self.fed.append(dict(feed))
        ids = feed["ids"]
        kept = np.concatenate([feed["past_key_values.0.key"], ids[:, None, :, None].astype(np.float32)], 2)
        return {"logits": np.eye(10, dtype=np.float32)[(ids + 1) % 10], "present.0.key": kept}


def test_reading_and_steps() -> None:
    run = Counts()
    decoder = Decoder(run, INPUTS, "ids", "logits")
    tokens = list(generated(decoder, {"ids": np.array([[1, 2, 3], [5, 6, 7]])}, 3, chosen))
    assert [each.tolist() for each in tokens] == [[4, 8], [5, 9], [6, 0]]
    first, second, third = run.fed
    assert first["past_key_values.0.key"].shape == (2, 1, 0, 1)
    assert first["mask"].tolist() == [[True] * 3] * 2
    assert [feed["position_ids"][0].tolist() for feed in run.fed] == [[0, 1, 2], [3], [4]]
    assert [feed["kind"].shape for feed in run.fed] == [(2, 3), (2, 1), (2, 1)]
    assert third["past_key_values.0.key"][0].ravel().tolist() == [1, 2, 3, 4]
    assert third["mask"].shape == (2, 5)
    assert second["ids"].tolist() == [[4], [8]]
    assert decoder.places == 5


def test_a_mask_that_was_given_goes_on_with_ones() -> None:
    run = Counts()
    decoder = Decoder(run, INPUTS, "ids", "logits")
    decoder.read({"ids": np.array([[1, 2]]), "mask": np.array([[False, True]])})
    decoder.step([3])
    assert run.fed[1]["mask"].tolist() == [[False, True, True]]
    decoder.read({"ids": np.array([[1]])})
    assert run.fed[2]["past_key_values.0.key"].shape[2] == 0, "begun anew"


def test_a_blank_step_at_the_last_place() -> None:
    run = Counts()
    decoder = Decoder(run, INPUTS, "ids", "logits")
    decoder.read({"ids": np.array([[1, 2]])})
    assert decoder.blank(6).shape == (1, 1, 10)
    fed = run.fed[1]
    assert (fed["ids"].tolist(), fed["position_ids"].tolist(), fed["mask"].tolist()) == ([[0]], [[5]], [[True] * 6])
    assert fed["past_key_values.0.key"].shape == (1, 1, 5, 1)
    decoder.step([3])
    assert run.fed[2]["past_key_values.0.key"].ravel().tolist() == [1, 2], "what was read is still there"


def test_choosing() -> None:
    scores = np.array([[0.0, 3.0, 2.0, 1.0]])
    assert chosen(scores).tolist() == [1]
    random = np.random.default_rng(0)
    drawn = [int(chosen(scores, temperature=1.0, random=random)[0]) for _ in range(2000)]
    shares = np.bincount(drawn, minlength=4) / 2000
    assert shares == pytest.approx(np.exp(scores[0]) / np.exp(scores).sum(), abs=0.04)
    two = {int(chosen(scores, temperature=5.0, top=2, random=random)[0]) for _ in range(200)}
    assert two == {1, 2}
    cold = {int(chosen(scores, temperature=0.01, random=random)[0]) for _ in range(50)}
    assert cold == {1}
    assert int(chosen(scores, temperature=1e-320, random=random)[0]) == 1
