"""Trains the digits example and writes what the README's first command compresses.

    python examples/digits/train.py            # about half a minute on one core

The data are scikit-learn's 1,797 handwritten digits. They come ordered by writer, so the last 30% test on hands that
training never saw. Written beside this file:

- `model.pt`        the trained network, self-contained (torch.export content: the suffix decides nothing), any batch
- `state_dict.pt`   its weights alone, for `--model model.py:build`
- `data.npz`        `calibration/x` from the training part, `x` and `labels` from the test part
- `results.json`    the accuracy that tests hold these files to, with versions and seed
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from model import DigitNet, build

HERE = Path(__file__).resolve().parent
TRAIN_SHARE = 0.7
CALIBRATION = 256  # samples of the training part that data.npz carries
BATCH = 64


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images [N, 1, 8, 8] in [0, 1] and labels [N], then the test ones."""
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.astype(np.float32) / 16).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels.astype(np.int64))
    cut = int(len(x) * TRAIN_SHARE)
    return x[:cut], y[:cut], x[cut:], y[cut:]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel either way: the only augmentation."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # [N, 1, 3, 3, 8, 8]
    dy, dx = torch.randint(3, (2, len(images)), generator=generator)
    return windows[torch.arange(len(images)), :, dy, dx]


def steps(model: DigitNet, images: Tensor, labels: Tensor, *, epochs: int, seed: int) -> Iterator[float]:
    """Trains in place with AdamW under a one-cycle rate, yielding each step's loss. The seed fixes every draw."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout draws from the global generator
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    count = -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * count)
    for _ in range(epochs):
        model.train()
        for index in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            loss = nn.functional.cross_entropy(model(shifted(images[index], generator)), labels[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            yield loss.item()


def fresh(seed: int) -> DigitNet:
    """The untrained network, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    return build()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        right: Tensor = model(images).argmax(1) == labels
    return right.double().mean().item()


def write(model: DigitNet, calibration: Tensor, images: Tensor, labels: Tensor) -> None:
    """The artifacts, beside this file."""
    torch.save(model.state_dict(), HERE / "state_dict.pt")
    example = images[:2].clone()  # a slice would be saved with the whole data set behind it
    exported = torch.export.export(model, (example,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the training machine's paths
    content = io.BytesIO()
    torch.export.save(exported, content)
    (HERE / "model.pt").write_bytes(content.getvalue())
    arrays: dict[str, Any] = {"calibration/x": calibration.numpy(), "x": images.numpy(), "labels": labels.numpy()}
    np.savez_compressed(HERE / "data.npz", **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums then run in one order everywhere
    x, y, test_x, test_y = digits()
    model = fresh(options.seed)
    for number, loss in enumerate(steps(model, x, y, epochs=options.epochs, seed=options.seed)):
        if number % 100 == 0:
            print(f"step {number:4d}  loss {loss:.4f}", file=sys.stderr)
    model.eval()
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(options.seed))[:CALIBRATION]
    write(model, x[chosen], test_x, test_y)
    results = {
        "accuracy": accuracy(model, test_x, test_y),
        "test_samples": len(test_y),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": options.epochs,
        "seed": options.seed,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "sklearn": sklearn.__version__},
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
