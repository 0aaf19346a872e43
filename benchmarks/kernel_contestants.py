"""What `kernels.py` compares, each in a process of its own: our kernels, in TVM and as operators of ONNX Runtime, ONNX
Runtime's own, and the probes.

A process is asked for one turn after another and answers with seconds a call, so that what runs beside it is the same
for all, and no thread pool of another runtime spins meanwhile. *hot*: the fastest call of a turn with the same weights;
*cold*: the next few of copies that are together much larger than the last cache, over their number. Both sides
allocate with their own runtime. ONNX Runtime's cold turn is one run of a graph with those copies; of its calls, an
empty run (a node of nothing) is subtracted, ours in TVM are counted with what calling them costs.

"blocks" have a scale for 128 weights each, and "by block" so have inputs, which is what artifacts compute: in TVM, and
in ONNX Runtime as an operator of its own ("custom op").
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from kernel_models import BLOCK, empty_model, operators_model, products_model

__all__ = ["CONTESTANTS", "Case", "serve"]

COLD = 256 << 20  # bytes of weights that cold turns go through, one after another
PART = 16 << 20  # bytes of a cold turn: short enough to be left alone on a busy machine now and then
TURN = 0.02  # seconds of hot calls
Turn = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """A product (rows, inputs) · (outputs, inputs)ᵀ on so many threads; `cold`: with weights from memory."""

    outputs: int
    inputs: int
    rows: int
    threads: int
    cold: bool = False

    def groups(self, size: int) -> tuple[int, int]:
        """Of weights of so many bytes: how many turns there are, and how many copies each goes through."""
        each = max(1, PART // size) if self.cold else 1
        return (max(2, -(-COLD // (size * each))) if self.cold else 1), each

    def x(self) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((self.rows, self.inputs)).astype(np.float32)


def serve(connection: Connection, name: str) -> None:
    """Answer cases with "ready" and each "turn" with a time, until None comes."""
    os.environ["TVM_NUM_THREADS"] = str(os.cpu_count())  # TVM's pool is never larger than it begins
    turn: Turn | None = None
    while (asked := connection.recv()) is not None:
        if isinstance(asked, Case):
            turn = None  # the last case's memory goes first
            turn = CONTESTANTS[name](asked)
            turn()
            connection.send("ready")
        elif turn is not None:
            connection.send(turn())


def _hot(call: Callable[[], Any], less: float = 0.0) -> Turn:
    def turn() -> float:
        best, end = float("inf"), time.perf_counter() + TURN
        while True:
            began = time.perf_counter()
            call()
            now = time.perf_counter()
            best = min(best, now - began)
            if now > end:
                return best - less

    return turn


def _cold(calls: list[Callable[[], Any]], parts: int, less: float = 0.0) -> Turn:
    following = itertools.cycle(calls)

    def turn() -> float:
        next(following)()  # not counted: its code, and this process, come back to the processor first
        call = next(following)
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began - less) / parts

    return turn


def _tvm(threads: int, functions: dict[str, Any]) -> Any:
    import tvm

    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    return tvm.tirx.build(tvm.IRModule(functions), target=tvm.target.Target(_host()))


def _isa() -> Any:
    import tvm

    from compressor.export.kernels.isa import best_isa

    return best_isa(tvm.get_global_func("target.llvm_get_cpu_features")(tvm.target.Target(_host())))


def _host() -> dict[str, Any]:
    from compressor.export.tvm_boards import this_processor

    own = this_processor()
    return {"kind": "llvm", "mcpu": own.cpu, "mattr": list(own.features)}


def _ours(bits: int, block: int | None, lowest: int, *, by_block: bool = False) -> Callable[[Case], Turn]:
    def prepare(case: Case) -> Turn:
        import tvm

        from compressor.export.kernels.activations import Rounding, round_rows
        from compressor.export.kernels.outputs import Product
        from compressor.export.kernels.product import product

        isa = _isa()
        layout = isa.layout(case.outputs, case.inputs, bits, block, lowest=lowest)
        library = _tvm(case.threads, {
            "product": product(Product(isa, layout, case.rows, by_block=by_block)),
            "round_rows": round_rows(how := Rounding(isa, layout, case.rows, by_block=by_block)),
        })  # fmt: skip
        packed = _packed(layout, lowest)
        groups, each = case.groups(packed.codes.numel() + 4 * packed.scales.numel())
        weights = [
            [(_owned(packed.codes.numpy()), _owned(packed.scales.numpy())) for _ in range(each)] for _ in range(groups)
        ]
        x, rounding, multiply = _owned(case.x()), library["round_rows"], library["product"]
        made = [
            tvm.runtime.empty(shape, dtype)
            for shape, dtype in (
                ((case.rows, layout.stride), "int8"), ((case.rows, how.scales), "float32"),
                ((case.rows, layout.blocks), "int32"), ((case.rows, case.outputs), "float32"),
            )
        ]  # fmt: skip

        def call(group: list[tuple[Any, Any]]) -> Callable[[], None]:
            def run() -> None:
                for weight in group:
                    rounding(x, *made[:3])
                    multiply(*made[:3], *weight, made[3])

            return run

        return _cold([call(group) for group in weights], each) if case.cold else _hot(call(weights[0]))

    return prepare


def _packed(layout: Any, lowest: int) -> Any:
    """Weights that were drawn."""
    import torch

    from compressor.export.kernels.packing import pack_weights

    high = 2 if lowest == -1 else -lowest
    codes = torch.randint(lowest, high, (layout.outputs, layout.inputs), dtype=torch.int8)
    return pack_weights(codes, torch.rand(layout.outputs, layout.blocks), layout)


def _owned(array: np.ndarray) -> Any:
    """A tensor in memory of TVM's own."""
    import tvm

    tensor = tvm.runtime.empty(array.shape, str(array.dtype))
    tensor.copyfrom(array)
    return tensor


