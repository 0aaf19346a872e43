// What is pushed onto a board beside a network that TVM has compiled: it checks, times and weighs it without Python.
//
//     runner TASK FILE        TASK: check | load | rounds | count | decode | serve
//
// FILE says what is to be done (text.h). Events go to stdout, one JSON object a line, and are those of the runner in
// Python (`runner/__init__.py` lists them), of which `description` names the version of TVM. `serve` is for that
// runner, which times other networks in turn with one of these: it answers lines of stdin,
//
//     once | warm SECONDS | block        {"event": "times", "seconds": [...]}, the runs that were timed
//
// after {"event": "ready", "load_ms": …}. The exit status is 0 where all went to its end, 2 where it was wrongly called.
#include <cstdlib>
#include <iostream>
#include <memory>

#include "board.h"
#include "counting.h"
#include "decode.h"
#include "model.h"
#include "text.h"
#include "timing.h"

namespace {

void fail(const Job& job, const JobError& error) {
  emit("failed", Json().add("id", job.id).add("kind", error.kind).add("reason", error.what()));
}

std::string golden_errors(Model& model, const Job& job, const std::string& folder) {
  model.feed(read_tensors(job.golden_inputs, folder));
  std::vector<Tensor> golden = read_tensors(job.golden_outputs, folder), outputs;
  try {
    outputs = outputs_of(model.first());
  } catch (const tvm::ffi::Error& error) {
    throw JobError("run", error.what());
  }
  if (outputs.size() != golden.size()) throw JobError("run", "it has another number of outputs");
  Json errors;
  for (size_t i = 0; i < golden.size(); ++i) {
    errors.add(job.golden_outputs[i].name, output_error(*outputs[i].GetDLTensorPtr(), *golden[i].GetDLTensorPtr(), job.ties));
  }
  return errors.str();
}

void check(const Document& document) {
  Json about;
  about.add("tvm", RUNNER_TVM_VERSION).raw("providers", "[\"TVM\"]").raw("sensor", "null");
  emit("description", about.raw("state", state_of(document.text("root", "/")).str()));
  for (const Job& job : document.jobs) {
    if (job.golden_outputs.empty()) continue;
    try {
      Model model(job, document.folder);
      emit("golden", Json().add("id", job.id).raw("errors", golden_errors(model, job, document.folder)));
    } catch (const JobError& error) {
      fail(job, error);
    }
  }
}

Json loaded(const Job& job, const Document& document) {
  std::string root = document.text("root", "/"), before = peak_bytes(root);
  Model model(job, document.folder);
  double start = now();
  model.first();
  double first = now();
  for (int runs = 0; runs < 3 && now() - first < 1.0; ++runs) model.first();
  Json found;
  found.add("id", job.id).add("load_ms", model.load_seconds * 1e3).add("first_ms", (first - start) * 1e3);
  found.raw("before_bytes", before).raw("peak_bytes", peak_bytes(root)).raw("providers", "[\"TVM\"]");
  return found.raw("errors", job.golden_outputs.empty() ? "{}" : golden_errors(model, job, document.folder));
}

void load(const Document& document) {
  for (const Job& job : document.jobs) {
    try {
      emit("loaded", loaded(job, document));
    } catch (const JobError& error) {
      fail(job, error);
    }
  }
}

// A job that has run once, with what an interrupted run had.
Subject subject_of(const Job& job, std::shared_ptr<Model> model) {
  model->first();
  return {job.id, [model] { model->run(); }, job.done_runs, job.done_seconds, job.done_rounds};
}

std::string block_of(const std::vector<double>& seconds, bool samples) {
  double sum = 0;
  for (double each : seconds) sum += each;
  Json block;
  block.add("runs", static_cast<double>(seconds.size())).add("seconds", sum).add("median_ms", median(seconds) * 1e3);
  block.add("min_ms", *std::min_element(seconds.begin(), seconds.end()) * 1e3);
  auto milliseconds = [](double each) { return shown(each * 1e3, 6); };
  if (samples) block.raw("sample_ms", list_of(thinned(seconds), milliseconds));
  return block.str();
}

void rounds(const Document& document) {
  std::string root = document.text("root", "/");
  emit("state", state_of(root));
  std::vector<Subject> subjects;
  for (const Job& job : document.jobs) {
    try {
      subjects.push_back(subject_of(job, std::make_shared<Model>(job, document.folder)));
    } catch (const JobError& error) {
      fail(job, error);
    }
  }
  for (Subject& subject : subjects) subject.warm_up(document.number("warmup_seconds", 0.5));
  bool samples = document.number("samples", 0) != 0;
  long index = static_cast<long>(document.number("first_round", 0));
  double runs = document.number("min_runs", 50), seconds = document.number("min_seconds", 1.0);
  interleave(subjects, runs, seconds, document.number("min_rounds", 0), [&](const Blocks& blocks) {
    Json round, found;
    round.raw("index", std::to_string(index++)).raw("clock_mhz", clock_mhz(root));
    for (const auto& [id, times] : blocks) found.raw(id, block_of(times, samples));
    emit("round", round.raw("blocks", found.str()));
  });
  emit("state", state_of(root));
}

void count_instructions(const Document& document) {
  long runs = static_cast<long>(document.number("count_runs", 5));
  long before = static_cast<long>(document.number("uncounted_runs", 10));
  for (const Job& job : document.jobs) {
    try {
      Model model(job, document.folder);
      model.first();
      std::vector<long> counts = counts_of([&] { model.run(); }, before, std::max(runs, 1L));
      Json found;
      found.add("id", job.id).raw("instructions", std::to_string(counts[counts.size() / 2]));
      emit("counted", found.raw("spread", std::to_string(counts.back() - counts.front())));
    } catch (const JobError& error) {
      fail(job, error);
    }
  }
}

void decode(const Document& document) {
  for (const Job& job : document.jobs) {
    if (job.plan.slots.empty()) continue;
    try {
      double runs = document.number("answers", 3), seconds = document.number("answer_seconds", 1.0);
      emit("decoded", answered(job, document.folder, runs, seconds));
    } catch (const JobError& error) {
      fail(job, error);
    }
  }
}

void answer(Subject& subject, const std::string& line) {
  std::istringstream words(line);
  std::string word;
  double seconds = 0;
  words >> word >> seconds;
  std::vector<double> times;
  if (word == "once") times.push_back(subject.once());
  else if (word == "warm") subject.warm_up(seconds);
  else if (word == "block") times = subject.block();
  else throw std::runtime_error("nothing is known by the name of " + word);
  emit("times", Json().raw("seconds", list_of(times, [](double each) { return shown(each); })));
}

void serve(const Document& document) {
  const Job& job = document.jobs.at(0);
  try {
    auto model = std::make_shared<Model>(job, document.folder);
    Subject subject = subject_of(job, model);
    emit("ready", Json().add("load_ms", model->load_seconds * 1e3));
    for (std::string line; std::getline(std::cin, line);) answer(subject, line);
  } catch (const JobError& error) {
    fail(job, error);
  }
}

// Before the runtime makes its threads: it asks the environment for their number.
void limit_threads(const Document& document, bool counting) {
  int threads = counting ? 1 : document.jobs.empty() ? 0 : document.jobs[0].threads;
  if (threads > 0) setenv("TVM_NUM_THREADS", std::to_string(threads).c_str(), 1);
}

}  // namespace

int main(int count, char** words) {
  const std::map<std::string, void (*)(const Document&)> tasks = {
      {"check", check}, {"load", load}, {"rounds", rounds}, {"count", count_instructions}, {"decode", decode},
      {"serve", serve}};
  auto task = tasks.find(count == 3 ? words[1] : "");
  if (task == tasks.end()) {
    std::fprintf(stderr, "usage: runner check|load|rounds|count|decode|serve FILE\n");
    return 2;
  }
  try {
    Document document = read_document(words[2]);
    limit_threads(document, task->first == "count");
    task->second(document);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  emit("done", Json());
  return 0;
}
