"""What kernels for 64-bit Arm are made of; `test_product.py` and `test_convolution.py` run them on emulated cores."""

from __future__ import annotations

import re

import pytest
from kernel_runs import assembly

from compressor.export.kernels.columns import Convolution
from compressor.export.kernels.convolution import convolution
from compressor.export.kernels.instructions import Isa
from compressor.export.kernels.neon import NEON, NEON_DOT, NEON_I8MM
from compressor.export.kernels.outputs import Product
from compressor.export.kernels.patches import Window
from compressor.export.kernels.product import product

LINUX = "aarch64-linux-gnu"


def _made(isa: Isa, rows: int, bits: int, cpu: str) -> str:
    layout = isa.layout(2 * isa.lanes * isa.vectors, 256, bits, lowest=-1 if bits == 2 else -128)
    return assembly(product(Product(isa, layout, rows)), {"kind": "llvm", "mtriple": LINUX, "mcpu": cpu})


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("rows", [2, 8])
def test_matrix_products_take_rows_in_pairs(bits: int, rows: int) -> None:
    code = _made(NEON_I8MM, rows, bits, "neoverse-n2")
    assert re.search(r"smmla\s+v\d+\.4s, v\d+\.16b, v\d+\.16b", code)
    assert "sdot" not in code


@pytest.mark.parametrize("bits", [2, 8])
def test_a_row_alone_is_a_dot_product_with_the_same_weights(bits: int) -> None:
    code = _made(NEON_I8MM, 1, bits, "neoverse-n2")
    assert re.search(r"sdot\s+v\d+\.4s, v\d+\.16b, v\d+\.16b", code)
    assert "smmla" not in code
    assert re.search(r"addp\s+v\d+\.4s", code), "halves of the same output's products"


def test_twice_as_much_is_multiplied_by_an_instruction() -> None:
    matrices, dots = (_made(*given) for given in ((NEON_I8MM, 8, 8, "neoverse-n2"), (NEON_DOT, 8, 8, "cortex-a76")))
    assert 2 * matrices.count("smmla\t") == dots.count("sdot\t")


@pytest.mark.parametrize("bits", [2, 8])
def test_pairs_of_rows_are_joined_by_one_instruction_a_register(bits: int) -> None:
    loops = re.split(r"^\.L\w+:", _made(NEON_I8MM, 8, bits, "neoverse-n2"), flags=re.MULTILINE)
    loops = [part for part in loops if part.count("smmla\t") == 32]
    assert loops
    for loop in loops:
        body = loop[: loop.rindex("smmla")]
        assert len(re.findall(r"zip[12]\s+v\d+\.2d", body)) == 8
        assert not re.search(r"\[sp|mov\s+v", body), "nothing is spilled or copied"


@pytest.mark.parametrize("places", [1, 6])
def test_convolutions_take_places_in_pairs(places: int) -> None:
    spec = Convolution(NEON_I8MM, Window(16, 3, places + 2, (3, 3)), 8, 1, codes=True)
    code = assembly(convolution(spec), {"kind": "llvm", "mtriple": LINUX, "mcpu": "neoverse-n2"})
    assert ("smmla" in code, "sdot" in code) == (places > 1, places == 1)


def test_channels_that_only_fours_fill_are_left_to_dot_products() -> None:
    assert [NEON_I8MM.for_codes(channels) for channels in (3, 4, 8, 12, 16)] == [
        NEON_I8MM, NEON_DOT, NEON_I8MM, NEON_DOT, NEON_I8MM,
    ]  # fmt: skip
    assert NEON_DOT.for_codes(12) is NEON_DOT


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("rows", [1, 8])
def test_boards_with_dot_products_use_them(rows: int, bits: int) -> None:
    code = _made(NEON_DOT, rows, bits, "cortex-a76")
    assert re.search(r"sdot\s+v\d+\.4s, v\d+\.16b, v\d+\.4b\[[0-3]\]", code), "activations are taken by lane"
    assert "smlal" not in code


@pytest.mark.parametrize("bits", [2, 8])
def test_boards_without_do_without(bits: int) -> None:
    code = _made(NEON, 8, bits, "cortex-a72")
    assert "sdot" not in code
    assert re.search(r"smull2?\s", code)
    assert "sadalp" in code or "saddlp" in code
