"""A full report with made-up figures, every field used; names as hostile as a file can make them where asked."""

from __future__ import annotations

from typing import Any

from compressor.devices.energy import WORLD, BreakEven, Making, Span, estimated_energy
from compressor.report.model import (
    Agreement,
    Cost,
    Figures,
    Latency,
    LayerError,
    LayerLatency,
    PassReport,
    Report,
    SkippedSite,
    Verdict,
)

__all__ = ["HOSTILE", "energetic", "figures", "sample"]

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b]0;owned\x07[/b]&'\""
)


def figures(**changes: Any) -> Figures:
    """The original's figures, unless changed."""
    fields: dict[str, Any] = {
        "parameters": 3_500_000,
        "unique_bytes": 14_000_000,
        "file_bytes": 14_100_000,
        "macs": 300_800_000,
        "peak_activation_bytes": 6_000_000,
        "load_ms": 61.0,
        "latency_ms": Latency(12.0, 15.0),
        "latency_detail": {"p50": 15.0, "p90": 15.5, "threads": 4},
        "metric": 0.724,
    }
    return Figures(**{**fields, **changes})


def sample(name: str = "model.pt", layer: str = "features.0", **changes: Any) -> Report:
    """int8 made it smaller and faster; fp16 was reverted."""
    start, folded, end = Cost(12.0, 14_000_000), Cost(11.0, 13_900_000), Cost(4.0, 3_600_000)
    fields: dict[str, Any] = {
        "model": name,
        "target": "raspberry-pi-5",
        "objective": "latency",
        "verdict": Verdict("compressed"),
        "before": figures(),
        "after": figures(
            unique_bytes=3_600_000, file_bytes=3_700_000, peak_activation_bytes=1_500_000, load_ms=40.0,
            latency_ms=Latency(4.0, 5.0), latency_detail={"p50": 5.0, "p90": 5.2, "threads": 4}, metric=0.719,
            output_error=0.031,
        ),
        "synthetic": False,
        "passes": (
            PassReport(
                "fold", start, folded, changed=(layer, "features.3"),
                skipped=tuple(SkippedSite(f"{layer}.{i}", "two layers read its output") for i in range(4)), seconds=0.8,
            ),
            PassReport(
                "quantize", folded, Cost(16.0, 7_000_000), {"format": "fp16"}, changed=(layer,),
                reverted="predicted latency 11 ms → 16 ms: worse by 45%",
            ),
            PassReport(
                "quantize", folded, end, {"format": "int8"}, "user", (layer,), warning="few samples", seconds=9.5,
            ),
        ),
        "layers": (LayerError(layer, 0.002), LayerError("features.3", 0.03), LayerError("head", 0.0)),
        "layer_latency": (
            LayerLatency(layer, 8.0, 3.0), LayerLatency("features.3", 4.0, 1.0), LayerLatency("bn", 0.1, None),
        ),
        "placement": {"CPUExecutionProvider": 61},
        "agreement": Agreement("onnxruntime", 3e-4, 1e-2),
        "measured_on": "kitchen (Cortex-A76)",
        "metric": "accuracy",
        "notes": ("batch fixed: the model's code fixes it",),
        "seed": 3,
        "batch": 2,
        "threads": 4,
        "versions": {"torch": "2.13.0", "onnxruntime": "1.31.1"},
    }  # fmt: skip
    return Report(**{**fields, **changes})


def energetic(**changes: Any) -> Report:
    """The same on a board that declares 10 W: 150 mJ before, 50 mJ after; making it took 1 kJ."""
    before, after = (
        figures(energy=estimated_energy(Span(0.9 * ms, ms, 1.1 * ms), 10.0, "test", WORLD)) for ms in (15.0, 5.0)
    )
    making = Making(60.0, 100.0, 1000.0, False, "estimated: CPU seconds × 10 W a core (test)", 20.0)
    more = {"carbon": WORLD, "making": making, "break_even": BreakEven("from", 10_000.0, 9_000.0, 12_000.0)}
    return sample(**{"before": before, "after": after, **more, **changes})
