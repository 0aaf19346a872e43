"""Groups from beginning to end: run, told again, offered."""

from __future__ import annotations

from sharing_nets import context, deep_gpt

from compressor.passes.sharing.groups import NO_TIME, Grouping
from compressor.passes.sharing.plan import Asked

GROUPING = Grouping(Asked(2, "pairs", "block", "own", ()), "central", True)


def test_what_was_done_is_done_again() -> None:
    done = GROUPING.run(deep_gpt(), None, (), context())
    assert list(done.settings) == ["blocks.0", "blocks.2"]
    assert done.notes == (NO_TIME,)
    again = GROUPING.run(deep_gpt(), done.settings, (), context())
    assert again.program.hash() == done.program.hash()
    assert again.settings == done.settings


def test_the_offers_are_the_groups() -> None:
    assert dict(GROUPING.offers(deep_gpt(), (), context())) == GROUPING.run(deep_gpt(), None, (), context()).settings
