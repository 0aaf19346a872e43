"""Fashion-MNIST from Debian's package: 60,000 training and 10,000 test images of 28×28, ten classes.

On other systems, point FASHION_MNIST at a folder with the four original idx files.
"""

from __future__ import annotations

import functools
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the field's own spelling

__all__ = ["CLASSES", "augmented", "batches", "folder", "tensors"]

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PACKAGED = Path("/usr/share/datasets/fashion-mnist")  # where the Debian package puts its files
MEAN, DEVIATION = 0.2860, 0.3530  # of the training images' pixels in [0, 1]


def folder() -> Path:
    """Where the idx files are; `FileNotFoundError` says what to install."""
    place = Path(os.environ.get("FASHION_MNIST", PACKAGED))
    if not (place / "train-images-idx3-ubyte.gz").is_file():
        raise FileNotFoundError(
            f"no Fashion-MNIST in {place}: `apt-get install dataset-fashion-mnist` (Debian and Ubuntu), "
            "or set FASHION_MNIST to a folder with its four idx files"
        )
    return place


@functools.cache
def tensors(split: str = "test") -> tuple[Tensor, Tensor]:
    """Normalised [N, 1, 28, 28] images and their labels; of "train" or "test"."""
    stem = {"train": "train", "test": "t10k"}[split]
    labels = torch.from_numpy(_idx(f"{stem}-labels-idx1-ubyte.gz", 8)).long()
    pixels = torch.from_numpy(_idx(f"{stem}-images-idx3-ubyte.gz", 16)).reshape(len(labels), 1, 28, 28)
    return (pixels.float() / 255 - MEAN) / DEVIATION, labels


def batches(
    split: str = "test", size: int = 250, count: int | None = None, seed: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of the first `count` images, in the files' order or, with a seed, shuffled."""
    images, labels = (values[:count] for values in tensors(split))
    order = torch.arange(len(labels))
    if seed is not None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    for rows in order.split(size):
        yield images[rows], labels[rows]


def augmented(images: Tensor, generator: torch.Generator, flip: bool = True, shift: int = 2) -> Tensor:
    """Each image flipped or not, if so wished, and moved by up to `shift` pixels."""
    count, edge = len(images), images.shape[-1]
    flipped = torch.rand(count, 1, 1, 1, generator=generator) < 0.5 * flip
    padded = F.pad(torch.where(flipped, images.flip(-1), images), [shift] * 4, value=-MEAN / DEVIATION)
    down, right = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = (down + torch.arange(edge))[:, :, None], (right + torch.arange(edge))[:, None, :]
    return padded[torch.arange(count)[:, None, None], 0, rows, columns][:, None]


def _idx(name: str, header: int) -> np.ndarray:
    with gzip.open(folder() / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header).copy()
