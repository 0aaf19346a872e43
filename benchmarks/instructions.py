"""How many instructions ONNX Runtime's kernels take on emulated Arm cores, by the format of the weights.

    compress devices setup qemu
    python benchmarks/instructions.py [--cpus cortex-a72,cortex-a76] [--out FILE]
    python benchmarks/instructions.py --table [--seeds 0,1]      # random small networks → devices/profiles/
    python benchmarks/instructions.py --predict                  # what is predicted of networks that were held out

Products of 8 rows by 512×512, and a small network of convolutions, in fp32 and in integers; one thread, everything
counted twice in processes of their own. Goal: both counts are the same to the last instruction. Beside them stand the
figures of an earlier measurement (onnxruntime 1.31.1; its block size is not known and its convolutional network was
another, of which only the ratio can be compared). Instructions are no time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compressor.devices.counting import Counted, count_models
from compressor.devices.latency.instruction_networks import candidates, counted_rows
from compressor.devices.latency.instructions import InstructionModel, cross_validated, mape, read_rows, write_rows
from compressor.devices.latency.networks import STYLES
from compressor.devices.model_jobs import Job
from compressor.devices.opening import open_device
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.quant.blocks import INT2, INT4, quantize_blocks
from compressor.quant.formats import Format
from compressor.targets.loader import load_target
from compressor.versions import versions

TARGET = load_target("raspberry-pi-5")
PROFILES = Path(__file__).parent.parent / "devices" / "profiles"
RESULTS = Path(__file__).parent / "results" / "instructions.json"
ROWS, WIDTH, BLOCK, SIDE = 8, 512, 32, 32
GOAL = 0.0  # of a count, between two executions
EARLIER: Mapping[str, Mapping[str, float]] = {  # millions
    "cortex-a72": {"int8 dynamic": 0.60, "4-bit": 1.35, "2-bit": 10.5, "cnn QDQ": 109},
    "cortex-a76": {
        "fp32": 0.70, "int8 dynamic": 0.27, "4-bit": 0.41, "2-bit": 1.12, "cnn fp32": 157, "cnn QDQ": 54,
    },
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", default=",".join(EARLIER))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="count random small networks, and keep the sums")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--predict", action="store_true", help="predicted against counted, a fifth held out each time")
    options = parser.parse_args()
    cpus = options.cpus.split(",")
    if options.table:
        fill_tables(cpus, [int(seed) for seed in options.seeds.split(",")])
    if options.table or options.predict:
        for cpu in cpus:
            show_predicted(cpu)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        jobs = dict(models(Path(folder)))
        tables = {cpu: measured(cpu, jobs) for cpu in cpus}
    spread = max(row["spread"] for rows in tables.values() for row in rows.values())
    found = {
        "unit": "instructions an inference, one thread; not time", "rows": ROWS, "width": WIDTH, "block": BLOCK,
        "cpus": tables, "spread": {"goal": GOAL, "measured": spread}, "versions": versions(),
    }  # fmt: skip
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    show(tables)
    return 0 if spread <= GOAL else 1


def fill_tables(cpus: Sequence[str], seeds: Sequence[int]) -> None:
    """Count one network of every style and seed in fp32 and int8; rows of other seeds stay."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found = list(candidates([*STYLES], seed, TARGET, Path(folder), {"fp32": folded, "int8": in_int8}))
            for cpu in cpus:
                kept = [row for row in read_rows(table(cpu)) if row.seed != seed] if table(cpu).exists() else []
                with open_device(f"qemu://{cpu}") as device:
                    rows = [*kept, *counted_rows(device, found)]
                write_rows(table(cpu), sorted(rows, key=lambda row: (row.seed, row.style, row.format)))


def folded(program: Program) -> Program:
    return Fold().run(program, Context(TARGET)).program


def in_int8(program: Program) -> Program:
    """Every layer: weights are random, and what int8 costs in accuracy is of no interest."""
    fp32 = folded(program)
    batch = {spec.name: tensor for spec, tensor in zip(fp32.inputs, fp32.example, strict=True)}
    return Quantize(max_error=1e9).run(fp32, Context(TARGET, calibration=[batch], synthetic=False)).program


