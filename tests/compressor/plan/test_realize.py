"""Plans carried out by passes in their order."""

from __future__ import annotations

from blocks import transformer
from boards import board
from weighed import weighed

from compressor.graph.contract import Context, Pass
from compressor.graph.cost import Roofline
from compressor.passes.drop import Drop
from compressor.passes.linearize import Linearize
from compressor.plan.realize import realize
from compressor.plan.tables import AS_IT_IS, Tables, build


def _picks(tables: Tables, chosen: dict[str, str]) -> tuple[int, ...]:
    return tuple(site.options.index(chosen.get(site.name, AS_IT_IS)) for site in tables.sites)


def test_width_then_rank_then_bits_of_one_layer() -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    rank = next(
        level for site in tables.sites if site.name == "factorize:second.inner.0" for level in site.options[-1:]
    )
    [width] = [site.options[1] for site in tables.sites if site.name == "prune:second.inner.0"]
    chosen = {"prune:second.inner.0": width, "factorize:second.inner.0": rank, "quantize:second.inner.0": "int8"}
    found = realize(tables, _picks(tables, chosen), known.program, known.context)
    assert [spec.name for spec in found.specs] == ["prune", "factorize", "quantize"]
    assert set(found.specs[-1].sites) == {"second.inner.0"}
    tensors = found.program.tensors()
    assert {str(tensors[f"second.inner.0.{part}.weight"].dtype) for part in ("first", "second")} == {"torch.int8"}
    assert all(spec.chosen_by == "planner" for spec in found.specs)


def test_nothing_chosen_is_nothing_done() -> None:
    known = weighed()
    tables = build(known.places, known.measured)
    found = realize(tables, (0,) * len(tables.sites), known.program, known.context)
    assert found.program is known.program
    assert not found.specs


def test_blocks_go_before_layers_in_others_merge() -> None:
    """Blocks are known by what repeats: once layers of every other one have merged, two are one block."""
    program = transformer(4)
    merging = {f"layers.{index}.mlp.0": {"through": f"layers.{index}.mlp.2"} for index in (1, 3)}
    asked: list[Pass] = [Linearize(train="none", sites=merging), Drop(sites={"layers.0": {"unit": "block"}})]
    for each in sorted(asked, key=lambda means: means.order):
        result = each.run(program, Context(board(), latency=Roofline()))
        assert result.changed, each.name
        assert not result.skipped
        program = result.program
    names = set(program.tensors())
    assert not any(name.startswith("layers.0.") for name in names)
    assert any(name.startswith("layers.1.mlp.") for name in names)
