"""What `plan_models.py` compares: plans of the command, the same setting everywhere of one pass, and peers' files.

plan     `compress NAME.pt2 --target host --latency 0.5x …`, a process of its own
uniform  of one pass a ladder of settings, the mildest first; trained as long as the plan is
peers    the int8 rows of `quantization.py` that are other tools'
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artifact import Artifact
from quantizers import ROWS, Job
from quantizers.own import made
from subjects import Subject, stacked

from compressor.errors import ExportError
from compressor.export.onnx import to_onnx
from compressor.graph.contract import Batch, Context
from compressor.passlist import PassSpec, parse_passes
from compressor.recovering import RECOVER, with_recovery

__all__ = ["LADDERS", "Workbench", "steps_of"]

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LADDERS: Mapping[str, tuple[str, ...]] = {
    "prune": tuple(f"prune={share}" for share in SHARES),
    "factorize": tuple(f"factorize={share}:slower=true" for share in SHARES),
    "drop": tuple(f"drop={share}" for share in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)),
    "quantize": ("int8", "int4:slower=true", "ternary:slower=true"),
}
EVALUATED, CALIBRATION = 2048, 256  # samples that the command judges by, and calibrates with
METRICS = {"gpt": "perplexity", "minilm": "cosine"}  # else accuracy, by the labels
FREE = "10000%"  # of the metric: latency alone binds


class Workbench:
    """A folder with a subject's network and data, in which its contestants are made once. Files are ONNX models."""

    def __init__(self, subject: Subject, context: Context, folder: Path, steps: int) -> None:
        self.subject, self.context, self.steps = subject, context, steps
        self.folder = folder / subject.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model, self.data, self.plain = (self.folder / n for n in ("model.pt2", "data.npz", "fp32.onnx"))

    def prepare(self, evaluated: Batch, labels: torch.Tensor | None) -> None:
        """Write the network, the data and the fp32 file, unless they are there."""
        if not self.model.exists():
            torch.export.save(self.subject.program.export(), self.model)
        if not self.data.exists():
            arrays = {name: value.numpy() for name, value in evaluated.items()}
            for kind, batches in (("calibration", self.context.calibration), ("train", self.context.training)):
                arrays |= {f"{kind}/{name}": value.numpy() for name, value in stacked(batches).items()}
            np.savez(self.data, **arrays, **({} if labels is None else {"labels": labels.numpy()}))
        if not self.plain.exists():
            to_onnx(made(self.subject.program, "fold", self.context), self.context.target).save(self.plain)

    def plan(self, label: str, *budgets: str) -> dict[str, Any]:
        """The command's bundle in the folder `label`, and what its report says. Raises RuntimeError where it failed."""
        out = self.folder / label
        metric = METRICS.get(self.subject.name)
        command = [
            sys.executable, "-m", "compressor", str(self.model), "--target", "host", "--threads", "1",
            "--data", str(self.data), *(() if metric is None else ("--metric", metric)), *budgets,
            "--recover", f"{self.steps}steps", "--out", str(out), "--force", "--quiet", "--json",
            "--cache-dir", str(self.folder / "cache"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        report = json.loads((out / "report.json").read_text())
        return {
            "exit": done.returncode, "passes": " → ".join(each["name"] for each in report["passes"]),
            "notes": report["notes"], **self.judged(self.plan_file(label)),
        }  # fmt: skip

    def plan_file(self, label: str) -> Path:
        """The model of a plan's bundle."""
        return self.folder / label / "model.onnx"

    def judged(self, file: Path) -> dict[str, Any]:
        """The file's figures by the subject's own metric, and its bytes with its weights'."""
        beside = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}.data"))
        return {**self.subject.figures(Artifact(file)), "bytes": file.stat().st_size + beside}

    def uniform(self, setting: str, trained: bool) -> Path:
        """The file of one pass with one setting everywhere; without training to be timed. Raises CompressError where
        the pass cannot do that."""
        name = setting.replace("=", "-").replace(":", "-").replace("/", "-")
        file = self.folder / f"{name}{'.trained' if trained else ''}.onnx"
        if not file.exists():
            specs = parse_passes(f"fold,{setting}")
            if trained:
                specs = steps_of(specs, self.steps)
            program = self.subject.program
            for spec in specs:
                program = spec.build().run(program, self.context).program
            to_onnx(program, self.context.target).save(file)
        return file

    def peer(self, row: str) -> Path:
        """The file that another tool makes of the fp32 one. Raises ExportError where the tool fails in any way."""
        file = self.folder / f"{row}.onnx"
        if not file.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                try:
                    ROWS[row].make(Job(self.subject, self.context, self.plain), Path(folder) / "model.onnx")
                except Exception as error:  # whatever another tool raises is a figure of it
                    raise ExportError(f"{type(error).__name__}: {error}", where=row) from error
                (Path(folder) / "model.onnx").rename(file)
        return file

    def peers(self) -> list[str]:
        """The rows that are for this subject."""
        rows = [row for row in ROWS.values() if row.kind == "int8" and row.tool != "ours" and not row.trained]
        return [row.name for row in rows if self.subject.name in row.subjects]


def steps_of(specs: Sequence[PassSpec], steps: int) -> list[PassSpec]:
    """One pass with as many steps of training as a plan has: after it where it cuts, in its own rounding where not."""
    if specs[-1].name == "quantize":
        return [*specs[:-1], replace(specs[-1], options={**specs[-1].options, "train": f"{steps}steps"})]
    found = with_recovery(specs, f"{steps}steps", teacher=False)
    assert any(spec.name == RECOVER for spec in found)
    return found
