// Jobs as lines of text, and events as JSON, one object a line.
//
//     KEY VALUE                                    of the whole document, before the first job
//     job ID                                       what follows is of this job
//     model PATH | threads N | done RUNS SECONDS ROUNDS | ties SHARE
//     input DTYPE SHAPE PATH NAME                  what is timed; SHAPE is 2,3 or - for a scalar; NAME is the rest
//     golden-input … | golden-output …             the same
//     decode BATCH READ STEPS VOCABULARY SCORES    of a decoder: texts, tokens read at once and said, the scores' output
//     slot KIND DTYPE SHAPE OUTPUT NAME            its inputs in order: KIND is tokens, past (OUTPUT of the run before),
//                                                  ones, places or zeros; SHAPE has numbers, batch, past, sequence, whole
//
// Arrays are raw bytes, row by row, in the processor's own order. Paths are relative to the document's folder.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Array {
  std::string dtype, path, name;
  std::vector<int64_t> shape;
};

struct Slot {
  std::string kind, dtype, name;
  std::vector<std::string> shape;
  size_t output = 0;
};

struct Plan {
  int64_t batch = 1, read = 0, vocabulary = 0;
  long steps = 0;
  size_t scores = 0;
  std::vector<Slot> slots;
};

struct Job {
  std::string id, model;
  int threads = 0;
  long done_runs = 0, done_rounds = 0;
  double done_seconds = 0, ties = 0;
  std::vector<Array> inputs, golden_inputs, golden_outputs;
  Plan plan;
};

struct Document {
  std::string folder;
  std::map<std::string, std::string> settings;
  std::vector<Job> jobs;

  double number(const std::string& key, double otherwise) const {
    auto found = settings.find(key);
    return found == settings.end() ? otherwise : std::stod(found->second);
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    auto found = settings.find(key);
    return found == settings.end() ? otherwise : found->second;
  }
};

inline Array read_array(std::istringstream& line) {
  Array array;
  std::string shape, size;
  line >> array.dtype >> shape >> array.path >> std::ws;
  std::getline(line, array.name);
  std::istringstream sizes(shape == "-" ? "" : shape);
  while (std::getline(sizes, size, ',')) array.shape.push_back(std::stoll(size));
  return array;
}

inline Slot read_slot(std::istringstream& line) {
  Slot slot;
  std::string shape, size;
  line >> slot.kind >> slot.dtype >> shape >> slot.output >> std::ws;
  std::getline(line, slot.name);
  std::istringstream sizes(shape == "-" ? "" : shape);
  while (std::getline(sizes, size, ',')) slot.shape.push_back(size);
  return slot;
}

inline void read_line(Document& document, const std::string& key, std::istringstream& rest) {
  if (key == "job") {
    document.jobs.emplace_back();
    rest >> document.jobs.back().id;
    return;
  }
  if (document.jobs.empty()) {
    std::getline(rest >> std::ws, document.settings[key]);
    return;
  }
  Job& job = document.jobs.back();
  if (key == "model") rest >> job.model;
  else if (key == "threads") rest >> job.threads;
  else if (key == "done") rest >> job.done_runs >> job.done_seconds >> job.done_rounds;
  else if (key == "ties") rest >> job.ties;
  else if (key == "input") job.inputs.push_back(read_array(rest));
  else if (key == "golden-input") job.golden_inputs.push_back(read_array(rest));
  else if (key == "golden-output") job.golden_outputs.push_back(read_array(rest));
  else if (key == "slot") job.plan.slots.push_back(read_slot(rest));
  else if (key == "decode") {
    rest >> job.plan.batch >> job.plan.read >> job.plan.steps >> job.plan.vocabulary >> job.plan.scores;
  } else throw std::runtime_error("a job has no " + key);
}

inline Document read_document(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  Document document;
  auto slash = path.rfind('/');
  document.folder = slash == std::string::npos ? "." : path.substr(0, slash);
  for (std::string line; std::getline(file, line);) {
    std::istringstream rest(line);
    std::string key;
    if (rest >> key) read_line(document, key, rest);
  }
  return document;
}

inline std::string quoted(const std::string& text) {
  std::string made = "\"";
  for (unsigned char c : text) {
    char escape[8];
    if (c == '"' || c == '\\') (made += '\\') += static_cast<char>(c);
    else if (c < 0x20) std::snprintf(escape, sizeof escape, "\\u%04x", c), made += escape;
    else made += static_cast<char>(c);
  }
  return made + '"';
}

inline std::string shown(double value, int digits = 17) {
  if (std::isnan(value)) return "NaN";  // as Python writes them, and reads them
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

// An object that is built up; `raw` takes what is JSON already.
class Json {
 public:
  Json& raw(const std::string& key, const std::string& value) {
    body += (body.empty() ? "" : ", ") + quoted(key) + ": " + value;
    return *this;
  }
  Json& add(const std::string& key, const std::string& value) { return raw(key, quoted(value)); }
  Json& add(const std::string& key, double value) { return raw(key, shown(value)); }
  bool empty() const { return body.empty(); }
  std::string str() const { return "{" + body + "}"; }

 private:
  std::string body;
};

template <typename Items, typename Show>
std::string list_of(const Items& items, Show show) {
  std::string made;
  for (const auto& item : items) made += (made.empty() ? "" : ", ") + show(item);
  return "[" + made + "]";
}

inline void emit(const std::string& event, Json fields) {
  std::printf("%s\n", fields.add("event", event).str().c_str());
  std::fflush(stdout);
}
