// The kernels that TVM has compiled, as C++ sees them: each is made for one shape of weights, and does the units first …
// last − 1 of its work. `kernels.inc` lists those of a model.

#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <cpuid.h>

inline bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

inline bool has_dot_products() { return getauxval(AT_HWCAP) >> 20 & 1; }  // HWCAP_ASIMDDP
inline bool has_int8_matrices() { return getauxval(AT_HWCAP2) >> 13 & 1; }  // HWCAP2_I8MM
inline bool has_sve() { return getauxval(AT_HWCAP) >> 22 & 1; }  // HWCAP_SVE
inline bool has_sve2() { return getauxval(AT_HWCAP2) >> 1 & 1; }  // HWCAP2_SVE2
#endif

using Round = void (*)(int64_t rows, int64_t first, int64_t last, const float* x, int8_t* codes, float* scales,
                       int32_t* sums);
using Product = void (*)(int64_t rows, int64_t first, int64_t last, const int8_t* x, const float* x_scales,
                         const int32_t* x_sums, const uint8_t* codes, const float* scales, float* y);
using ProductWithBias = void (*)(int64_t rows, int64_t first, int64_t last, const int8_t* x, const float* x_scales,
                                 const int32_t* x_sums, const uint8_t* codes, const float* scales, const float* bias,
                                 float* y);
using Rows = void (*)(int64_t rows, int64_t first, int64_t last, const int64_t* ids, const uint8_t* codes,
                      const float* scales, float* y);

// How weights lie, as the attributes of a node say it, and what goes with that.
struct Layout {
  int64_t outputs, inputs, bits, zero, lanes, vectors, block, group;
  int64_t code_bytes, scale_count, bias_count;  // of the whole matrix, padding included
};

struct LinearKernel {
  Layout layout;
  int64_t stride, blocks;  // bytes of a row of rounded inputs; its scales
  int64_t tiles, rows_each;  // a unit of work is a tile of outputs for so many rows
  Round round;
  Product product;  // nullptr where the model has none without a bias, or with one
  ProductWithBias product_with_bias;
};

struct EmbeddingKernel {
  Layout layout;
  Rows rows;
};
