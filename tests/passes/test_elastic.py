"""One network serves several sizes: entries over its weights, better than what is merely cut."""

from __future__ import annotations

import pytest
import torch
from elastic_nets import context, digits_entries
from recovery import accuracy, digits_batches, digits_program, vit

from compressor.errors import RecipeError
from compressor.graph.contract import PassResult
from compressor.graph.entries import of_rows
from compressor.graph.program import Program
from compressor.passes.elastic import Elastic


@pytest.fixture(scope="module")
def trained() -> PassResult:
    program = digits_program()
    return Elastic("0.5/0.25", train="60steps", mixes=1).run(program, context(program, digits_batches()))


def test_training_lifts_the_entries_and_leaves_the_network(trained: PassResult) -> None:
    untrained = [accuracy(entry.program) for entry in digits_entries()[1]]
    half, quarter = (accuracy(entry.program) for entry in trained.entries.values())
    assert accuracy(trained.program) > 0.97
    assert half > 0.95 > 0.6 > untrained[0]
    assert quarter > 0.65 > 0.3 > untrained[1]


def test_entries_are_the_first_rows_of_the_network(trained: PassResult) -> None:
    for entry in trained.entries.values():
        for name, rows in entry.rows.items():
            assert all(kept is None or kept[-1] == len(kept) - 1 for kept in rows), name
            assert torch.equal(entry.program.get(name), of_rows(trained.program.get(name), rows)), name


def test_what_it_did_is_done_again_exactly(trained: PassResult) -> None:
    program = digits_program()
    again = Elastic(sites=trained.settings).run(program, context(program, digits_batches()))
    assert again.settings == trained.settings
    assert again.program.hash() == trained.program.hash()
    assert {n: e.digest() for n, e in again.entries.items()} == {n: e.digest() for n, e in trained.entries.items()}


def test_the_network_computes_what_it_did_where_nothing_is_trained() -> None:
    program, entries = digits_entries()
    original, x = digits_program(), digits_batches()[0]
    [old], [new] = original.run(x).values(), program.run(x).values()
    torch.testing.assert_close(new, old, atol=1e-4, rtol=1e-4)
    assert [entry.program.parameters() for entry in entries] == [24490, 6362]


def on_vectors(program: Program, **options: object) -> PassResult:
    batches = [{program.inputs[0].name: torch.randn(4, 6, 5)} for _ in range(3)]
    return Elastic(**options).run(program, context(program, batches))  # type: ignore[arg-type]


def test_exits_run_the_first_blocks() -> None:
    result = on_vectors(vit(4), shares="0.75/0.5", how="sorted", train="2steps")
    left = [{name.split(".")[1] for name in e.rows if name.startswith("1.")} for e in result.entries.values()]
    assert left == [{"0", "1", "2"}, {"0", "1"}]
    assert result.settings["1.2"] == {"runs": "1/0"}


def test_shares_may_be_named_site_by_site() -> None:
    """Mix'n'match, under names of one's own."""
    sites = {
        "program": {"train": "none", "names": "wide-late/short"},
        "1.0.ffn.1": {"keep": "0.25/1"}, "1.1.ffn.1": {"keep": "0.5/1"}, "1.2": {"runs": "1/0"},
        "9.ffn": {"keep": "0.5/0.5"},
    }  # fmt: skip
    result = on_vectors(vit(3), sites=sites)
    widths = [result.entries["wide-late"].program.get(f"1.{n}.ffn.1.weight").shape[0] for n in range(3)]
    assert widths == [8, 16, 24], "multiples that the target runs well"
    assert not any(name.startswith("1.2.") for name in result.entries["short"].rows)
    assert [(skip.site, skip.reason) for skip in result.skipped] == [
        ("9.ffn", "the model has no such dimension or block")
    ]


def test_units_of_mlps_alone_or_with_blocks() -> None:
    mlp = on_vectors(vit(2), shares="0.5", part="mlp", train="none")
    assert set(mlp.settings) == {"program", "1.0.ffn.1", "1.1.ffn.1"}
    both = on_vectors(vit(4), shares="0.5", along="both", part="mlp", train="none")
    assert {*both.settings} >= {"1.0.ffn.1", "program"}
    assert len({name.split(".")[1] for name in both.entries["0.5"].rows if name.startswith("1.")}) == 2


def test_an_entry_that_would_be_no_other_is_not_made() -> None:
    result = on_vectors(vit(2), shares="0.5/0.4", how="sorted", train="none")
    assert list(result.entries) == ["0.5"]
    assert result.skipped[0].reason == "it would be the same as 0.5"
    none = on_vectors(vit(2), shares="0.9", how="sorted", train="none")
    assert (none.changed, none.entries) == ((), {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shares": "half"}, "no shares"),
        ({"shares": "0.25/0.5"}, "largest first"),
        ({"train": "soon"}, "not a budget"),
        ({"mixes": -1}, "mixes"),
        ({"sites": {"1.0.ffn.1": {"keep": "0.5"}}}, "do not say how it is trained"),
        ({"sites": {"program": {"train": "none", "names": "a"}, "x": {"cut": "0.5"}}}, "site 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Elastic(**options)  # type: ignore[arg-type]


def test_it_wants_training_data_unless_it_does_not_train() -> None:
    assert Elastic().learns()
    assert not Elastic(train="none").learns()
