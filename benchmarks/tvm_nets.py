"""Whole networks compiled with TVM, untuned and tuned, beside ONNX Runtime: time, and bytes with the runtime.

    python benchmarks/tvm_nets.py [--only resnet …] [--formats fp32 int8 weights] [--threads 2] [--tune 60min]

    digits                    the bundled example
    resnet mobilenetv2 vit    trained on Fashion-MNIST (`models/`)
    mobilenet-v2-224 resnet50-224   the published shapes at 224 with random weights

`weights` are int8 weights alone, activations stay floats. Inputs are drawn, for int8's ranges as well: these are times,
and say nothing of quality. Each cell is one network, format and number of threads: ONNX Runtime, TVM untuned and TVM
tuned are timed in turn in one run, in rounds; a figure is the least of all runs. Tuning measures on this machine and
keeps its database in `--database` (or the user's); networks share what they share. The budget is each network's, and
what an earlier run spent of it counts. A run that is stopped goes on.

Goals: untuned within 5× of ONNX Runtime (stretch 3×); tuned for at most 60 minutes within 1.5× in fp32 (stretch 1.15×),
and ahead on at least one small network; library and runtime smaller than ONNX Runtime's library and the model.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import torch
from cells import Cells, arguments
from models import load
from torch import Tensor
from zoo import ARCHITECTURES

from compressor.cache import tuning_folder
from compressor.devices.local import compare
from compressor.devices.tvm_runtime import runtime_bytes
from compressor.export.onnx import to_onnx
from compressor.export.tvm import to_tvm
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Progress
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.prepare import prepare
from compressor.request import Request
from compressor.targets import Target, load_target
from compressor.targets.tvm import with_runtime
from compressor.tuning import Tuner

__all__ = ["FIGURES", "NETWORKS", "goals", "table"]

ROOT = Path(__file__).resolve().parent.parent
FORMATS = {"fp32": None, "int8": "auto", "weights": "weight-only"}  # and how int8 comes about
SMALL = ("digits", "resnet", "mobilenetv2", "vit")
ORT, UNTUNED, TUNED = FIGURES = ("onnxruntime_ms", "untuned_ms", "tuned_ms")
SAMPLES = 8


class Said(Progress):
    """Each round of tuning as a line."""

    def say(self, text: str) -> None:
        print(f"· {text}", file=sys.stderr, flush=True)

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        print(f"  {what} {done:4.0%} {dict(figures)}", file=sys.stderr, flush=True)


def digits() -> Program:
    request = Request(model=ROOT / "examples" / "digits" / "model.pt", inputs=("1x1x8x8",), target="host")
    return prepare(request, load_target("host"), 0, Progress()).program


def _trained(name: str) -> Program:
    return capture(load(name), (torch.randn(2, 1, 28, 28),)).program


def _published(name: str) -> Program:
    module = next(each for each in ARCHITECTURES if each.name == name).build(0).module
    return capture(module.eval(), (torch.randn(2, 3, 224, 224),)).program


NETWORKS: Mapping[str, Callable[[], Program]] = {
    "digits": digits,
    **{name: lambda name=name: _trained(name) for name in ("resnet", "mobilenetv2", "vit")},  # type: ignore[misc]
    **{name: lambda name=name: _published(name) for name in ("mobilenet-v2-224", "resnet50-224")},  # type: ignore[misc]
}


def main() -> int:
    parser = arguments(str(__doc__), NETWORKS, "10h")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["fp32", "int8"])
    parser.add_argument("--threads", type=int, default=load_target("host").threads)
    parser.add_argument("--tune", default="60min", help="a network's budget; none leaves tuning out")
    parser.add_argument("--database", type=Path, default=tuning_folder(None))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    cells = Cells("tvm_nets", options.budget)
    for name in options.only:
        for format in options.formats:
            key = f"{name} {format} {options.threads} threads"
            cells.measure(key, lambda name=name, format=format: _cell(name, format, options), options.again)  # type: ignore[misc]
    print(table(cells))
    print(cells.took())
    return 0


def _cell(name: str, format: str, options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    program = NETWORKS[name]()
    samples = torch.randn(SAMPLES, *program.example[0].shape[1:])
    batch = {program.inputs[0].name: samples[:1]}
    host = load_target("host")
    compiled = with_runtime(host, "tvm")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        to_onnx(_prepared(program, host, format, samples), host).save(place / "model.onnx")
        ours = _prepared(program, compiled, format, samples)
        to_tvm(ours, compiled, place / "untuned.so")
        paths = {ORT: place / "model.onnx", UNTUNED: place / "untuned.so"}
        told: dict[str, Any] = {}
        if options.tune != "none":
            tuner = Tuner(compiled, options.tune, None, options.threads, options.database, 0, Said())
            schedules, tuning = tuner.schedules(ours, batch, place)
            to_tvm(ours, compiled, place / "tuned.so", schedules)
            paths[TUNED] = place / "tuned.so"
            told = {"tune": options.tune, "functions": tuning.functions, "improved": tuning.improved,
                    "trials": tuning.trials, "minutes": round(tuning.seconds / 60, 2)}  # fmt: skip
        times = compare(paths, batch, threads=options.threads, min_seconds=3.0, max_seconds=90.0)
        sizes = {
            "onnx_bytes": (place / "model.onnx").stat().st_size, "onnxruntime_bytes": _onnxruntime_bytes(),
            "library_bytes": paths[list(paths)[-1]].stat().st_size, "runtime_bytes": runtime_bytes(host.arch),
        }  # fmt: skip
    return {**{figure: found.min for figure, found in times.items()}, **told, **sizes}


def _prepared(program: Program, target: Target, format: str, samples: Tensor) -> Program:
    """Folded, and in int8 where that is asked for, as the target takes it."""
    calibration = [{program.inputs[0].name: samples}]
    context = Context(target=target, calibration=calibration, synthetic=True)
    folded = Fold().run(program, context).program
    mode = FORMATS[format]
    return folded if mode is None else Quantize("int8", mode=mode).run(folded, context).program


def _onnxruntime_bytes() -> int:
    """Of the library that an application links; the one in Python's package is the same with Python's names."""
    package = util.find_spec("onnxruntime")
    assert package is not None
    folder = Path(next(iter(package.submodule_search_locations or [])))
    return max(path.stat().st_size for path in folder.rglob("*.so*"))


def goals(key: str, cell: Mapping[str, Any]) -> dict[str, str]:
    """What each cell says of the goals it has a part in: how far it is, and whether that is met."""
    found = {"untuned": _within(cell[UNTUNED] / cell[ORT], 5.0, 3.0)}
    if TUNED in cell:
        if " fp32 " in key:
            found["tuned"] = _within(cell[TUNED] / cell[ORT], 1.5, 1.15)
        if key.split()[0] in SMALL:
            found["ahead"] = "yes" if cell[TUNED] < cell[ORT] else "no"
    ours, theirs = (cell[a] + (cell[b] or 0) for a, b in
                    (("library_bytes", "runtime_bytes"), ("onnx_bytes", "onnxruntime_bytes")))  # fmt: skip
    found["bytes"] = f"{ours / theirs:.2f}× {'met' if ours < theirs else 'missed'}"
    return found


def _within(ratio: float, goal: float, stretch: float) -> str:
    said = "stretch met" if ratio <= stretch else "met" if ratio <= goal else "missed"
    return f"{ratio:.2f}× {said} ({goal:g}×, stretch {stretch:g}×)"


def table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a cell."""
    columns = ("network", "ONNX Runtime ms", "untuned ms", "tuned ms", "tuned with", "goals")
    rows = [columns, ("---",) * len(columns)]
    for key, cell in cells.items():
        spent = _spent(cell) if TUNED in cell else ""
        said = "; ".join(f"{name} {text}" for name, text in goals(key, cell).items())
        times = [f"{cell[figure]:.3g}" if figure in cell else "" for figure in FIGURES]
        rows.append((key, *times, spent, said))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _spent(cell: Mapping[str, Any]) -> str:
    return f"{cell['tune']}: {cell['improved']} of {cell['functions']} functions, {cell['trials']} trials"


if __name__ == "__main__":
    raise SystemExit(main())
