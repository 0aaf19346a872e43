"""Options that would do nothing are refused with a way out; what goes together is taken, and recipes are not asked."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.passes.drop import Drop
from compressor.passes.reading.options import refuse_idle
from compressor.passes.share import Share
from compressor.passlist import parse_passes


@pytest.mark.parametrize(
    ("text", "what", "way_out"),
    [
        ("drop:steps=20", "by=auto takes no notice of steps", "by=gates"),
        ("drop:by=greedy:steps=20", "by=greedy takes no notice of steps", "by=gates"),
        ("drop:by=last:heal=none:samples=8", "by=last:heal=none takes no notice of samples", "by=greedy"),
        ("share=4:groups=sandwich", "groups=sandwich takes no notice of blocks", "groups=pairs"),
        ("share=all:groups=sandwich", "groups=sandwich takes no notice of blocks", "groups=cka"),
        ("share=1:tie=ffn:groups=cka", "share=1 takes no notice of groups", "2 blocks"),
        ("share=1:tie=ffn:part=mlp", "share=1 takes no notice of part", "2 blocks"),
        ("share=2:repeat=false:norms=shared", "repeat=false takes no notice of norms", "repeat=true"),
        ("share=4:groups=random:samples=8", "groups=random takes no notice of samples", "a second share"),
        ("linearize:by=greedy:search=9steps", "by=greedy takes no notice of search", "by=gates"),
        ("linearize:train=none:losses=mse", "train=none takes no notice of losses", "train=600steps"),
        ("linearize:train=none:rate=0.1", "train=none takes no notice of rate", "train=600steps"),
        ("factorize:losses=mse", "train=none takes no notice of losses", "train=600steps"),
        ("factorize:energy=0.8", "rank=ratio takes no notice of energy", "rank=energy"),
        ("factorize=0.3:rank=energy", "rank=energy takes no notice of amount", "rank=ratio"),
    ],
)
def test_what_would_do_nothing_is_refused(text: str, what: str, way_out: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_passes(text)
    assert what in caught.value.what
    assert way_out in (caught.value.way_out or "")


@pytest.mark.parametrize(
    "text",
    [
        "drop:by=gates:steps=20:samples=8", "drop:by=last:samples=8", "share:groups=sandwich:norms=shared:part=mlp",
        "share=1:tie=ffn:weights=mean:samples=8", "share=2:repeat=false:groups=cka", "linearize:search=9steps",
        "linearize:train=none:search=9steps", "factorize:rank=energy:energy=0.8:train=9steps:losses=mse",
    ],
)  # fmt: skip
def test_what_goes_together_is_taken(text: str) -> None:
    assert parse_passes(text)


def test_a_milder_pass_is_never_refused() -> None:
    """What walks back takes the user's options with the milder ones."""
    for text in ("share:groups=sandwich:norms=shared", "share=all:part=mlp", "share=8:groups=random", "drop=0.5"):
        [spec] = parse_passes(text)
        milder = spec.build().milder()
        assert milder
        type(spec)(spec.name, {**spec.options, **milder}).build()


def test_a_recipe_says_everything_by_its_sites() -> None:
    Drop(steps=7, sites={"layers.0": {"unit": "block"}})
    refuse_idle(Share(sites={"all": {"tied": "x"}}, norms="shared"), ("norms",), "repeat=false")


def test_a_default_counts_as_not_given() -> None:
    refuse_idle(Drop(), ("steps", "samples"), "by=auto")
    with pytest.raises(RecipeError, match="Leave samples out\\."):
        refuse_idle(Drop(samples=3), ("steps", "samples"), "by=auto")
