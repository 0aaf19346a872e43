"""The list of kernels in C++: each declared once, its sizes, and the features that the processor is asked for."""

from __future__ import annotations

from compressor.export.custom_op.listing import FEATURES, Wanted, listing
from compressor.export.kernels.packing import Layout

ONE, OTHER = Layout(37, 130, 2, 1, 8, 2, 64), Layout(64, 130, 2, 1, 8, 2, 64)


def test_kernels_are_declared_and_listed_with_their_sizes() -> None:
    text = listing(Wanted({ONE: frozenset({True}), OTHER: frozenset({True, False})}, (ONE,)), ["avx2"], 128)
    rounding = "round_130_64_192_192"
    assert text.count(f"void {rounding}(") == 1
    padded, width = 40, 192
    sizes = f"{{37, 130, 2, 1, 8, 2, 64, 4, {padded * width // 4}, {padded * 3}, {padded}}}"
    assert f"{{{sizes}, 192, 3, 3, 128, {rounding}, nullptr, product_0_bias}}," in text
    assert f"192, 3, 4, 128, {rounding}, product_1, product_1_bias}}," in text
    assert f"{{{sizes}, table_0}}," in text
    assert text.count("const float*, const float*, float*);") == 2
    assert text.count("void product_1(") == text.count("void table_0(") == 1


def test_what_is_not_there_is_an_end_of_the_list_alone() -> None:
    text = listing(Wanted({}, ()), [], 128)
    assert text.count("    {}};") == 2
    assert "cpu_supports" not in text


def test_features_are_asked_for_by_name() -> None:
    text = listing(Wanted({}, ()), FEATURES, 128)
    assert 'if (!__builtin_cpu_supports("avx512vnni")) return' in text
    assert "if (!has_avx_vnni()) return" in text
    assert "if (!has_int8_matrices()) return" in text
    assert text.count("for processors with") == len(FEATURES)
