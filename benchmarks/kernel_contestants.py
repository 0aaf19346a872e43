"""What `kernels.py` compares, each in a process of its own: our kernels, ONNX Runtime's operators, and the probes.

A process is asked for one turn after another and answers with seconds a call, so that what runs beside it is the same
for all, and no thread pool of another runtime spins meanwhile. *hot*: the fastest call of a turn with the same weights;
*cold*: the next few of copies that are together much larger than the last cache, over their number. Both sides
allocate with their own runtime. ONNX Runtime's cold turn is one run of a graph with those copies; of its calls, an
empty run (a node of nothing) is subtracted, ours are counted with what calling them costs.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["CONTESTANTS", "Case", "serve"]

COLD = 256 << 20  # bytes of weights that cold turns go through, one after another
PART = 16 << 20  # bytes of a cold turn: short enough to be left alone on a busy machine now and then
TURN = 0.02  # seconds of hot calls
BLOCK = 128
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


def _host() -> dict[str, str]:
    import tvm

    return {"kind": "llvm", "mcpu": str(tvm.get_global_func("target.llvm_get_system_cpu")())}


def _ours(bits: int, block: int | None, lowest: int) -> Callable[[Case], Turn]:
    def prepare(case: Case) -> Turn:
        import torch
        import tvm

        from compressor.export.kernels.activations import Rounding, round_rows
        from compressor.export.kernels.outputs import Product
        from compressor.export.kernels.packing import pack_weights
        from compressor.export.kernels.product import product

        isa = _isa()
        layout = isa.layout(case.outputs, case.inputs, bits, block, lowest=lowest)
        library = _tvm(case.threads, {
            "product": product(Product(isa, layout, case.rows)),
            "round_rows": round_rows(Rounding(isa, layout, case.rows)),
        })  # fmt: skip
        high = 2 if lowest == -1 else -lowest
        codes = torch.randint(lowest, high, (case.outputs, case.inputs), dtype=torch.int8)
        packed = pack_weights(codes, torch.rand(case.outputs, layout.blocks), layout)
        groups, each = case.groups(packed.codes.numel() + 4 * packed.scales.numel())
        weights = [
            [(_owned(packed.codes.numpy()), _owned(packed.scales.numpy())) for _ in range(each)] for _ in range(groups)
        ]
        x, rounding, multiply = _owned(case.x()), library["round_rows"], library["product"]
        made = [
            tvm.runtime.empty(shape, dtype)
            for shape, dtype in (
                ((case.rows, layout.stride), "int8"), ((case.rows, 1), "float32"),
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
    x, w = _owned(np.ones((1, 4), np.int8)), _owned(np.ones(4 * isa.lanes, np.uint8))
    y = tvm.runtime.empty((case.threads * (isa.registers - 4) * isa.lanes,), "int32")
    run = library["products"]
    return _scaled(_hot(lambda: run(x, w, y)), count)


def _scaled(turn: Turn, parts: int) -> Turn:
    return lambda: turn() / parts


def _runtime(kind: str) -> Callable[[Case], Turn]:
    def prepare(case: Case) -> Turn:
        size = case.outputs * case.inputs * {"2": 2, "4": 4, "8": 8, "int8": 8, "fp32": 32}[kind] // 8
        groups, each = case.groups(size)
        empty, model = _empty(case), _model(kind, case, each)
        runs = [_session(model, case) for _ in range(groups)]
        return _cold(runs, each, empty) if case.cold else _hot(runs[0], empty)

    return prepare


def _empty(case: Case) -> float:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [case.rows, case.inputs]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y])
    turn = _hot(_session(_proto(graph), case))
    return min(turn() for _ in range(5))


def _session(model: bytes, case: Case) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = case.threads, 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(case.x()))
    for output in session.get_outputs():
        binding.bind_ortvalue_output(output.name, ort.OrtValue.ortvalue_from_numpy(np.zeros(output.shape, np.float32)))
    return lambda: session.run_with_iobinding(binding)


def _model(kind: str, case: Case, copies: int) -> bytes:
    """`copies` products of one input."""
    from onnx import TensorProto, helper

    rng, nodes, stored = np.random.default_rng(1), [], []

    def constant(name: str, array: np.ndarray) -> str:
        stored.append(
            helper.make_tensor(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.tobytes(), raw=True
            )
        )
        return name

    shared = constant("s", rng.random(case.outputs, dtype=np.float32)) if kind == "int8" else ""
    zeros = constant("z", np.zeros(case.outputs, np.int8)) if kind == "int8" else ""
    if kind == "int8":
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]))
        nodes.append(helper.make_node("Mul", ["qs", shared], ["both"]))
    for index in range(copies):
        y = f"y{index}"
        if kind == "fp32":
            w = constant(f"w{index}", rng.random((case.inputs, case.outputs), dtype=np.float32))
            nodes.append(helper.make_node("MatMul", ["x", w], [y]))
        elif kind == "int8":
            w = constant(f"w{index}", rng.integers(-127, 128, (case.inputs, case.outputs), dtype=np.int8))
            nodes.append(helper.make_node("MatMulInteger", ["q", w, "qz", zeros], [f"i{index}"]))
            nodes.append(helper.make_node("Cast", [f"i{index}"], [f"f{index}"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"f{index}", "both"], [y]))
        else:
            bits, blocks = int(kind), case.inputs // BLOCK
            w = constant(f"w{index}", rng.integers(0, 256, (case.outputs, blocks, BLOCK * bits // 8), dtype=np.uint8))
            s = constant(f"s{index}", rng.random((case.outputs, blocks), dtype=np.float32))
            options = {"K": case.inputs, "N": case.outputs, "bits": bits, "block_size": BLOCK, "accuracy_level": 4}
            nodes.append(helper.make_node("MatMulNBits", ["x", w, s], [y], domain="com.microsoft", **options))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.rows, case.inputs])
    ys = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [case.rows, case.outputs]) for i in range(copies)]
    return _proto(helper.make_graph(nodes, "products", [x], ys, stored))


def _proto(graph: Any) -> bytes:
    from onnx import helper

    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


CONTESTANTS: dict[str, Callable[[Case], Turn]] = {
    "memory": _read,
    "dot products": _products,
    "tir ternary": _ours(2, None, -1),
    "tir ternary, blocks": _ours(2, BLOCK, -1),
    "tir int8": _ours(8, None, -128),
    "ort 2 bits": _runtime("2"),
    "ort 4 bits": _runtime("4"),
    "ort 8 bits": _runtime("8"),
    "ort int8": _runtime("int8"),
    "ort fp32": _runtime("fp32"),
}