def show_predicted(cpu: str) -> None:
    """Millions of instructions; whoever predicted a network had not seen it."""
    rows = read_rows(table(cpu))
    pairs, model = cross_validated(rows), InstructionModel.fit(rows)
    print(f"{cpu}: {len(rows)} rows, MAPE {mape(pairs):.1%}, 9 of 10 within a factor of {model.factor:.2f}")
    for format in ("fp32", "int8"):
        some = [pair for pair in pairs if pair[0].format == format]
        print(f"  {format}: {len(some)} rows, MAPE {mape(some):.1%}")
    for row, predicted in pairs[: len(pairs) // 5]:
        counted = row.instructions / 1e6
        print(f"  {row.style:16} {row.seed:2} {row.format:5} {counted:10.2f} counted {predicted / 1e6:10.2f} predicted")


def table(cpu: str) -> Path:
    return PROFILES / f"{cpu}.instructions.csv"


def measured(cpu: str, jobs: Mapping[str, Job]) -> dict[str, dict[str, Any]]:
    """Each model's count, how far a second execution is off, and how it compares with fp32."""
    with open_device(f"qemu://{cpu}") as device:
        once, again = (count_models(device, list(jobs.values())) for _ in range(2))
    counts = dict(zip(jobs, once, strict=True))
    rows = {}
    for (name, counted), second in zip(counts.items(), again, strict=True):
        baseline = counts["cnn fp32" if name.startswith("cnn") else "fp32"].instructions
        rows[name] = {
            "instructions": counted.instructions, "error": counted.error, "spread": spread_of(counted, second),
            "times_fp32": ratio(counted, baseline), "earlier_millions": EARLIER.get(cpu, {}).get(name),
        }  # fmt: skip
    return rows


def spread_of(first: Counted, second: Counted) -> float:
    """How far two counts of one model are apart, as a share; 1 where there is none."""
    if not first.instructions or not second.instructions:
        return 1.0
    return abs(second.instructions / first.instructions - 1)


def ratio(counted: Counted, baseline: int | None) -> float | None:
    if counted.instructions is None or not baseline:
        return None
    return round(counted.instructions / baseline, 3)


def show(cpus: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Millions of instructions an inference."""
    for cpu, rows in cpus.items():
        print(f"{cpu:14} {'millions':>10} {'× fp32':>8} {'earlier':>8}  spread")
        for name, row in rows.items():
            millions = row["error"] if row["instructions"] is None else f"{row['instructions'] / 1e6:.3f}"
            times, earlier = (row[key] if row[key] is not None else "–" for key in ("times_fp32", "earlier_millions"))
            print(f"{name:14} {millions:>10} {times:>8} {earlier:>8}  {row['spread']:.1e}")


def models(folder: Path) -> Iterator[tuple[str, Job]]:
    """Every model by its row's name."""
    product = {"x": {"shape": [ROWS, WIDTH], "low": -1.0, "high": 1.0}}
    weight = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)) / WIDTH**0.5
    fp32 = dense(folder / "fp32.onnx", weight)
    yield "fp32", Job(fp32, product)
    quantize_dynamic(fp32, folder / "int8.onnx", weight_type=QuantType.QInt8)
    yield "int8 dynamic", Job(folder / "int8.onnx", product)
    for format in (INT4, INT2):
        yield f"{format.bits}-bit", Job(in_blocks(folder / f"{format.bits}.onnx", weight, format), product)
    image = {"x": {"shape": [1, 3, SIDE, SIDE], "low": -1.0, "high": 1.0}}
    network = convolutions(folder / "cnn.onnx")
    yield "cnn fp32", Job(network, image)
    quantize_static(
        network, folder / "qdq.onnx", Images(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,  # signed, as Arm's kernels want them
    )  # fmt: skip
    yield "cnn QDQ", Job(folder / "qdq.onnx", image)


def dense(path: Path, weight: torch.Tensor) -> Path:
    """x · Wᵀ."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return saved(path, [node], {"w": weight.T.contiguous().numpy()}, (ROWS, WIDTH), (ROWS, WIDTH))


def in_blocks(path: Path, weight: torch.Tensor, format: Format) -> Path:
    """The same with weights in blocks, as ONNX Runtime's own operator at accuracy level 4."""
    blocks = quantize_blocks(weight, format, BLOCK)
    node = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", K=WIDTH, N=WIDTH, bits=format.bits,
        block_size=BLOCK, accuracy_level=4,
    )  # fmt: skip
    weights = {"codes": blocks.packed.numpy(), "scales": blocks.scales.numpy()}
    return saved(path, [node], weights, (ROWS, WIDTH), (ROWS, WIDTH))


def convolutions(path: Path) -> Path:
    """Five 3×3 convolutions with ReLU at 32 pixels, two with stride 2: 95 million multiply–accumulates."""
    random, nodes, weights, last, width = np.random.default_rng(0), [], {}, "x", 3
    for index, (channels, stride) in enumerate(((32, 1), (64, 1), (128, 2), (128, 1), (256, 2))):
        shape = (channels, width, 3, 3)
        weights[f"w{index}"] = (random.normal(size=shape) * (2 / (width * 9)) ** 0.5).astype(np.float32)
        weights[f"b{index}"] = np.zeros(channels, np.float32)
        inputs, settings = [last, f"w{index}", f"b{index}"], {"pads": [1, 1, 1, 1], "strides": [stride, stride]}
        nodes.append(helper.make_node("Conv", inputs, [f"c{index}"], **settings))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last, width = f"r{index}", channels
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["y"]))
    return saved(path, nodes, weights, (1, 3, SIDE, SIDE), (1, width, 1, 1))


def saved(
    path: Path, nodes: list[onnx.NodeProto], weights: Mapping[str, np.ndarray[Any, Any]], given: tuple[int, ...],
    result: tuple[int, ...],
) -> Path:  # fmt: skip
    """A model of one input x and one output y."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", given), ("y", result)))
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "model", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


class Images(CalibrationDataReader):  # type: ignore[misc]  # untyped there
    """Eight random images."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.batches = iter([random.uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(8)])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


if __name__ == "__main__":
    sys.exit(main())
