"""The transports' benchmark: its medians and goals, to numbers that can be worked out, and the committed ones."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback_boards import TRANSPORTS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from transports import judged, reached, row, table  # noqa: E402  found through the line above


def asked(p50: float, error: float = 1e-7) -> dict[str, float]:
    return {"error": error, "p50": p50, "load_ms": 20.0, "first_ms": 1.0, "peak_memory_bytes": 60e6}


LOCAL = [asked(2.0), asked(4.0), asked(3.0)]


def test_ratios_are_those_of_the_same_round() -> None:
    found = row([asked(2.0), asked(5.0), asked(3.3)], LOCAL)
    assert (found["p50"], found["load_ms"]) == (3.3, 20.0)
    assert [found[name] for name in ("ratio_low", "ratio", "ratio_high")] == pytest.approx([1.0, 1.1, 1.25])
    assert row([{"error": 1e-7}], LOCAL) == {"error": 1e-7}, "what is emulated is asked once, and has no times"


def test_the_table_has_no_time_of_what_is_emulated() -> None:
    found: dict[str, Any] = {"local": row(LOCAL, LOCAL), "qemu a72": row([{"error": 2e-7}], LOCAL)}
    *_, local, emulated = table(found).splitlines()
    assert local == "| local | 1.00e-07 | 3.000 ms | 20.000 ms | 1.000 ms | 60.0 MB | 1.00 [1.00, 1.00] |"
    assert emulated == "| qemu a72 | 2.00e-07 | never timed | – | – | – | – |"
    assert all(judged(found).values())


def test_an_error_of_its_own_or_an_emulated_time_misses_the_goals() -> None:
    other = [asked(2.0), asked(4.0), asked(3.0, error=3e-7)]
    found = {"local": row(LOCAL, LOCAL), "ssh": row(other, LOCAL), "qemu a72": row(LOCAL, LOCAL)}
    assert list(judged(found).values()) == [False, False]


def test_what_cannot_be_had_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    monkeypatch.setattr("transports.TRANSPORTS", {name: TRANSPORTS[name] for name in ("local", "qemu a76")})
    with contextlib.ExitStack() as stack:
        boards, absent = reached(stack)
        assert list(boards) == ["local"]
    assert "compress devices setup qemu" in absent["qemu a76"]


def test_committed_figures_meet_the_goals() -> None:
    results = json.loads((BENCHMARKS / "results" / "transports.json").read_text())
    assert {*results["transports"], *results["absent"]} == set(TRANSPORTS)
    assert all(judged(results["transports"]).values())
