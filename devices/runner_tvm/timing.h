// Times models in rounds that go through all of them in turn, as `runner/timing.py` does.
//
// A model's turn is a block of runs; the first of several is left out, because it finds another model's data in the
// caches. The order is reversed after each round.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

constexpr double kBlockSeconds = 0.03;  // one model's share of a round

inline double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Subject {
  std::string id;
  std::function<void()> run;
  long runs = 0;
  double seconds = 0;
  long rounds = 0;

  double once() const {
    double start = now();
    run();
    return now() - start;
  }

  void warm_up(double duration) const {
    for (double end = now() + duration; now() < end;) once();
  }

  std::vector<double> block() {
    double end = now() + kBlockSeconds;
    std::vector<double> times{once()};
    while (now() < end) times.push_back(once());
    if (times.size() > 1) times.erase(times.begin());
    runs += static_cast<long>(times.size());
    for (double time : times) seconds += time;
    ++rounds;
    return times;
  }
};

using Blocks = std::vector<std::pair<std::string, std::vector<double>>>;

// Rounds until all have had as many runs, seconds and rounds; each is handed on as it ends.
inline void interleave(std::vector<Subject>& subjects, double min_runs, double min_seconds, double min_rounds,
                       const std::function<void(const Blocks&)>& take) {
  std::vector<Subject*> waiting;
  for (Subject& subject : subjects) waiting.push_back(&subject);
  auto drop_done = [&] {
    auto done = [&](Subject* each) {
      return each->runs >= min_runs && each->seconds >= min_seconds && each->rounds >= min_rounds;
    };
    waiting.erase(std::remove_if(waiting.begin(), waiting.end(), done), waiting.end());
  };
  for (drop_done(); !waiting.empty(); drop_done()) {
    Blocks blocks;
    for (Subject* subject : waiting) blocks.emplace_back(subject->id, subject->block());
    take(blocks);
    std::reverse(waiting.begin(), waiting.end());
  }
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// At most `limit` of the times, in order, at evenly spaced ranks.
inline std::vector<double> thinned(std::vector<double> times, size_t limit = 256) {
  std::sort(times.begin(), times.end());
  if (times.size() <= limit) return times;
  std::vector<double> kept;
  for (size_t rank = 0; rank < limit; ++rank) {
    kept.push_back(times[static_cast<size_t>((static_cast<double>(rank) + 0.5) * times.size() / limit)]);
  }
  return kept;
}
