"""Steps of a convolution's inner loop: which pixels go together, and what waits."""

from __future__ import annotations

import pytest

from compressor.devices.latency.laws.steps import Covered, covered, row_of, steps_of


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ((8, 8, 3, 1), Covered(6, (2, 2))),
        ((8, 6, 3, 1), Covered(6, ())),
        ((24, 12, 3, 2), Covered(11, (2,))),  # padded by one in front, and the last window ends inside
        ((9, 9, 5, 1), Covered(5, (3, 4, 4, 3))),
        ((8, 8, 3, 1, 2), Covered(4, (2, 2, 2, 2))),
    ],
)
def test_windows_that_leave_the_map_are_told_apart(sizes: tuple[int, ...], found: Covered) -> None:
    assert covered(*sizes) == found


def test_pixels_go_together_as_registers_allow() -> None:
    assert row_of(17, 16) == ((6, 2), (3, 1), (2, 1), (1, 0))
    assert row_of(17, 8) == ((3, 5), (2, 1), (1, 0))


def test_four_blocks_by_six_pixels_never_wait_and_a_single_pixel_does() -> None:
    whole = steps_of(Covered(6, ()), 3, [4], 16)
    assert (whole.products, whole.waits, whole.chunks) == (3 * 24, 0, 1)
    single = steps_of(Covered(1, ()), 3, [4], 16)
    assert (single.products, single.waits, single.chunks) == (3 * 4, 3 * 4, 1)


def test_pixels_at_the_border_are_done_one_by_one_for_the_taps_they_have() -> None:
    inside, padded = steps_of(Covered(6, ()), 3, [4], 16), steps_of(Covered(6, (2, 2)), 3, [4], 16)
    assert padded.products - inside.products == 2 * 2 * 4
    assert padded.chunks - inside.chunks == 2


def test_filters_from_the_second_cache_are_waited_for_unless_many_pixels_share_them() -> None:
    near, far = (steps_of(Covered(7, ()), 5, [4], 16, streamed) for streamed in (False, True))
    assert far.products == near.products
    assert far.waits - near.waits == 5 * 8  # of the seventh pixel alone
