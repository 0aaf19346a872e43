"""Iterative pruning: better than one cut where much goes, the same without repeating what an interruption left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import board
from recovery import Listener, accuracy, digits_batches, digits_program

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.prune import Prune

BATCHES = digits_batches()
CONTEXT = Context(board(), latency=Roofline(), calibration=BATCHES, training=BATCHES, synthetic=False)


class Interrupted(Listener):
    """Stops the job when it says something."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def say(self, text: str) -> None:
        super().say(text)
        if self.at in text:
            raise KeyboardInterrupt


def test_rounds_with_recovery_beat_one_cut_where_much_goes() -> None:
    program = digits_program()
    once = Prune(amount=0.8).run(program, CONTEXT).program
    done = Prune(amount=0.8, how="iterative", between="25steps").run(program, CONTEXT)
    macs = [Roofline().predict(p, CONTEXT.target).macs for p in (program, done.program)]
    assert macs[1] <= 0.2 * macs[0]
    assert accuracy(done.program) > accuracy(once)
    assert done.settings == {}, "weights that were trained cannot be given by settings"
    assert "stem.0.weight" in done.changed


def test_the_targets_of_the_rounds_are_geometric() -> None:
    listener = Listener()
    Prune(amount=0.75, how="iterative", between="none").run(digits_program(), replace(CONTEXT, progress=listener))
    said = [text for text in listener.said if "round" in text]
    assert said == [
        "prune: round 1 of 2, to 50% of the MACs",
        "prune: round 2 of 2, to 25% of the MACs",
    ]


def test_without_data_the_rounds_only_score_anew() -> None:
    empty = replace(CONTEXT, calibration=(), training=())
    done = Prune(amount=0.5, how="iterative").run(digits_program(), empty)
    assert (
        Roofline().predict(done.program, CONTEXT.target).macs
        <= 0.5 * 1.01 * Roofline().predict(digits_program(), CONTEXT.target).macs
    )


def test_a_finished_round_is_not_repeated(tmp_path: Path) -> None:
    program, prune = digits_program(), Prune(amount=0.5, how="iterative", between="3steps")
    whole = prune.run(program, CONTEXT).program.hash()
    context = replace(CONTEXT, checkpoint=tmp_path / "work" / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        prune.run(program, replace(context, progress=Interrupted("round 2")))
    listener = Listener()
    again = prune.run(program, replace(context, progress=listener))
    assert not any("round 1" in text for text in listener.said)
    assert again.program.hash() == whole


def test_everything_kept_changes_nothing() -> None:
    done = Prune(how="iterative", keep=("*",)).run(digits_program(), CONTEXT)
    assert done.changed == ()
    assert any(skip.reason == "nothing in it can be removed" for skip in done.skipped)
