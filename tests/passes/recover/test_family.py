"""Who learns in a step, and that a run with children goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from elastic_nets import digits_entries, family
from recovery import Listener, Stopping, digits_batches

from compressor.passes.recover import Settings, recover


def test_who_learns_depends_on_nothing_but_the_step() -> None:
    assert list(family("sorted").at(3)) == [0, 1, 2]
    assert {tuple(family("nested").at(step)) for step in range(40)} == {(0,), (1,), (2,)}
    many = replace(family(), children=family().children * 4)  # two of the eight have names, the second is the smallest
    drawn = [many.at(step) for step in range(40)]
    assert all(step[:2] == [0, 2] and len(set(step)) == 4 for step in drawn)
    assert {number for step in drawn for number in step} == set(range(9))
    assert drawn == [many.at(step) for step in range(40)]
    assert drawn != [replace(many, seed=1).at(step) for step in range(40)]


def test_what_decides_a_run_is_in_its_name() -> None:
    one = family()
    assert repr(one) == repr(family())
    others = [family("nested"), family(inplace=False), family(seed=1), replace(one, children=one.children[:1])]
    assert len({repr(each) for each in [one, *others]}) == 5


def test_children_learn_and_are_judged() -> None:
    program, entries = digits_entries()
    batches = digits_batches()
    alone = recover(program, program, batches, "1steps", losses="kl")
    together = recover(program, program, batches, "12steps", losses="kl", settings=Settings(family=family()))
    assert alone.before == pytest.approx(0.0, abs=1e-6)
    assert together.before > 1.0, "the mean of the network and both children"
    assert together.after < 0.8 * together.before
    assert len(entries) == 2


@pytest.mark.parametrize("how", ["nested", "sorted"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(how: str, tmp_path: Path) -> None:
    program, _ = digits_entries()
    batches, settings = digits_batches(), Settings(family=family(how))

    def run(**more: object) -> dict[str, torch.Tensor]:
        done = recover(program, program, batches, "8steps", losses="kl", settings=settings, **more)  # type: ignore[arg-type]
        return done.program.tensors()

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "state.pt", progress=Stopping(1))
    heard = Listener()
    again = run(checkpoint=tmp_path / "state.pt", progress=heard)
    assert any("continues after step" in text for text in heard.said)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
