// How long a decoder takes to answer, as `runner/answers.py` has it: until its first token, which comes after a text is
// read, and for each further one through its cache. The cache goes from run to run as the network gives it.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "model.h"
#include "text.h"
#include "timing.h"

class Speaker {
 public:
  Speaker(const Model& model, const Plan& plan) : model_(model), plan_(plan) {}

  // Seconds until the first token, then of each further one.
  std::vector<double> answer() {
    past_ = 0;
    kept_.clear();
    std::mt19937 random(0);
    std::uniform_int_distribution<int64_t> drawn(0, plan_.vocabulary - 1);
    std::vector<int64_t> ids(plan_.batch * plan_.read);
    for (int64_t& id : ids) id = drawn(random);
    std::vector<double> times;
    for (long step = 0; step <= plan_.steps; ++step) {
      double start = now();
      ids = best(ids, step == 0 ? plan_.read : 1);
      times.push_back(now() - start);
    }
    return times;
  }

 private:
  const Model& model_;
  const Plan& plan_;
  int64_t past_ = 0;
  std::vector<Tensor> kept_;  // what the last run gave

  // The likeliest token of each text behind `length` more places.
  std::vector<int64_t> best(const std::vector<int64_t>& ids, int64_t length) {
    std::vector<Tensor> inputs;
    for (const Slot& slot : plan_.slots) inputs.push_back(made(slot, ids, length));
    kept_ = outputs_of(model_.run(inputs));
    past_ += length;
    const DLTensor& scores = *kept_.at(plan_.scores).GetDLTensorPtr();
    int64_t width = scores.shape[2], rows = scores.shape[0];
    std::vector<int64_t> found;
    for (int64_t row = 0; row < rows; ++row) {
      int64_t start = ((row + 1) * scores.shape[1] - 1) * width, most = 0;
      for (int64_t i = 1; i < width; ++i) {
        if (float_item(scores, start + i) > float_item(scores, start + most)) most = i;
      }
      found.push_back(most);
    }
    return found;
  }

  Tensor made(const Slot& slot, const std::vector<int64_t>& ids, int64_t length) const {
    if (slot.kind == "past" && !kept_.empty()) return kept_.at(slot.output);
    std::vector<int64_t> shape;
    for (const std::string& size : slot.shape) shape.push_back(size_of(size, length));
    Tensor tensor = Tensor::FromNDAlloc(Memory(), tvm::ffi::Shape(shape.begin(), shape.end()),
                                        tvm::ffi::StringToDLDataType(slot.dtype), DLDevice{kDLCPU, 0});
    size_t width = tensor.dtype().bits / 8, count = GetDataSize(tensor) / width;
    for (size_t i = 0; i < count; ++i) put(tensor, i, width, value(slot, ids, length, i));
    return tensor;
  }

  int64_t size_of(const std::string& size, int64_t length) const {
    if (size == "batch") return plan_.batch;
    if (size == "past") return past_;
    if (size == "sequence") return length;
    return size == "whole" ? past_ + length : std::stoll(size);
  }

  int64_t value(const Slot& slot, const std::vector<int64_t>& ids, int64_t length, size_t index) const {
    if (slot.kind == "tokens") return ids.at(index);
    if (slot.kind == "places") return past_ + static_cast<int64_t>(index) % length;
    return slot.kind == "ones";
  }

  static void put(Tensor& tensor, size_t index, size_t width, int64_t value) {
    char* at = static_cast<char*>(tensor.data_ptr()) + index * width;
    if (tensor.dtype().code != kDLFloat) std::memcpy(at, &value, width);  // little-endian: its low bytes come first
    else if (float number = static_cast<float>(value); width == sizeof number) std::memcpy(at, &number, width);
    else if (value) throw JobError("inputs", "it takes floats of another width");
    else std::memset(at, 0, width);
  }
};

inline Json answered(const Job& job, const std::string& folder, double runs, double seconds) {
  Model model(job, folder);
  Speaker speaker(model, job.plan);
  std::vector<double> first, further;
  try {
    speaker.answer();
    for (double end = now() + seconds; first.size() < runs || now() < end;) {
      std::vector<double> times = speaker.answer();
      first.push_back(times[0]);
      further.insert(further.end(), times.begin() + 1, times.end());
    }
  } catch (const JobError&) {
    throw;
  } catch (const std::exception& error) {
    throw JobError("run", error.what());
  }
  Json found;
  found.add("id", job.id).add("first_ms", median(first) * 1e3).add("token_ms", median(further) * 1e3);
  found.raw("read", std::to_string(job.plan.read)).raw("steps", std::to_string(job.plan.steps));
  return found.raw("runs", std::to_string(first.size()));
}
