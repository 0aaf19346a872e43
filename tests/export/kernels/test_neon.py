"""What kernels for 64-bit Arm are made of; `test_product.py` and `test_convolution.py` run them on emulated cores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from emulated_kernels import counted
from emulation import emulated_root
from kernel_runs import arguments, assembly, product_of, random_given

from compressor.export.kernels.columns import Convolution
from compressor.export.kernels.convolution import convolution
from compressor.export.kernels.instructions import Isa
from compressor.export.kernels.neon import NEON, NEON_BYTES, NEON_DOT, NEON_I8MM
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


@pytest.mark.emulated
@pytest.mark.parametrize(("rows", "bits", "block"), [(8, 2, None), (8, 2, 128), (8, 8, None), (128, 2, None)])
def test_many_rows_take_a_fifth_fewer_instructions_at_least(
    rows: int, bits: int, block: int | None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given, root = random_given(rows, (512, 512), bits, block), emulated_root(tmp_path_factory)
    if root.uncounted:
        pytest.skip(root.uncounted)
    counts = {}
    for isa in (NEON_I8MM, NEON_DOT):
        (folder := tmp_path / isa.name).mkdir()
        function = product(product_of(isa, given, parallel=False))
        counts[isa] = counted(isa, function, arguments(isa, given), folder, root)
    assert counts[NEON_I8MM] < 0.8 * counts[NEON_DOT], counts.values()


def test_channels_that_only_fours_fill_are_left_to_dot_products() -> None:
    assert [NEON_I8MM.for_codes(channels) for channels in (3, 4, 8, 12, 16)] == [
        NEON_I8MM, NEON_DOT, NEON_I8MM, NEON_DOT, NEON_I8MM,
    ]  # fmt: skip
    assert NEON_DOT.for_codes(12) is NEON_DOT
    assert NEON_I8MM.for_codes() is NEON_I8MM


def test_without_dot_products_bytes_have_sums_of_their_own() -> None:
    assert NEON.for_codes() is NEON.for_codes(3) is NEON_BYTES.for_codes(12) is NEON_BYTES


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("rows", [1, 8])
def test_boards_with_dot_products_use_them(rows: int, bits: int) -> None:
    code = _made(NEON_DOT, rows, bits, "cortex-a76")
    assert re.search(r"sdot\s+v\d+\.4s, v\d+\.16b, v\d+\.4b\[[0-3]\]", code), "activations are taken by lane"
    assert "smlal" not in code


@pytest.mark.parametrize(("lowest", "sums"), [(-127, 1), (-128, 2)])
def test_two_products_of_bytes_add_up_in_sixteen_bits_where_they_fit(lowest: int, sums: int) -> None:
    layout = NEON_BYTES.layout(32, 256, 8, lowest=lowest)
    target = {"kind": "llvm", "mtriple": LINUX, "mcpu": "cortex-a72"}
    code = assembly(product(Product(NEON_BYTES, layout, 4)), target)
    multiplied, added = (len(re.findall(name, code)) for name in (r"sm(?:ul|la)l2?\t", r"sad[ad]lp\t"))
    assert multiplied > 0
    assert added * 2 == multiplied * sums
    assert ("smlal" in code) == (lowest == -127)


@pytest.mark.parametrize("codes", [False, True])
def test_inputs_of_several_steps_come_with_one_load(codes: bool) -> None:
    spec = Convolution(NEON_DOT, Window(64), 64, 8, codes=codes)
    code = assembly(convolution(spec), {"kind": "llvm", "mtriple": LINUX, "mcpu": "cortex-a76"})
    by_lane = r"sdot\s+v\d+\.4s, v\d+\.16b, v\d+\.4b\[3\]" if codes else r"fmla\s+v\d+\.4s, v\d+\.4s, v\d+\.s\[3\]"
    assert re.search(by_lane, code)


@pytest.mark.parametrize("bits", [2, 8])
def test_boards_without_do_without(bits: int) -> None:
    code = _made(NEON, 8, bits, "cortex-a72")
    assert "sdot" not in code
    assert re.search(r"smull2?\s", code)
    assert "sadalp" in code or "saddlp" in code
