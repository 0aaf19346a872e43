"""Libraries for Arm boards on their emulated cores: agreement with PyTorch, `sdot` in the code, and instructions.

    compress devices setup qemu && apt install g++-aarch64-linux-gnu
    python benchmarks/emulated.py [--only …]

    linear        8 rows by 512 × 512: fp32, int8, 4 bits and ternary in blocks of 128, ternary with a scale a row
    digits        the example, in int8

Each is compressed for the board that has the core, for ONNX Runtime and with `--runtime tvm`. Instructions are those of
one inference on one thread, of ONNX Runtime with the call from Python (some 40,000); they are no time. Goals: every
library agrees within its tolerance; `sdot` is in the code of the Cortex-A76's integer kernels and in no code for the
Cortex-A72; integer products of TVM take less than ONNX Runtime's int8 (0.27 and 0.60 million).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cells import Cells, arguments
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import compressor
from compressor.devices.bench import Limits, bench
from compressor.devices.opening import open_device

ROOT = Path(__file__).resolve().parent.parent
BOARDS = {"cortex-a76": "raspberry-pi-5", "cortex-a72": "raspberry-pi-4"}
PASSES = {
    "fp32": "none", "int8": "fold,int8", "int4": "fold,int4:block=128:slower=true",
    "ternary": "fold,ternary:block=128:slower=true", "ternary rows": "fold,ternary:scale=row:slower=true",
}  # fmt: skip
NAMES = [*(f"linear {name}" for name in PASSES), "digits int8"]
ROWS, WIDTH = 8, 512
OBJDUMP = "aarch64-linux-gnu-objdump"


def main() -> None:
    options = arguments(__doc__ or "", NAMES, "30min").parse_args()
    cells = Cells("emulated", options.budget)
    for name in options.only:
        for cpu in BOARDS:
            cells.measure(f"{name} {cpu}", lambda name=name, cpu=cpu: measured(name, cpu))  # type: ignore[misc]
    for key, cell in cells.items():
        print(f"{key:28} {cell['model']:9.4f} {cell['library']:9.4f} {cell['error']:9.1e} {cell['sdot']:6} sdot")


def measured(name: str, cpu: str) -> Mapping[str, Any]:
    """Millions of instructions of model and library, the library's error, and how often `sdot` is in its code."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = {runtime: Path(folder) / runtime for runtime in ("onnx", "tvm")}
        for runtime, bundle in bundles.items():
            compress(name, BOARDS[cpu], runtime, bundle)
        with open_device(f"qemu://{cpu}") as device:
            found = bench(device, [*bundles.values()], Limits(batch=ROWS if name.startswith("linear") else 1))
        library = bundles["tvm"] / "model.so"
        return {
            "model": found.instructions["onnx"] / 1e6, "library": found.instructions["tvm"] / 1e6,
            "error": max(found.errors["tvm"].values()), "sdot": instructions(library, "sdot"),
            "bytes": library.stat().st_size,
        }  # fmt: skip


def compress(name: str, target: str, runtime: str, out: Path) -> None:
    network, _, format = name.partition(" ")
    options: dict[str, Any] = {"passes": PASSES[format], "runtime": runtime, "max_drop": "100%", "out": out}
    if network == "digits":
        digits = ROOT / "examples" / "digits"
        compressor.compress(digits / "model.pt", target, data=str(digits / "data.npz"), **options)
        return
    torch.manual_seed(0)
    batches = [{"x": torch.randn(ROWS, WIDTH)} for _ in range(4)]
    compressor.compress(Linear(), target, data=batches, **options)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


def instructions(library: Path, name: str) -> int:
    """How often an instruction is in the code of a library for Arm."""
    tool = shutil.which(OBJDUMP)
    if tool is None:
        sys.exit(f"{OBJDUMP} is missing: apt install binutils-aarch64-linux-gnu")
    code = subprocess.run([tool, "-d", str(library)], capture_output=True, text=True, check=True).stdout
    return sum(line.split("\t")[2:3] == [name] for line in code.splitlines())


if __name__ == "__main__":
    main()
