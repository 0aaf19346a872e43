"""Images and text come as promised, and their absence says what to install."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from models import fashion, text


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    for remembered in (fashion.tensors, text.documents, text.stream):
        remembered.cache_clear()


def test_missing_data_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    monkeypatch.setenv("PERL_POD", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        fashion.tensors("train")
    with pytest.raises(FileNotFoundError, match="apt-get install perl-doc"):
        text.stream("train")


def test_images_are_normalised_and_shuffled_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((6, 28, 28), np.arange(6)[:, None, None] * 51, np.uint8)
    for stem in ("train", "t10k"):
        for name, header, values in (("images-idx3", 16, pixels), ("labels-idx1", 8, np.arange(6, dtype=np.uint8))):
            with gzip.open(tmp_path / f"{stem}-{name}-ubyte.gz", "wb") as file:
                file.write(bytes(header) + values.tobytes())
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    images, labels = next(fashion.batches("test", size=4))
    assert (images.shape, labels.tolist()) == ((4, 1, 28, 28), [0, 1, 2, 3])
    assert images[1].mean().item() == pytest.approx((51 / 255 - 0.2860) / 0.3530)
    orders = [torch.cat([y for _, y in fashion.batches("test", 4, seed=seed)]).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(6))
    assert [len(y) for _, y in fashion.batches("test", 2, count=3)] == [2, 1]


def test_augmentation_flips_and_shifts_and_keeps_the_rest() -> None:
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, 14, 10] = 1.0
    changed = fashion.augmented(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    rows, columns = (changed == 1.0).nonzero(as_tuple=True)[2:]
    assert len(rows) == 64
    assert set(rows.tolist()) == {12, 13, 14, 15, 16}
    assert set(columns.tolist()) == {8, 9, 10, 11, 12, 15, 16, 17, 18, 19}


POD = """=head1 NAME

 print "code is not prose";

A paragraph of prose with C<code>, L<a link|perlre/"Section">, C<< $a->{b} < 3 >> and B<I<nested>> words: %s.

This one is said in several of the manual's pages, and so the later page leaves it out, word for word.

Too short.
"""


def test_prose_is_cleaned_split_by_page_and_free_of_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("perlre", *(f"page{number}" for number in range(40))):
        (tmp_path / f"{name}.pod").write_text(POD % (name + " is what this one is about"), encoding="utf-8")
    monkeypatch.setenv("PERL_POD", str(tmp_path))
    train, test = text.documents("train"), text.documents("test")
    assert len(train) + len(test) == 41
    assert 0 < len(test) < 12
    name, page = next(iter(test.items()))
    assert page == (
        f"A paragraph of prose with code, a link, $a->{{b}} < 3 and nested words: {name} is what this one is about.\n\n"
    )
    together = "".join([*train.values(), *test.values()])
    assert together.count("This one is said in several") == 1
    assert text.fingerprint("train") != text.fingerprint("test")


def test_windows_cover_the_text_once_or_follow_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("perlre", *(f"page{number}" for number in range(40))):
        (tmp_path / f"{name}.pod").write_text(POD % (name + " is what this one is about"), encoding="utf-8")
    monkeypatch.setenv("PERL_POD", str(tmp_path))
    codes = text.stream("train")
    ids = torch.cat(list(text.batches("train", size=3, length=17)))
    assert torch.equal(ids[:, 1:].flatten(), codes[1 : 1 + 16 * len(ids)])
    assert len(codes) - 1 - 16 * len(ids) < 16
    assert torch.equal(text.windows("train", 5, seed=1), text.windows("train", 5, seed=1))
    assert text.windows("train", 5).shape == (5, text.CONTEXT + 1)
