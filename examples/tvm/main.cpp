// The least that an application needs to run a library of `compress --runtime tvm`: TVM's runtime, and no Python.
//
//     ./run BUNDLE/model.so 2,1,8,8 < input.raw > output.raw
//
// One input of float32 in that shape comes from stdin, row by row; the outputs, one behind the other, go to stdout.
// README.md beside this file builds it, for this machine and for a board.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

struct Memory {  // compiled code relies on 64 bytes
  void AllocData(DLTensor* tensor) {
    tensor->data = std::aligned_alloc(64, (ffi::GetDataSize(*tensor) + 64) / 64 * 64);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor read_input(const std::string& sizes) {
  std::vector<int64_t> shape;
  std::stringstream text(sizes);
  for (std::string size; std::getline(text, size, ',');) shape.push_back(std::stoll(size));
  ffi::Shape whole(shape.begin(), shape.end());
  ffi::Tensor input = ffi::Tensor::FromNDAlloc(Memory(), whole, {kDLFloat, 32, 1}, {kDLCPU, 0});
  std::cin.read(static_cast<char*>(input.data_ptr()), static_cast<std::streamsize>(ffi::GetDataSize(input)));
  if (!std::cin) throw std::runtime_error("stdin holds less than that shape");
  return input;
}

void write(const ffi::Tensor& output) {
  std::cout.write(static_cast<char*>(output.data_ptr()), static_cast<std::streamsize>(ffi::GetDataSize(output)));
}

int main(int count, char** words) try {
  if (count != 3) throw std::runtime_error("usage: run model.so 2,1,8,8 < input.raw > output.raw");
  ffi::Tensor input = read_input(words[2]);
  ffi::Module library = ffi::Module::LoadFromFile(std::filesystem::absolute(words[1]).string());  // a bare name would be searched for
  ffi::Module machine = library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
  machine->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, 2);  // 2: memory is pooled
  ffi::Any result = machine->GetFunction("main").value()(input);
  if (auto one = result.as<ffi::Tensor>()) {
    write(*one);
  } else {
    for (const ffi::Tensor& each : result.cast<ffi::Array<ffi::Tensor>>()) write(each);
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
