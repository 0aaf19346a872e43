// What all operators need of ONNX Runtime: its threads, its memory, and tensors.

#pragma once

#include "kernels.h"
#include "runtime_api.h"

namespace {

constexpr int64_t LEAST_WORK = 1 << 18;  // multiply–accumulates of one part that a thread takes: a microsecond or two
constexpr int64_t ALL_WORK = 1 << 20;    // less is done before another thread is awake
constexpr int64_t ROUNDING = 16;           // what rounding an input takes, counted in those
constexpr size_t ALIGNMENT = 64;
constexpr size_t MOST_DIMENSIONS = 16;

#define RETURN_IF_FAILED(call)                 \
  do {                                         \
    if (OrtStatus* failed = (call)) return failed; \
  } while (false)

int64_t divided_up(int64_t number, int64_t by) { return (number + by - 1) / by; }

size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

// Threads.

struct Shares {
  void (*run)(const void* work, int64_t first, int64_t last);
  const void* work;
  int64_t units, each;
};

void run_share(void* data, size_t index) {
  const auto* shares = static_cast<const Shares*>(data);
  int64_t first = static_cast<int64_t>(index) * shares->each, last = first + shares->each;
  shares->run(shares->work, first, last < shares->units ? last : shares->units);
}

// Units of so much work each, on the session's threads where they are worth waking.
OrtStatus* share(const OrtApi* api, const OrtKernelContext* context, Shares shares, int64_t work_each) {
  shares.each = LEAST_WORK / work_each > 1 ? LEAST_WORK / work_each : 1;
  int64_t parts = divided_up(shares.units, shares.each);
  if (parts < 2 || shares.units * work_each < ALL_WORK) {
    shares.run(shares.work, 0, shares.units);
    return nullptr;
  }
  return KernelContext_ParallelFor(api)(context, run_share, static_cast<size_t>(parts), 0, &shares);
}

// Memory that goes back when it goes out of scope.

struct Scratch {
  const OrtApi* api;
  OrtAllocator* memory;
  void* data = nullptr;

  OrtStatus* take(size_t bytes) { return AllocatorAlloc(api)(memory, bytes, &data); }

  ~Scratch() {
    OrtStatus* failed = data ? AllocatorFree(api)(memory, data) : nullptr;
    if (failed) ReleaseStatus(api)(failed);
  }
};

// Tensors.

struct Shape {
  int64_t sizes[MOST_DIMENSIONS];
  size_t rank;
};

OrtStatus* shape_of(const OrtApi* api, const OrtValue* value, Shape* shape) {
  OrtTensorTypeAndShapeInfo* info;
  RETURN_IF_FAILED(GetTensorTypeAndShape(api)(value, &info));
  OrtStatus* failed = GetDimensionsCount(api)(info, &shape->rank);
  if (!failed && shape->rank >= MOST_DIMENSIONS)
    failed = CreateStatus(api)(INVALID_ARGUMENT, "an input has more dimensions than the operator takes");
  if (!failed) failed = GetDimensions(api)(info, shape->sizes, shape->rank);
  ReleaseTensorTypeAndShapeInfo(api)(info);
  return failed;
}

OrtStatus* input(const OrtApi* api, const OrtKernelContext* context, size_t index, Shape* shape, const void** data) {
  const OrtValue* value;
  RETURN_IF_FAILED(KernelContext_GetInput(api)(context, index, &value));
  RETURN_IF_FAILED(shape_of(api, value, shape));
  return GetTensorMutableData(api)(const_cast<OrtValue*>(value), const_cast<void**>(data));
}

OrtStatus* output(const OrtApi* api, OrtKernelContext* context, const Shape& shape, float** data) {
  OrtValue* value;
  RETURN_IF_FAILED(KernelContext_GetOutput(api)(context, 0, shape.sizes, shape.rank, &value));
  return GetTensorMutableData(api)(value, reinterpret_cast<void**>(data));
}

int64_t product_of(const int64_t* sizes, size_t count) {
  int64_t product = 1;
  for (size_t index = 0; index < count; ++index) product *= sizes[index];
  return product;
}

// The data of a stored tensor of `count` numbers, which stay where they are as long as the session.
template <typename T>
OrtStatus* stored(const OrtApi* api, const OrtKernelInfo* info, size_t index, int64_t count, const T** data) {
  int constant = 0;
  const OrtValue* value = nullptr;
  RETURN_IF_FAILED(KernelInfoGetConstantInput_tensor(api)(info, index, &constant, &value));
  if (!constant) return CreateStatus(api)(INVALID_ARGUMENT, "weights are not stored in the model");
  Shape shape;
  RETURN_IF_FAILED(shape_of(api, value, &shape));
  if (product_of(shape.sizes, shape.rank) != count)
    return CreateStatus(api)(INVALID_ARGUMENT, "weights have another size than the operator's attributes say");
  return GetTensorMutableData(api)(const_cast<OrtValue*>(value),
                                   const_cast<void**>(reinterpret_cast<const void**>(data)));
}

// The kernel whose layout is what the node's attributes say.
template <typename Kernel, size_t count>
OrtStatus* kernel_for(const OrtApi* api, const OrtKernelInfo* info, const Kernel (&kernels)[count],
                      const Kernel** found) {
  const char* names[] = {"N", "K", "bits", "zero_point", "lanes", "vectors", "block_size", "group"};
  int64_t wanted[8];
  for (int index = 0; index < 8; ++index)
    RETURN_IF_FAILED(KernelInfoGetAttribute_int64(api)(info, names[index], &wanted[index]));
  for (const Kernel& kernel : kernels) {
    const Layout& has = kernel.layout;
    const int64_t theirs[] = {has.outputs, has.inputs, has.bits, has.zero, has.lanes, has.vectors, has.block, has.group};
    bool same = true;
    for (int index = 0; index < 8; ++index) same = same && wanted[index] == theirs[index];
    if (same) {
      *found = &kernel;
      return nullptr;
    }
  }
  return CreateStatus(api)(NOT_IMPLEMENTED, "the library has no kernel for these weights: it is another model's");
}

}  // namespace