def _read(case: Case) -> Turn:
    import tvm
    from kernel_probes import read

    isa = _isa()
    size = PART if case.cold else 4 << 20
    library = _tvm(case.threads, {"read": read(isa, size)})
    buffers = [_owned(np.ones(size, np.uint8)) for _ in range(COLD // PART if case.cold else 1)]
    y, run = tvm.runtime.empty((64 * isa.lanes,), "int32"), library["read"]
    calls = [functools.partial(run, buffer, y) for buffer in buffers]
    return _cold(calls, size) if case.cold else _scaled(_hot(calls[0]), size)


def _products(case: Case) -> Turn:
    import tvm
    from kernel_probes import products

    isa = _isa()
    function, count = products(isa, case.threads, 1 << 12)
    library = _tvm(case.threads, {"products": function})
    x, w = _owned(np.ones((isa.band, isa.group), np.int8)), _owned(np.ones(isa.group * isa.lanes, np.uint8))
    y = tvm.runtime.empty((case.threads * (isa.registers - 4) * isa.lanes,), "int32")
    run = library["products"]
    return _scaled(_hot(lambda: run(x, w, y)), count)


def _scaled(turn: Turn, parts: int) -> Turn:
    return lambda: turn() / parts


def _runtime(kind: str) -> Callable[[Case], Turn]:
    def prepare(case: Case) -> Turn:
        size = case.outputs * case.inputs * {"2": 2, "4": 4, "8": 8, "int8": 8, "fp32": 32}[kind] // 8
        groups, each = case.groups(size)
        empty, model = _empty(case), products_model(kind, case, each)
        runs = [_session(model, case) for _ in range(groups)]
        return _cold(runs, each, empty) if case.cold else _hot(runs[0], empty)

    return prepare


def _operators(case: Case) -> Turn:
    """The kernel of "tir ternary, by block" as an operator of ONNX Runtime's."""
    import tempfile

    from compressor.export.custom_op.library import build_library
    from compressor.export.custom_op.listing import Wanted
    from compressor.targets import HOST, load_target

    packed = _packed(_isa().layout(case.outputs, case.inputs, 2, BLOCK, lowest=-1), -1)
    groups, each = case.groups(packed.codes.numel() + 4 * packed.scales.numel())
    empty, model = _empty(case), operators_model(packed, case, each)
    with tempfile.TemporaryDirectory() as folder:  # a session keeps what it has loaded
        library = Path(folder) / "model_ops.so"
        build_library(Wanted({packed.layout: [False]}, ()), load_target(HOST), library)
        runs = [_session(model, case, library) for _ in range(groups)]
    return _cold(runs, each, empty) if case.cold else _hot(runs[0], empty)


def _empty(case: Case) -> float:
    turn = _hot(_session(empty_model(case), case))
    return min(turn() for _ in range(5))


def _session(model: bytes, case: Case, operators: Path | None = None) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = case.threads, 3
    if operators is not None:
        options.register_custom_ops_library(str(operators))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(case.x()))
    for output in session.get_outputs():
        binding.bind_ortvalue_output(output.name, ort.OrtValue.ortvalue_from_numpy(np.zeros(output.shape, np.float32)))
    return lambda: session.run_with_iobinding(binding)


CONTESTANTS: dict[str, Callable[[Case], Turn]] = {
    "memory": _read,
    "dot products": _products,
    "tir ternary": _ours(2, None, -1),
    "tir ternary, blocks": _ours(2, BLOCK, -1),
    "tir ternary, by block": _ours(2, BLOCK, -1, by_block=True),
    "custom op": _operators,
    "tir int8": _ours(8, None, -128),
    "ort 2 bits": _runtime("2"),
    "ort 4 bits": _runtime("4"),
    "ort 8 bits": _runtime("8"),
    "ort int8": _runtime("int8"),
    "ort fp32": _runtime("fp32"),
}
