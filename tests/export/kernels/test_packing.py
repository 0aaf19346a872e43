"""Packed weights: what is unpacked is what was packed, for any shape; where each code lies; what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import InputError
from compressor.export.kernels.packing import Layout, pack_outputs, pack_weights, unpack_weights

RANGES = {2: (-1, 2), 4: (-8, 8), 8: (-128, 128)}


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 70), inputs=st.integers(1, 300), bits=st.sampled_from([2, 4, 8]),
    lanes=st.sampled_from([4, 8, 16]), vectors=st.integers(1, 4), block=st.sampled_from([None, 32, 64, 128]),
    group=st.sampled_from([2, 4, 8]),
)  # fmt: skip
def test_any_matrix_comes_back(
    outputs: int, inputs: int, bits: int, lanes: int, vectors: int, block: int | None, group: int
) -> None:
    zero = 0 if bits == 8 and lanes == 4 else -RANGES[bits][0]
    layout = Layout(outputs, inputs, bits, zero, lanes, vectors, block, group)
    generator = torch.Generator().manual_seed(outputs * inputs)
    codes = torch.randint(*RANGES[bits], (outputs, inputs), generator=generator, dtype=torch.int8)
    scales = torch.rand((outputs, layout.blocks), generator=generator)
    packed = pack_weights(codes, scales, layout)
    again, scales_again = unpack_weights(packed)
    assert torch.equal(again, codes)
    assert torch.equal(scales_again, scales)
    assert packed.codes.numel() == layout.columns * layout.chunks * layout.step
    assert packed.codes.numel() * 8 // bits == layout.columns * lanes * layout.width


def test_a_byte_holds_four_fields_of_neighbouring_runs() -> None:
    layout = Layout(outputs=2, inputs=64, bits=2, zero=1, lanes=2, vectors=1)
    codes = torch.arange(64).remainder(3).sub(1).to(torch.int8).repeat(2, 1)
    packed = pack_weights(codes, torch.ones(2), layout)
    first = int(packed.codes[0])
    assert [first >> 2 * f & 3 for f in range(4)] == [int(codes[0, 16 * f]) + 1 for f in range(4)]
    assert packed.codes.numel() == 32


def test_a_lane_holds_a_group_of_neighbouring_inputs() -> None:
    layout = Layout(outputs=4, inputs=16, bits=8, zero=0, lanes=4, vectors=1, group=8)
    codes = torch.arange(64, dtype=torch.int8).view(4, 16)
    packed = pack_weights(codes, torch.ones(4), layout).codes.view(2, 4, 8)
    assert torch.equal(packed[0], codes[:, :8].to(torch.uint8))
    assert torch.equal(packed[1], codes[:, 8:].to(torch.uint8))


def test_no_byte_of_narrow_weights_is_the_least() -> None:
    layout = Layout(outputs=1, inputs=4, bits=8, zero=0, lanes=4, vectors=1, narrow=True)
    codes = torch.tensor([[-127, 0, 1, 127]], dtype=torch.int8)
    assert torch.equal(unpack_weights(pack_weights(codes, torch.ones(1), layout))[0], codes)
    with pytest.raises(InputError, match="from -128 to 127 do not fit"):
        pack_weights(codes - (codes == -127).to(torch.int8), torch.ones(1), layout)


def test_padding_stands_for_zero_and_has_no_scale() -> None:
    layout = Layout(outputs=3, inputs=5, bits=8, zero=128, lanes=4, vectors=1)
    packed = pack_weights(torch.full((3, 5), 7, dtype=torch.int8), torch.ones(3), layout)
    assert packed.scales.tolist() == [1, 1, 1, 0]
    by_group = packed.codes.view(-1, 4, 4)
    assert set(by_group[:, 3].flatten().tolist()) == {128}
    assert set(by_group[2:].flatten().tolist()) == {128}
    assert pack_outputs(torch.tensor([1.0, 2.0, 3.0]), layout).tolist() == [1, 2, 3, 0]


def test_what_no_kernel_reads_is_refused() -> None:
    with pytest.raises(InputError, match="2, 4 or 8 bits, not 3"):
        Layout(4, 4, 3, 1, 4, 1)
    with pytest.raises(InputError, match="nothing to multiply"):
        Layout(0, 4, 2, 1, 4, 1)
    with pytest.raises(InputError, match="block of 20"):
        Layout(4, 40, 2, 1, 4, 1, block=20)
    layout = Layout(4, 40, 2, 1, 4, 1)
    codes = torch.zeros(4, 40, dtype=torch.int8)
    with pytest.raises(InputError, match="do not fit 2 bits"):
        pack_weights(codes + 3, torch.ones(4), layout)
    with pytest.raises(InputError, match="4 × 40 with 1 scales"):
        pack_weights(codes[:3], torch.ones(3), layout)
    with pytest.raises(InputError, match="not one of 4 outputs"):
        pack_outputs(torch.ones(3), layout)


def test_rows_do_not_lie_a_power_of_two_apart() -> None:
    assert Layout(1, 4096, 2, 1, 16, 1).stride == 4096 + 64
    assert Layout(1, 4000, 2, 1, 16, 1).stride == 4032
