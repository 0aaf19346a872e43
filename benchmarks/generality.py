"""How general the compiler is: every architecture of the zoo through capture, fold, int8, lowering and verification;
and, beside that, pruned to half its multiply–accumulates, lowered and verified (`halving.py`), by our pass and, where
it is installed (`pip install torch-pruning`), by Torch-Pruning; and with thinner layers, and fewer (`thinning.py`).

    python benchmarks/generality.py [--only GLOB ...] [--jobs 1] [--limit 180] [--budget 1h] [--until STAGE]

Architectures run in other processes with a time limit each, so that neither a crash nor a hang ends the run.
Finished rows are kept in `results/generality.json`, and a later run goes on from there; where only columns beside the
main way are new, the rest of a row is not run again.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "generality.json"
STAGES = ("captured", "halved", "depgraph", "factorized", "depth-folded", "folded", "int8", "lowered", "verified")
ASIDE = ("halved", "depgraph", "factorized", "depth-folded")  # a failure here does not end the row
EXACT = 1e-4  # relative error that folding may add
RECYCLED = 30  # architectures a process
BATCHES = 4  # of calibration
TARGET = "x86-64"
PRELOADED = [  # imported once, inherited by every process
    "torch._dynamo", "torch._export.non_strict_utils", "torch._functorch.aot_autograd", "torch.onnx",
    "torch.onnx._internal.exporter._core", "torch.onnx._internal.exporter._registration", "onnxscript", "onnxruntime",
    "transformers.modeling_utils", "transformers.models.auto.modeling_auto", "compressor.passes.fold",
    "compressor.passes.quantize", "compressor.export.onnx", "compressor.export.check",
    "compressor.passes.prune", "compressor.passes.factorize", "compressor.passes.linearize", "compressor.passes.drop",
    "compressor.passes.share",
]  # fmt: skip
GOALS = {"captured or refused with a reason": 1.0, "verified end to end": 0.95, "halved": 0.95}

Row = dict[str, Any]


def main() -> int:
    """Runs what is missing, prints the table and the totals; 1 when a goal is missed."""
    from compressor.passes.recover.budget import parse_budget

    arguments = _arguments()
    stages = STAGES[: STAGES.index(arguments.until) + 1]
    if find_spec("torch_pruning") is None:
        stages = tuple(stage for stage in stages if stage != "depgraph")
    rows = {} if arguments.fresh else _read(arguments.results)
    names = [name for name in _names() if any(fnmatch.fnmatch(name, glob) for glob in arguments.only)]
    missing = [name for name in names if arguments.again or not _finished(rows.get(name), stages)]
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(PRELOADED)
    limit = parse_budget(arguments.budget).amount
    local = threading.local()
    workers: list[Worker] = []
    ran = 0

    def one(name: str) -> Row | None:
        if time.perf_counter() - started > limit:
            return None
        if not hasattr(local, "worker"):
            local.worker = Worker(context, arguments.limit)
            workers.append(local.worker)
        before = None if arguments.again else rows.get(name)
        return merged(before, local.worker.row(name, lacking(before, stages)))

    with ThreadPoolExecutor(arguments.jobs) as pool:
        for row in pool.map(one, missing):
            if row is None:
                continue
            rows[row["name"]] = row
            ran += 1
            _write(arguments.results, rows)
            print(_line(row), flush=True)
    for worker in workers:
        worker.stop()
    print(_summary([rows[name] for name in names if name in rows], stages))
    print(f"ran {ran} of {len(names)} in {time.perf_counter() - started:.0f} s with {arguments.jobs} job(s)")
    return 0 if _met([rows[name] for name in names if name in rows], stages) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="names to run")
    parser.add_argument("--jobs", type=int, default=1, help="architectures at a time")
    parser.add_argument("--budget", default="10h", help="of the whole run: 90s, 20min, 2h")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds an architecture may take")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to run")
    parser.add_argument("--fresh", action="store_true", help="forget all earlier results")
    parser.add_argument("--again", action="store_true", help="run the selected ones even if they are finished")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _names() -> list[str]:
    from zoo import ARCHITECTURES

    return [architecture.name for architecture in ARCHITECTURES]


# ------------------------------------------------------------------------------------------------ one architecture


class Worker:
    """A process that takes architectures one after another, and is replaced when it crashes, hangs or has done many.

    Keeping it alive spares every architecture the imports and tables that the first one builds.
    """

    def __init__(self, context: Any, limit: float) -> None:
        self.context, self.limit = context, limit
        self.process: Any = None
        self.done = 0

    def row(self, name: str, stages: tuple[str, ...]) -> Row:
        """The row of one architecture, whatever happens to the process."""
        if self.process is None:
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=_child, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        started = time.perf_counter()
        row = self._wait(name, stages, started)
        self.done += 1
        if self.done >= RECYCLED:
            self.stop()
        return row | {"seconds": round(time.perf_counter() - started, 2)}

    def _wait(self, name: str, stages: tuple[str, ...], started: float) -> Row:
        current, row = "built", {"name": name, "stages": {}}
        self.pipe.send((name, stages))
        try:
            while self.pipe.poll(max(0.0, self.limit - (time.perf_counter() - started))):
                current, row = self.pipe.recv()
                if current is None:
                    return row
            reason = f"took longer than {self.limit:.0f} s"
        except EOFError:
            self.process.join()
            reason = f"the process died with exit status {self.process.exitcode}"
        self.stop()
        row["stages"][current] = {"ok": False, "reason": reason}
        return row

    def stop(self) -> None:
        """End the process; the next architecture starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process, self.done = None, 0


