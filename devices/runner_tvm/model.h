// A network that TVM has compiled, in its virtual machine, with what it is fed; and how far its outputs are from the
// golden ones (`runner/golden.py` says by which rule).
#pragma once

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "text.h"
#include "timing.h"

// A job that cannot be run; `kind` is "load", "run" or "inputs".
struct JobError : std::runtime_error {
  std::string kind;
  JobError(std::string kind, const std::string& reason)
      : std::runtime_error(reason.substr(0, reason.find('\n'))), kind(std::move(kind)) {}
};

using tvm::ffi::GetDataSize;
using tvm::ffi::Tensor;

struct Memory {
  static constexpr size_t kAlignment = 64;  // what compiled code may rely on
  void AllocData(DLTensor* tensor) {
    size_t size = (GetDataSize(*tensor) + kAlignment - 1) / kAlignment * kAlignment;
    tensor->data = std::aligned_alloc(kAlignment, std::max(size, kAlignment));
    if (tensor->data == nullptr) throw std::bad_alloc();
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

inline Tensor read_tensor(const Array& array, const std::string& folder) {
  try {
    tvm::ffi::Shape shape(array.shape.begin(), array.shape.end());
    Tensor tensor =
        Tensor::FromNDAlloc(Memory(), shape, tvm::ffi::StringToDLDataType(array.dtype), DLDevice{kDLCPU, 0});
    std::ifstream file(folder + "/" + array.path, std::ios::binary);
    auto size = static_cast<std::streamsize>(GetDataSize(tensor));
    if (!file.read(static_cast<char*>(tensor.data_ptr()), size) || file.peek() != EOF) {
      throw std::runtime_error(array.path + " does not hold what its shape says");
    }
    return tensor;
  } catch (const std::exception& error) {
    throw JobError("inputs", error.what());
  }
}

inline std::vector<Tensor> read_tensors(const std::vector<Array>& arrays, const std::string& folder) {
  std::vector<Tensor> made;
  for (const Array& array : arrays) made.push_back(read_tensor(array, folder));
  return made;
}

class Model {
 public:
  double load_seconds;

  Model(const Job& job, const std::string& folder) {
    double start = now();
    try {
      library_ = tvm::ffi::Module::LoadFromFile(folder + "/" + job.model);
      machine_ = function(*library_, "vm_load_executable")().cast<tvm::ffi::Module>();
      function(*machine_, "vm_initialization")(static_cast<int>(kDLCPU), 0, grows(job) ? kNaive : kPooled);
      main_ = function(*machine_, "main");
    } catch (const std::exception& error) {
      throw JobError("load", error.what());
    }
    load_seconds = now() - start;
    feed(read_tensors(job.inputs, folder));
  }

  void feed(std::vector<Tensor> inputs) {
    inputs_ = std::move(inputs);
    arguments_.assign(inputs_.begin(), inputs_.end());
  }

  // What is timed: one run, its outputs included.
  tvm::ffi::Any run() const { return called(arguments_); }

  // One run of other inputs.
  tvm::ffi::Any run(const std::vector<Tensor>& inputs) const {
    return called(std::vector<tvm::ffi::AnyView>(inputs.begin(), inputs.end()));
  }

  // A run whose failure is told as one.
  tvm::ffi::Any first() const {
    try {
      return run();
    } catch (const std::exception& error) {
      throw JobError("run", error.what());
    }
  }

 private:
  // TVM's AllocatorType: kept from run to run for the very same sizes, or given back, as what grows asks for.
  static constexpr int kNaive = 1, kPooled = 2;
  static bool grows(const Job& job) {
    return std::any_of(job.inputs.begin(), job.inputs.end(),
                       [](const Array& each) { return each.name.rfind("past_key_values.", 0) == 0; });
  }
  std::optional<tvm::ffi::Module> library_, machine_;  // there is no empty one
  std::optional<tvm::ffi::Function> main_;
  std::vector<Tensor> inputs_;
  std::vector<tvm::ffi::AnyView> arguments_;

  tvm::ffi::Any called(const std::vector<tvm::ffi::AnyView>& arguments) const {
    tvm::ffi::Any result;
    main_->CallPacked(arguments.data(), static_cast<int32_t>(arguments.size()), &result);
    return result;
  }

  static tvm::ffi::Function function(const tvm::ffi::Module& module, const char* name) {
    auto found = module->GetFunction(name);
    if (!found.has_value()) throw std::runtime_error(std::string("it has no function ") + name);
    return found.value();
  }
};

inline std::vector<Tensor> outputs_of(const tvm::ffi::Any& result) {
  if (auto one = result.as<Tensor>()) return {*one};
  auto several = result.cast<tvm::ffi::Array<Tensor>>();
  return {several.begin(), several.end()};
}

inline double half(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value = exponent == 31 ? (fraction ? std::nan("") : INFINITY)
                 : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                : std::ldexp(fraction, -24);
  return bits >> 15 ? -value : value;
}

template <typename T>
T item(const DLTensor& tensor, size_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(tensor.data) + tensor.byte_offset + index * sizeof(T), sizeof(T));
  return value;
}

inline double float_item(const DLTensor& tensor, size_t index) {
  if (tensor.dtype.code == kDLBfloat) {
    uint32_t bits = static_cast<uint32_t>(item<uint16_t>(tensor, index)) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  switch (tensor.dtype.bits) {
    case 16: return half(item<uint16_t>(tensor, index));
    case 32: return item<float>(tensor, index);
    default: return item<double>(tensor, index);
  }
}

// Infinite where the shape or the kind of number is another.
inline double output_error(const DLTensor& actual, const DLTensor& golden, double ties) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  auto is_float = [](const DLTensor& t) { return t.dtype.code == kDLFloat || t.dtype.code == kDLBfloat; };
  if (actual.ndim != golden.ndim || !std::equal(actual.shape, actual.shape + actual.ndim, golden.shape)) return kInfinite;
  size_t width = golden.dtype.bits / 8, count = GetDataSize(golden) / width;
  if (!is_float(golden)) {
    if (actual.dtype.code != golden.dtype.code || actual.dtype.bits != golden.dtype.bits) return kInfinite;
    auto at = [&](const DLTensor& t, size_t i) { return static_cast<const char*>(t.data) + t.byte_offset + i * width; };
    size_t differing = 0;
    for (size_t i = 0; i < count; ++i) differing += std::memcmp(at(actual, i), at(golden, i), width) != 0;
    return count ? std::max(0.0, static_cast<double>(differing) / count - ties) : 0.0;
  }
  if (!is_float(actual)) return kInfinite;
  double error = 0, scale = 0;
  for (size_t i = 0; i < count; ++i) {
    double a = float_item(actual, i), b = float_item(golden, i);
    bool same = a == b || (std::isnan(a) && std::isnan(b));
    error += same ? 0.0 : (a - b) * (a - b);
    scale += std::isfinite(b) ? b * b : 0.0;
  }
  return scale > 0 ? std::sqrt(error / scale) : std::sqrt(error);
}
