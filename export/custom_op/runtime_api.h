// What a library of operators needs of ONNX Runtime's C API, and no more.
//
// The API is a table of functions to which versions only ever add at the end ("onnxruntime_c_api.h", MIT licence, and
// the page of OrtApi in its documentation, which list them in this order): a number here is a function's place in the
// table. Version 18, of ONNX Runtime 1.18, is the first that has them all; a runtime which does not offer that version
// says so when the library is registered, and nothing else of the table is touched.

#pragma once

#include <cstddef>
#include <cstdint>

struct OrtAllocator;
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtSessionOptions;
struct OrtStatus;  // nullptr where all is well
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

constexpr uint32_t API_VERSION = 18;
constexpr int FLOAT = 1, UINT8 = 2, INT64 = 7;                  // ONNXTensorElementDataType
constexpr int REQUIRED = 0, OPTIONAL = 1;                       // OrtCustomOpInputOutputCharacteristic
constexpr int FAIL = 1, INVALID_ARGUMENT = 2, NOT_IMPLEMENTED = 9;  // OrtErrorCode
constexpr int DEFAULT_MEMORY = 0;                               // OrtMemType

struct OrtApi {
  void* functions[279];
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

#define PLACE(number, result, name, ...)                                             \
  using name##Function = result (*)(__VA_ARGS__);                                    \
  inline name##Function name(const OrtApi* api) {                                    \
    return reinterpret_cast<name##Function>(api->functions[number]);                 \
  }

PLACE(0, OrtStatus*, CreateStatus, int code, const char* message)
PLACE(26, OrtStatus*, CreateCustomOpDomain, const char* name, OrtCustomOpDomain** made)
PLACE(27, OrtStatus*, CustomOpDomain_Add, OrtCustomOpDomain*, const struct OrtCustomOp*)
PLACE(28, OrtStatus*, AddCustomOpDomain, OrtSessionOptions*, OrtCustomOpDomain*)
PLACE(51, OrtStatus*, GetTensorMutableData, OrtValue*, void** data)
PLACE(61, OrtStatus*, GetDimensionsCount, const OrtTensorTypeAndShapeInfo*, size_t* count)
PLACE(62, OrtStatus*, GetDimensions, const OrtTensorTypeAndShapeInfo*, int64_t* sizes, size_t count)
PLACE(64, OrtStatus*, GetTensorShapeElementCount, const OrtTensorTypeAndShapeInfo*, size_t* count)
PLACE(65, OrtStatus*, GetTensorTypeAndShape, const OrtValue*, OrtTensorTypeAndShapeInfo** made)
PLACE(75, OrtStatus*, AllocatorAlloc, OrtAllocator*, size_t bytes, void** made)
PLACE(76, OrtStatus*, AllocatorFree, OrtAllocator*, void*)
PLACE(86, OrtStatus*, KernelInfoGetAttribute_int64, const OrtKernelInfo*, const char* name, int64_t* value)
PLACE(90, OrtStatus*, KernelContext_GetInput, const OrtKernelContext*, size_t index, const OrtValue** value)
PLACE(91, OrtStatus*, KernelContext_GetOutput, OrtKernelContext*, size_t index, const int64_t* sizes, size_t rank,
      OrtValue** value)
PLACE(93, void, ReleaseStatus, OrtStatus*)
PLACE(99, void, ReleaseTensorTypeAndShapeInfo, OrtTensorTypeAndShapeInfo*)
PLACE(132, void, ReleaseAllocator, OrtAllocator*)
PLACE(230, OrtStatus*, KernelInfo_GetInputCount, const OrtKernelInfo*, size_t* count)
PLACE(249, OrtStatus*, KernelInfoGetConstantInput_tensor, const OrtKernelInfo*, size_t index, int* constant,
      const OrtValue** value)
PLACE(274, OrtStatus*, KernelContext_ParallelFor, const OrtKernelContext*, void (*part)(void* data, size_t index),
      size_t parts, size_t batches, void* data)
PLACE(278, OrtStatus*, KernelInfoGetAllocator, const OrtKernelInfo*, int memory, OrtAllocator** made)

#undef PLACE

// An operator: its name, what goes in and comes out, and what computes it. Those from CreateKernelV2 on take the place
// of the ones that cannot fail.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void* context);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int** inputs, int** outputs);
  void (*ReleaseMayInplace)(int* inputs, int* outputs);
  size_t (*GetAliasMap)(int** inputs, int** outputs);
  void (*ReleaseAliasMap)(int* inputs, int* outputs);
};
