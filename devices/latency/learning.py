"""Every measurement teaches: what was predicted is kept beside what came out.

A bundle carries its prediction along, so that a bench on a board, days later, still finds what to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from compressor.devices.latency.history import Outcome, record
from compressor.devices.latency.lookup import processor
from compressor.devices.named import named_target
from compressor.devices.suitable import same_architecture
from compressor.graph.cost import Estimate
from compressor.targets.target import Target

__all__ = ["prediction", "remember", "remember_bundle"]


def prediction(estimate: Estimate, program: str, threads: int, batch: int) -> dict[str, Any]:
    """An estimate as a bundle keeps it; `program` stands for the program's content."""
    return {
        "program": program, "threads": threads, "batch": batch, "source": estimate.source,
        "latency_ms": estimate.latency_ms, "raw_ms": estimate.latency_ms / estimate.factor,
    }  # fmt: skip


def remember(predicted: Mapping[str, Any], target: Target, measured_ms: float, device: str = "") -> bool:
    """Keep a prediction and what was measured, on a `device` or here (""). False where the prediction is no whole or
    sensible one, or the disk refused."""
    try:
        outcome = Outcome(
            target=target.name, cpu=processor(target), threads=int(predicted["threads"]),
            program=str(predicted["program"]), source=str(predicted["source"]), raw_ms=float(predicted["raw_ms"]),
            predicted_ms=float(predicted["latency_ms"]), measured_ms=measured_ms,
            date=datetime.now(UTC).strftime("%Y-%m-%d"), device=device,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return record(outcome)


def remember_bundle(
    manifest: Mapping[str, Any], threads: int, batch: int, measured_ms: float, *, arch: str, device: str = ""
) -> bool:  # fmt: skip
    """The same for a bundle's manifest, where it was measured as it was predicted: same threads, same batch, and on a
    board of the target's architecture."""
    predicted, target = manifest.get("predicted"), named_target(manifest.get("target"))
    if not isinstance(predicted, Mapping) or target is None or not same_architecture(arch, target):
        return False
    if (predicted.get("threads"), predicted.get("batch")) != (threads, batch):
        return False
    return remember(predicted, target, measured_ms, device)
