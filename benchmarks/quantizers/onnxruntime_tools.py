"""ONNX Runtime's own quantization, as its documentation advises for x86 with VNNI.

static    QDQ, unsigned activations, weights an output channel, all 8 bits; MinMax, Entropy or Percentile;
          "layers": convolutions and products with weights alone, "weights": products with weights alone
dynamic   activations by what each run shows
4 bits    MatMulNBits in blocks of 128 with accuracy level 4: its default, HQQ and GPTQ
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization import matmul_nbits_quantizer as nbits
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.shape_inference import quant_pre_process
from subjects import stacked

from compressor.graph.contract import Batch

from .row import EVERY, TRANSFORMERS, Job, Row

__all__ = ["ROWS", "feeds"]

TOOL, BLOCK, LEVEL = "ONNX Runtime", 128, 4


def feeds(batches: Sequence[Batch], names: Sequence[str]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Each batch as arrays of the network's inputs."""
    for batch in batches:
        yield {name: batch[name].numpy() for name in names}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """The calibration batches, once. It is copied by the tool, so it holds no iterator. `even`: all of one shape, as
    the tool's histograms want them."""

    def __init__(self, job: Job, even: bool = False) -> None:
        batches = _even(job.context.calibration) if even else job.context.calibration
        self.left = list(feeds(batches, [value.name for value in job.subject.program.inputs]))

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        return self.left.pop(0) if self.left else None


def _even(batches: Sequence[Batch]) -> list[Batch]:
    """With zeros up to the longest sample, and without the samples that do not fill a batch."""
    every, size = stacked(batches), len(next(iter(batches[0].values())))
    count = len(next(iter(every.values())))
    return [{name: value[i : i + size] for name, value in every.items()} for i in range(0, count - size + 1, size)]


def _static(method: CalibrationMethod, layers: bool, job: Job, path: Path) -> None:
    prepared, reader = path.with_suffix(".prepared.onnx"), _Reader(job, even=method != CalibrationMethod.MinMax)
    quant_pre_process(job.plain, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared, path, reader, quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=False,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=method,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"] if layers else None,
        nodes_to_exclude=_products_of_activations(prepared) if layers else None,
    )  # fmt: skip
    prepared.unlink()


def _products_of_activations(path: Path) -> list[str]:
    """Attention's products, which have no weight."""
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not stored & set(node.input)]


def _dynamic(job: Job, path: Path) -> None:
    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(job.plain, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, path, per_channel=True, weight_type=QuantType.QInt8)
    prepared.unlink()


def _four_bits(method: str, job: Job, path: Path) -> None:
    configs = {
        "rtn": lambda: nbits.DefaultWeightOnlyQuantConfig(BLOCK, is_symmetric=True, accuracy_level=LEVEL),
        "hqq": lambda: nbits.HQQWeightOnlyQuantConfig(BLOCK),
        "gptq": lambda: nbits.GPTQWeightOnlyQuantConfig(_Reader(job), block_size=BLOCK, actorder=True, perchannel=True),
    }
    quantizer = nbits.MatMulNBitsQuantizer(
        onnx.load(job.plain), block_size=BLOCK, is_symmetric=True, accuracy_level=LEVEL, algo_config=configs[method]()
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


def _rows() -> Iterator[Row]:
    for name, method in (("minmax", CalibrationMethod.MinMax), ("entropy", CalibrationMethod.Entropy),
                         ("percentile", CalibrationMethod.Percentile)):  # fmt: skip
        yield Row(f"int8 ort static {name}", TOOL, functools.partial(_static, method, False), EVERY)
        yield Row(f"int8 ort static {name} layers", TOOL, functools.partial(_static, method, True), EVERY)
    yield Row("int8 ort dynamic", TOOL, _dynamic, EVERY)
    for name in ("rtn", "hqq", "gptq"):
        yield Row(f"int4 ort {name}", TOOL, functools.partial(_four_bits, name), TRANSFORMERS)


ROWS = list(_rows())
