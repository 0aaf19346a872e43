"""`kernels.inc`: the kernels of a library of operators as C++, and the processor's features that they rely on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from compressor.export.custom_op.ops import numbers_of
from compressor.export.kernels.packing import Layout

__all__ = ["FEATURES", "Wanted", "listing"]

_FEATURES = {  # LLVM's names of what compiled kernels might use: how C++ asks the processor for it
    **{name: f'__builtin_cpu_supports("{name}")' for name in (
        "avx", "avx2", "fma", "bmi", "bmi2", "popcnt", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl",
        "avx512vbmi", "avx512vbmi2", "avx512ifma", "avx512vnni", "avx512bitalg", "avx512vpopcntdq", "gfni",
    )},
    "avxvnni": "has_avx_vnni()",
    "dotprod": "has_dot_products()", "i8mm": "has_int8_matrices()", "sve": "has_sve()", "sve2": "has_sve2()",
}  # fmt: skip
FEATURES = frozenset(_FEATURES)
_ROUND = "int64_t, int64_t, int64_t, const float*, int8_t*, float*, int32_t*"
_PRODUCT = (
    "int64_t, int64_t, int64_t, const int8_t*, const float*, const int32_t*, const uint8_t*, const float*, float*"
)
_WITH_BIAS = _PRODUCT.replace("float*, float*", "float*, const float*, float*")
_ROWS = "int64_t, int64_t, int64_t, const int64_t*, const uint8_t*, const float*, float*"


@dataclass(frozen=True)
class Wanted:
    """Kernels that a model needs: `products` by layout, without and with a bias, and `tables`."""

    products: Mapping[Layout, Collection[bool]]
    tables: Sequence[Layout]

    def rounding(self, layout: Layout) -> str:
        """The symbol of what rounds a product's inputs; products of inputs of one form share it."""
        return f"round_{layout.inputs}_{layout.block}_{layout.width}_{layout.stride}"

    def product(self, index: int, bias: bool) -> str:
        return f"product_{index}" + ("_bias" if bias else "")

    def table(self, index: int) -> str:
        return f"table_{index}"


def listing(wanted: Wanted, features: Collection[str], rows_each: int) -> str:
    """C++ that declares the kernels and lists them, and says what the processor lacks of `features`.

    `rows_each` rows at most are a unit of a product's work.
    """
    symbols: dict[str, str] = {}
    lines = []
    for index, (layout, biases) in enumerate(wanted.products.items()):
        symbols[wanted.rounding(layout)] = _ROUND
        made = {bias: wanted.product(index, bias) for bias in biases}
        symbols.update({name: _WITH_BIAS if bias else _PRODUCT for bias, name in made.items()})
        tiles = layout.tiles + (1 if layout.last else 0)
        sizes = [layout.stride, layout.blocks, tiles, rows_each]
        functions = [wanted.rounding(layout), made.get(False, "nullptr"), made.get(True, "nullptr")]
        lines.append(f"    {{{_layout(layout)}, {', '.join(map(str, sizes))}, {', '.join(functions)}}},")
    tables = []
    for index, layout in enumerate(wanted.tables):
        symbols[wanted.table(index)] = _ROWS
        tables.append(f"    {{{_layout(layout)}, {wanted.table(index)}}},")
    declared = [f"void {name}({arguments});" for name, arguments in symbols.items()]
    asked = [
        f'  if (!{_FEATURES[name]}) return "this library of operators is for processors with {name}";'
        for name in sorted(features)
    ]
    return "\n".join(
        [
            "#pragma once", '#include "kernels.h"', 'extern "C" {', *declared, "}", "namespace {",
            "const LinearKernel LINEAR_KERNELS[] = {", *lines, "    {}};",
            "const EmbeddingKernel EMBEDDING_KERNELS[] = {", *tables, "    {}};",
            "const char* lacking_feature() {", *asked, "  return nullptr;", "}", "}  // namespace", "",
        ]
    )  # fmt: skip


def _layout(layout: Layout) -> str:
    """A layout's numbers, then bytes of codes, numbers of scales, and of what is given for each output."""
    padded = layout.columns * layout.lanes
    sizes = [layout.columns * layout.chunks * layout.step, padded * layout.blocks, padded]
    return "{" + ", ".join(map(str, [*numbers_of(layout), *sizes])) + "}"
