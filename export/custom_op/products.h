// compressor::LinearBlocks(x, codes, scales [, bias]): y = x̂ · Ŵᵀ + b, where x̂ is x rounded to int8 by block.

#pragma once

#include "kernels.inc"
#include "support.h"

namespace {

struct Linear {
  const OrtApi* api;
  const LinearKernel* kernel;
  OrtAllocator* memory;
  const uint8_t* codes;
  const float *scales, *bias;
};

struct LinearWork {
  const Linear* linear;
  int64_t rows;
  const float* x;
  int8_t* codes;
  float* scales;
  int32_t* sums;
  float* y;
};

void round_rows(const void* data, int64_t first, int64_t last) {
  const auto* work = static_cast<const LinearWork*>(data);
  work->linear->kernel->round(work->rows, first, last, work->x, work->codes, work->scales, work->sums);
}

void multiply(const void* data, int64_t first, int64_t last) {
  const auto* work = static_cast<const LinearWork*>(data);
  const Linear* linear = work->linear;
  if (linear->bias)
    linear->kernel->product_with_bias(work->rows, first, last, work->codes, work->scales, work->sums, linear->codes,
                                      linear->scales, linear->bias, work->y);
  else
    linear->kernel->product(work->rows, first, last, work->codes, work->scales, work->sums, linear->codes,
                            linear->scales, work->y);
}

OrtStatus* make_linear(const OrtApi* api, const OrtKernelInfo* info, Linear* linear) {
  RETURN_IF_FAILED(kernel_for(api, info, LINEAR_KERNELS, &linear->kernel));
  const Layout& layout = linear->kernel->layout;
  RETURN_IF_FAILED(stored(api, info, 1, layout.code_bytes, &linear->codes));
  RETURN_IF_FAILED(stored(api, info, 2, layout.scale_count, &linear->scales));
  size_t inputs;
  RETURN_IF_FAILED(KernelInfo_GetInputCount(api)(info, &inputs));
  if (inputs > 3) RETURN_IF_FAILED(stored(api, info, 3, layout.bias_count, &linear->bias));
  bool here = linear->bias ? linear->kernel->product_with_bias != nullptr : linear->kernel->product != nullptr;
  if (!here) return CreateStatus(api)(NOT_IMPLEMENTED, "the library has no such kernel with, or without, a bias");
  return KernelInfoGetAllocator(api)(info, DEFAULT_MEMORY, &linear->memory);
}

OrtStatus* compute_linear(void* state, OrtKernelContext* context) {
  const auto* linear = static_cast<const Linear*>(state);
  const OrtApi* api = linear->api;
  const LinearKernel& kernel = *linear->kernel;
  Shape shape;
  LinearWork work{};
  RETURN_IF_FAILED(input(api, context, 0, &shape, reinterpret_cast<const void**>(&work.x)));
  if (shape.rank < 1 || shape.sizes[shape.rank - 1] != kernel.layout.inputs)
    return CreateStatus(api)(INVALID_ARGUMENT, "the input has another number of features than the weights");
  work.linear = linear;
  work.rows = product_of(shape.sizes, shape.rank - 1);
  shape.sizes[shape.rank - 1] = kernel.layout.outputs;
  RETURN_IF_FAILED(output(api, context, shape, &work.y));
  if (work.rows == 0) return nullptr;
  size_t codes = aligned(work.rows * kernel.stride), scales = aligned(work.rows * kernel.blocks * sizeof(float));
  Scratch scratch{api, linear->memory};
  RETURN_IF_FAILED(scratch.take(codes + 2 * scales));
  work.codes = static_cast<int8_t*>(scratch.data);
  work.scales = reinterpret_cast<float*>(work.codes + codes);
  work.sums = reinterpret_cast<int32_t*>(work.codes + codes + scales);
  RETURN_IF_FAILED(share(api, context, {round_rows, &work, work.rows, 0}, kernel.layout.inputs * ROUNDING));
  int64_t parts = divided_up(work.rows, kernel.rows_each);
  int64_t work_each = divided_up(work.rows, parts) * kernel.layout.lanes * kernel.layout.vectors * kernel.layout.inputs;
  return share(api, context, {multiply, &work, kernel.tiles * parts, 0}, work_each);
}

void destroy_linear(void* state) {
  auto* linear = static_cast<Linear*>(state);
  if (linear->memory) ReleaseAllocator(linear->api)(linear->memory);
  __builtin_free(linear);
}

}  // namespace