def _child(pipe: Any) -> None:
    import warnings

    import torch

    warnings.simplefilter("ignore")  # the models' own; what capture lets through on stderr is its tests' business
    torch.set_num_threads(1)
    while True:
        name, stages = pipe.recv()
        pipe.send((None, _try(name, stages, lambda stage, row: pipe.send((stage, row)))))


def _try(name: str, stages: tuple[str, ...], announce: Callable[[str, Row], None]) -> Row:
    """Every stage in turn, each announced with the row so far; the first that fails ends the row."""
    from zoo import ARCHITECTURES

    from compressor.errors import CompressError

    architecture = next(a for a in ARCHITECTURES if a.name == name)
    row: Row = {"name": name, "family": architecture.family, "stages": {}}
    work = _stages(architecture, stages)
    while True:
        stage = next_stage(row, stages)
        if stage is None:
            return row
        announce(stage, row)
        started = time.perf_counter()
        try:
            found = {"ok": True} | next(work)
        except CompressError as error:
            found = {"ok": False, "refused": error.exit_code == 2, "reason": str(error).strip()[:600]}
        except ModuleNotFoundError as error:
            ours = (error.name or "").startswith("compressor")
            found = {"ok": False, "reason": f"{error.name} is not built yet" if ours else str(error)}
        except Exception as error:  # noqa: BLE001  a failure of any type is a row of the table
            found = {"ok": False, "reason": f"{type(error).__name__}: {error}"[:600], "where": _where(error)}
        row["stages"][stage] = found | {"seconds": round(time.perf_counter() - started, 2)}
        if not found["ok"] and stage not in ASIDE:
            return row


def next_stage(row: Row, stages: tuple[str, ...]) -> str | None:
    """The first stage that this row lacks; building comes before all of them."""
    return next((stage for stage in ("built", *stages) if stage not in row["stages"]), None)


def lacking(row: Row | None, stages: tuple[str, ...]) -> tuple[str, ...]:
    """What is to be run: all, or, where the main way is done, capture and what is missing beside it."""
    main = [stage for stage in stages if stage not in ASIDE]
    if row is None or any(stage not in row["stages"] for stage in main):
        return stages
    return ("captured", *(stage for stage in stages if stage not in row["stages"]))


def merged(before: Row | None, row: Row) -> Row:
    """The row with what was known of it before; the seconds are those of all runs."""
    if before is None:
        return row
    both = before["stages"] | row["stages"]
    return row | {"stages": both, "seconds": round(before.get("seconds", 0) + row["seconds"], 2)}


def _stages(architecture: Any, stages: tuple[str, ...]) -> Iterator[Row]:
    """The whole way by public functions only; yields what each stage found."""
    import torch
    from halving import depgraph_halved, halved
    from thinning import depth_folded, factorized

    built = architecture.build()
    with torch.no_grad():
        built.module(*built.args, **built.kwargs)
    yield {"parameters": sum(p.numel() for p in built.module.parameters())}

    from compressor.graph.capture import capture

    captured = capture(built.module, built.args, dict(built.kwargs))
    original = captured.program
    shapes = {spec.name: list(spec.shape) for spec in original.inputs}
    yield {"nodes": sum(1 for _ in original.nodes()), "inputs": shapes, "notes": list(captured.notes)}

    from compressor.graph.contract import Context
    from compressor.passes.fold import Fold
    from compressor.targets.loader import load_target

    batches = [_varied(original, seed) for seed in range(BATCHES)]
    context = Context(load_target(TARGET), calibration=batches, synthetic=True)
    beside = {
        "halved": lambda: halved(original, context), "depgraph": lambda: depgraph_halved(built, original, context),
        "factorized": lambda: factorized(original, context), "depth-folded": lambda: depth_folded(original, context),
    }  # fmt: skip
    for stage in ASIDE:
        if stage in stages:
            yield _aside(beside[stage])
    folded = Fold().run(original, context)
    error = max(_relative(original, folded.program, batch) for batch in batches)
    if not error <= EXACT:
        raise ArithmeticError(f"fold changed the output by {error:.1e} relative, more than {EXACT:.0e}")
    before, after = (sum(1 for _ in program.nodes()) for program in (original, folded.program))
    yield {"changed": len(folded.changed), "error": error, "nodes": [before, after]}

    from compressor.passes.quantize import Quantize

    quantized = Quantize(format="int8").run(folded.program, context)
    error = max(_relative(original, quantized.program, batch) for batch in batches)
    if not error < float("inf"):
        raise ArithmeticError("the int8 program's output is not finite")
    yield {"changed": len(quantized.changed), "skipped": len(quantized.skipped), "error": error}

    from compressor.export.check import check
    from compressor.export.onnx import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        lowered = to_onnx(quantized.program, context.target)
        yield {"bytes": sum(file.stat().st_size for file in lowered.save(path)), "opset": lowered.opset}
        agreement = check(quantized.program, path, batches)
        yield {"error": agreement.error, "sizes": [dict(size) for size in agreement.sizes], "notes": agreement.notes}


