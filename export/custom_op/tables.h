// compressor::EmbeddingBlocks(codes, scales, ids): y = Ŵ[ids], a table that a product reads as well.

#pragma once

#include "kernels.inc"
#include "support.h"

namespace {

struct Embedding {
  const OrtApi* api;
  const EmbeddingKernel* kernel;
  const uint8_t* codes;
  const float* scales;
};

struct EmbeddingWork {
  const Embedding* embedding;
  int64_t rows;
  const int64_t* ids;
  float* y;
};

void look_up(const void* data, int64_t first, int64_t last) {
  const auto* work = static_cast<const EmbeddingWork*>(data);
  const Embedding* embedding = work->embedding;
  embedding->kernel->rows(work->rows, first, last, work->ids, embedding->codes, embedding->scales, work->y);
}

OrtStatus* make_embedding(const OrtApi* api, const OrtKernelInfo* info, Embedding* embedding) {
  RETURN_IF_FAILED(kernel_for(api, info, EMBEDDING_KERNELS, &embedding->kernel));
  const Layout& layout = embedding->kernel->layout;
  RETURN_IF_FAILED(stored(api, info, 0, layout.code_bytes, &embedding->codes));
  return stored(api, info, 1, layout.scale_count, &embedding->scales);
}

OrtStatus* compute_embedding(void* state, OrtKernelContext* context) {
  const auto* embedding = static_cast<const Embedding*>(state);
  const OrtApi* api = embedding->api;
  const Layout& layout = embedding->kernel->layout;
  Shape shape;
  EmbeddingWork work{embedding, 0, nullptr, nullptr};
  RETURN_IF_FAILED(input(api, context, 2, &shape, reinterpret_cast<const void**>(&work.ids)));
  work.rows = product_of(shape.sizes, shape.rank);
  shape.sizes[shape.rank++] = layout.inputs;
  RETURN_IF_FAILED(output(api, context, shape, &work.y));
  if (work.rows == 0) return nullptr;
  return share(api, context, {look_up, &work, work.rows, 0}, layout.inputs * ROUNDING);
}

void destroy_embedding(void* state) { __builtin_free(state); }

}  // namespace
