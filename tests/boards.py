"""A made-up board with round numbers, so that expected times can be worked out by hand."""

from __future__ import annotations

from typing import Any

from compressor.targets.target import Compiler, Figure, Provider, Runtime, Target

__all__ = ["board"]


def board(
    provider: str = "CPUExecutionProvider", formats: tuple[str, ...] = ("fp32", "int8"), **changes: Any
) -> Target:
    """1 GMAC/s fp32, 4 GMAC/s int8, 1 GB/s, 1 µs a kernel, two threads, unless changed."""
    fields: dict[str, Any] = {
        "name": "board",
        "title": "Board",
        "objective": "latency",
        "runtime": Runtime("onnxruntime", "1.31", 21, "test"),
        "providers": (Provider(provider, formats, ("*",), "uint8", "test", saturates=True),),
        "passes": "fold",
        "passes_with_data": "fold,int8",
        "rates": {"fp32": Figure(1e9, "test"), "int8": Figure(4e9, "test")},
        "bandwidth": Figure(1e9, "test"),
        "node_overhead": Figure(1e-6, "test"),
        "memory": Figure(1e9, "test"),
        "threads": 2,
        "width_multiple": 8,
        "arch": "x86_64",
        "compiler": Compiler("x86_64-linux-gnu", "x86-64-v3", ("fp32", "int8"), "test"),
    }
    return Target(**{**fields, **changes})
