"""Goals of the quantization benchmark: which peer counts, what is missed; nothing is judged without figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quantizing_goals import judged  # found through the line above

Cells = dict[str, dict[str, Any]]


def cells(ours: float, peer: float, ratio: tuple[float, float, float] = (1.1, 1.2, 1.3)) -> Cells:
    return {
        "vit fp32": {"tool": "ours", "accuracy": 0.90},
        "vit int8": {"tool": "ours", "accuracy": ours},
        "vit int8 peer": {"tool": "peer", "accuracy": peer},
        "vit int8 broken": {"tool": "peer", "accuracy": 0.10},
        "vit int8 failed": {"tool": "peer", "failed": "RuntimeError"},
        "vit int8 peer @1": {"ms": 1.0, "of_int8": list(ratio)},
        "vit int8 broken @1": {"ms": 0.1, "of_int8": [0.1, 0.1, 0.1]},
    }


def verdicts(found: Cells) -> list[bool]:
    return [met for _, met in judged(found)]


def test_nothing_measured_is_nothing_judged() -> None:
    assert verdicts({}) == []
    assert (
        verdicts({"vit fp32": {"tool": "ours", "accuracy": 0.9}, "vit int8": {"tool": "ours", "accuracy": 0.9}}) == []
    )


def test_the_best_peer_and_the_fastest_one_that_still_works() -> None:
    assert verdicts(cells(0.8995, 0.9004)) == [True, True]
    assert verdicts(cells(0.8995, 0.9006)) == [False, True]
    assert verdicts(cells(0.8995, 0.9004, (0.8, 0.9, 0.99))) == [True, False]
    assert verdicts(cells(0.8995, 0.9004, (0.8, 0.9, 1.01))) == [True, True]


def test_perplexity_is_better_when_it_is_less() -> None:
    found: Cells = {
        "gpt fp32": {"tool": "ours", "perplexity": 3.6}, "gpt int8": {"tool": "ours", "perplexity": 3.61},
        "gpt int8 peer": {"tool": "peer", "perplexity": 3.60},
    }  # fmt: skip
    assert verdicts(found) == [False]
    assert verdicts({**found, "gpt int8": {"tool": "ours", "perplexity": 3.5}}) == [True]


def test_minilm_needs_both_the_cosine_and_the_time() -> None:
    timed = {"ms": 1.0, "of_fp32": [0.39, 0.4, 0.41]}
    assert verdicts({"minilm int8": {"tool": "ours", "cosine": 0.998}, "minilm int8 @1": timed}) == [True]
    assert verdicts({"minilm int8": {"tool": "ours", "cosine": 0.997}, "minilm int8 @1": timed}) == [False]
    slow = {"ms": 1.0, "of_fp32": [0.5, 0.51, 0.52]}
    assert verdicts({"minilm int8": {"tool": "ours", "cosine": 0.998}, "minilm int8 @1": slow}) == [False]


def test_four_bits_are_judged_by_the_best_of_our_rows() -> None:
    found: Cells = {
        "resnet fp32": {"tool": "ours", "accuracy": 0.93}, "resnet int4": {"tool": "ours", "accuracy": 0.90},
        "resnet mixed": {"tool": "ours", "accuracy": 0.926}, "resnet int4 peer": {"tool": "peer", "accuracy": 0.93},
    }  # fmt: skip
    assert verdicts(found) == [True]
    assert verdicts({name: cell for name, cell in found.items() if name != "resnet mixed"}) == [False]


def test_ternary_is_judged_where_it_was_trained() -> None:
    plain = {"gpt fp32": {"tool": "ours", "perplexity": 3.6}}
    assert verdicts({**plain, "gpt ternary": {"tool": "ours", "perplexity": 12.0}}) == []
    assert verdicts({**plain, "gpt ternary trained": {"tool": "ours", "perplexity": 4.1}}) == [True]
    assert verdicts({**plain, "gpt ternary trained": {"tool": "ours", "perplexity": 4.2}}) == [False]
