// The operators of a model in ONNX Runtime, around kernels that TVM has compiled into the same library.
//
//   compressor::LinearBlocks(x, codes, scales [, bias])      y = x̂ · Ŵᵀ + b
//   compressor::EmbeddingBlocks(codes, scales, ids)          y = Ŵ[ids]
//
// Weights lie in the model as kernels read them: nothing is copied or rearranged when it is loaded. Threads are ONNX
// Runtime's own.

#include <climits>

#include "products.h"
#include "tables.h"

namespace {

// What ONNX Runtime asks of an operator.

template <typename State, OrtStatus* (*make)(const OrtApi*, const OrtKernelInfo*, State*), void (*destroy)(void*)>
OrtStatus* create(const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  auto* state = static_cast<State*>(__builtin_malloc(sizeof(State)));
  if (!state) return CreateStatus(api)(FAIL, "out of memory");
  *state = State{};
  state->api = api;
  if (OrtStatus* failed = make(api, info, state)) {
    destroy(state);
    return failed;
  }
  *kernel = state;
  return nullptr;
}

int linear_input(const OrtCustomOp*, size_t index) { return index == 1 ? UINT8 : FLOAT; }
int linear_needs(const OrtCustomOp*, size_t index) { return index == 3 ? OPTIONAL : REQUIRED; }
int embedding_input(const OrtCustomOp*, size_t index) { return index == 0 ? UINT8 : index == 1 ? FLOAT : INT64; }
int always_float(const OrtCustomOp*, size_t) { return FLOAT; }
int always_required(const OrtCustomOp*, size_t) { return REQUIRED; }
int default_memory(const OrtCustomOp*, size_t) { return DEFAULT_MEMORY; }
int first_version(const OrtCustomOp*) { return 1; }
int last_version(const OrtCustomOp*) { return INT_MAX; }
int one(const OrtCustomOp*) { return 1; }
size_t one_output(const OrtCustomOp*) { return 1; }
size_t three_inputs(const OrtCustomOp*) { return 3; }
size_t four_inputs(const OrtCustomOp*) { return 4; }
const char* processor(const OrtCustomOp*) { return nullptr; }  // the CPU provider
const char* linear_name(const OrtCustomOp*) { return "LinearBlocks"; }
const char* embedding_name(const OrtCustomOp*) { return "EmbeddingBlocks"; }

OrtCustomOp common() {
  OrtCustomOp made{};
  made.version = API_VERSION;
  made.GetExecutionProviderType = processor;
  made.GetOutputType = always_float;
  made.GetOutputTypeCount = one_output;
  made.GetOutputCharacteristic = always_required;
  made.GetInputMemoryType = default_memory;
  made.GetVariadicInputMinArity = made.GetVariadicInputHomogeneity = one;
  made.GetVariadicOutputMinArity = made.GetVariadicOutputHomogeneity = one;
  made.GetStartVersion = first_version;
  made.GetEndVersion = last_version;
  return made;
}

const OrtCustomOp* linear_operator() {
  static OrtCustomOp made = common();
  made.GetName = linear_name;
  made.GetInputType = linear_input;
  made.GetInputTypeCount = four_inputs;
  made.GetInputCharacteristic = linear_needs;
  made.CreateKernelV2 = create<Linear, make_linear, destroy_linear>;
  made.KernelComputeV2 = compute_linear;
  made.KernelDestroy = destroy_linear;
  return &made;
}

const OrtCustomOp* embedding_operator() {
  static OrtCustomOp made = common();
  made.GetName = embedding_name;
  made.GetInputType = embedding_input;
  made.GetInputTypeCount = three_inputs;
  made.GetInputCharacteristic = always_required;
  made.CreateKernelV2 = create<Embedding, make_embedding, destroy_embedding>;
  made.KernelComputeV2 = compute_embedding;
  made.KernelDestroy = destroy_embedding;
  return &made;
}

}  // namespace

// What ONNX Runtime calls when the library is registered. The domain is kept as long as the library: sessions read it.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(API_VERSION);
  if (!api)
    return CreateStatus(base->GetApi(1))(NOT_IMPLEMENTED, "this library of operators needs ONNX Runtime 1.18 or newer");
  if (const char* lacking = lacking_feature()) return CreateStatus(api)(NOT_IMPLEMENTED, lacking);
  OrtCustomOpDomain* domain;
  RETURN_IF_FAILED(CreateCustomOpDomain(api)("compressor", &domain));
  RETURN_IF_FAILED(CustomOpDomain_Add(api)(domain, linear_operator()));
  RETURN_IF_FAILED(CustomOpDomain_Add(api)(domain, embedding_operator()));
  return AddCustomOpDomain(api)(options, domain);
}
