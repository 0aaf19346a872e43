"""What a machine gives at most: bytes read from memory and int8 products a second, by the plainest loops in TIR.

Written for the same instruction set, compiled by the same compiler and run on the same threads as the kernels.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.isa import Isa
from compressor.export.kernels.panel import function, registers, splat

__all__ = ["products", "read"]

_STREAMS = 8  # registers that are filled in turn
_SHARES = 64  # of the buffer, for threads to take


def read(isa: Isa, size: int, name: str = "read") -> Any:
    """The function (buffer uint8 (size), y int32 (shares · lanes)) that reads every byte once."""
    width = 4 * isa.lanes
    step = _STREAMS * width
    share = size // _SHARES // step * step
    with function(name) as builder:
        buffer = T.arg("buffer", T.Buffer((size,), "uint8"))
        y = T.arg("y", T.Buffer((_SHARES * isa.lanes,), "int32"))
        with T.parallel(0, _SHARES) as part:
            sums = registers(_STREAMS, "int32", isa.lanes)
            for index in range(_STREAMS):
                sums[index] = splat(T.int32(0), isa.lanes)
            with T.serial(0, share // step) as at:
                for index in range(_STREAMS):
                    loaded = buffer.vload([part * share + at * step + index * width], f"uint8x{width}")
                    sums[index] = sums[index] | T.reinterpret(f"int32x{isa.lanes}", loaded)
            whole = sums[0]
            for index in range(1, _STREAMS):
                whole = whole | sums[index]
            T.buffer_store(y, whole, [T.ramp(part * isa.lanes, 1, isa.lanes)])
    return builder.get()


def products(isa: Isa, threads: int, steps: int, name: str = "products") -> tuple[Any, int]:
    """The function (x int8 (band, group), w uint8 (lanes · group), y int32) that does nothing but multiply and add; how
    often it does.

    As many sums are in flight as registers hold beside both operands.
    """
    sums_each, width = isa.registers - 4, isa.group * isa.lanes
    layout = isa.layout(isa.lanes, 16, 8)
    with function(name) as builder:
        x = T.arg("x", T.Buffer((isa.band, isa.group), "int8"))
        w = T.arg("w", T.Buffer((width,), "uint8"))
        y = T.arg("y", T.Buffer((threads * sums_each * isa.lanes,), "int32"))
        with T.parallel(0, threads) as part:
            sums = registers(sums_each, "int32", isa.lanes)
            for index in range(sums_each):
                sums[index] = splat(T.int32(0), isa.lanes)
            weights = tuple(T.bind(each) for each in isa.weights(w.vload([0], f"uint8x{width}"), layout, 0))
            loads = [x.vload([row, 0], f"int8x{isa.group}") for row in range(isa.band)]
            [inputs] = isa.activations(loads, 1, layout)
            with T.serial(0, steps):
                for index in range(0, sums_each, isa.band):
                    sums.put(index, isa.band_dots(sums.some(index, isa.band), [weights], [inputs], isa.band))
            for index in range(sums_each):
                T.buffer_store(y, sums[index], [T.ramp((part * sums_each + index) * isa.lanes, 1, isa.lanes)])
    return builder.get(), threads * sums_each * steps * width