def _aside(work: Callable[[], Row]) -> Row:
    try:
        return work()
    except Exception as error:  # noqa: BLE001  a failure of any type is a cell of the table
        return {"ok": False, "reason": f"{type(error).__name__}: {error}"[:600], "where": _where(error)}


def _varied(program: Any, seed: int) -> dict[str, Any]:
    """A batch like the example: floats of its mean and spread, integers within its range, masks as they are."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for spec, example in zip(program.inputs, program.example, strict=True):
        if example.is_floating_point():
            noise = torch.randn(example.shape, generator=generator)
            batch[spec.name] = (example.mean() + example.std(correction=0) * noise).to(example.dtype)
        elif example.dtype == torch.bool or example.max() <= 1:
            batch[spec.name] = example
        else:
            low, high = int(example.min()), int(example.max()) + 1
            batch[spec.name] = torch.randint(low, high, example.shape, generator=generator).to(example.dtype)
    return batch


def _relative(before: Any, after: Any, batch: Any) -> float:
    """max over outputs of max |after − before| / max |before|."""
    worst = 0.0
    ours, theirs = after.run(batch), before.run(batch)
    for name, reference in theirs.items():
        if reference.numel():
            scale = float(reference.double().abs().max())
            worst = max(worst, float((ours[name].double() - reference.double()).abs().max()) / max(scale, 1e-12))
    return worst


def _where(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if ROOT.parent in Path(frame.filename).parents] or frames
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (own[-1], frames[-1]))


# ------------------------------------------------------------------------------------------------------ the table


def _finished(row: Row | None, stages: tuple[str, ...]) -> bool:
    ended = row is not None and any(not s["ok"] for name, s in row["stages"].items() if name not in ASIDE)
    return row is not None and (ended or next_stage(row, stages) is None)


def _line(row: Row) -> str:
    found = [row["stages"].get(stage) for stage in STAGES]
    marks = "".join("." if stage is None else "✓" if stage["ok"] else "✗" for stage in found)
    failed = next(((stage, s) for stage, s in row["stages"].items() if not s["ok"]), None)
    reason = f"{failed[0]}: {' '.join(failed[1]['reason'].split())[:150]}" if failed else ""
    return f"{row['name']:34} {marks}  {row.get('seconds', 0):6.1f} s  {reason}"


def _accounted(row: Row) -> bool:
    """Captured, or refused by an error that says where."""
    stage = row["stages"].get("captured", {"ok": False})
    return bool(stage["ok"] or stage.get("refused"))


def _summary(rows: list[Row], stages: tuple[str, ...]) -> str:
    lines = [f"{len(rows)} architectures, {len({row.get('family') for row in rows})} families"]
    for stage in stages:
        count = sum(1 for row in rows if row["stages"].get(stage, {}).get("ok"))
        lines.append(f"  {stage:10} {count:4}  {count / max(len(rows), 1):6.1%}")
    shares = _shares(rows)
    lines += [f"  goal: {name} ≥ {goal:.0%}: {shares[name]:.1%}" for name, goal in GOALS.items()]
    return "\n".join(lines)


def _shares(rows: list[Row]) -> dict[str, float]:
    verified = sum(1 for row in rows if row["stages"].get("verified", {}).get("ok"))
    halved = sum(1 for row in rows if row["stages"].get("halved", {}).get("ok"))
    counts = (sum(map(_accounted, rows)), verified, halved)
    return {name: count / max(len(rows), 1) for name, count in zip(GOALS, counts, strict=True)}


def _met(rows: list[Row], stages: tuple[str, ...]) -> bool:
    shares = _shares(rows)
    return all(shares[name] >= goal for name, goal in GOALS.items() if name.split()[0] in stages)


def _read(path: Path) -> dict[str, Row]:
    return {row["name"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}


def _write(path: Path, rows: dict[str, Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {name: index for index, name in enumerate(_names())}
    kept = sorted((row for row in rows.values() if row["name"] in order), key=lambda row: order[row["name"]])
    versions = {name: version(name) for name in ("torch", "transformers", "onnxruntime", "onnx")}
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"versions": versions, "rows": kept}, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
