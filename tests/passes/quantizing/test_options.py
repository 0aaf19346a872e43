"""Options of quantize that would do nothing are refused with a way out; what goes together is taken."""

from __future__ import annotations

import pytest
from boards import board
from narrow_nets import linear_net, net_batches

from compressor.errors import RecipeError
from compressor.graph.contract import Context
from compressor.passes.quantize import Quantize
from compressor.passlist import parse_passes


@pytest.mark.parametrize(
    ("text", "what", "way_out"),
    [
        ("int8:block=32", "int8 takes no notice of block", "take int4 or int3 or int2 or ternary or mixed"),
        ("int4:bits=3", "int4 takes no notice of bits", "take mixed"),
        ("mixed:rule=absmean", "mixed takes no notice of rule", "take ternary"),
        ("int2:scale=row", "int2 takes no notice of scale", "take ternary"),
        ("fp16:solver=gptq", "fp16 takes no notice of solver", "take int8"),
        ("fp16:equalize=smooth", "fp16 takes no notice of equalize", "Leave equalize out"),
        ("bf16:calibrator=entropy", "bf16 takes no notice of calibrator", "Leave calibrator out"),
        ("fp16:train=5steps", "fp16 takes no notice of train", "Leave train out"),
        ("int8:norm=true:train=5steps", "int8 takes no notice of norm", "take int4"),
        ("int8:ffsplit=0.2", "int8 takes no notice of ffsplit", "mixed"),
        ("int8:ranges=settle", "train=none takes no notice of ranges", "train=600steps"),
        ("ternary:losses=mse", "train=none takes no notice of losses", "train=600steps"),
        ("int4:rate=0.1", "train=none takes no notice of rate", "train=600steps"),
        ("int8:percentile=99", "calibrator=mse takes no notice of percentile", "take calibrator=percentile"),
        ("ternary:rule=absmean:solver=hqq", "solver=hqq takes no notice of rule", "take another solver"),
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
        "int8:calibrator=percentile:percentile=99:max_error=0.1:samples=8:slower=true",
        "int4:block=32:ffsplit=0.2:calibrator=entropy:mode=weight-only:solver=hqq:bias=none",  # some layers become int8
        "mixed:bits=4:block=64:ffsplit=0.2:solver=mse:equalize=cross-layer:train=5steps",
        "ternary:scale=row:rule=absmean:solver=gptq:train=5steps:norm=true:ranges=fixed:rate=0.1",
        "fp16", "bf16", "int8:block=128",
    ],
)  # fmt: skip
def test_what_goes_together_is_taken(text: str) -> None:
    [spec] = parse_passes(text)
    assert isinstance(spec.build(), Quantize)


def test_a_recipe_says_everything_by_its_sites() -> None:
    Quantize("fp16", solver="gptq", sites={"head": {"format": "int8"}})


@pytest.mark.parametrize("format", ["int4", "mixed"])
def test_parts_of_a_block_are_trained_and_the_recipe_does_the_same_again(format: str) -> None:
    net, batches = linear_net(), net_batches(32) * 4
    context = Context(board(), calibration=batches[:1], training=batches, teacher=net, synthetic=False)
    done = Quantize(format, train="4steps", block=32, ffsplit=0.25).run(net, context)  # type: ignore[arg-type]
    assert not [skip.reason for skip in done.skipped if skip.site == "program"]
    assert done.settings["down"]["format"] == "split"
    again = Quantize(sites=done.settings).run(net, context)
    assert again.program.hash() == done.program.hash()
