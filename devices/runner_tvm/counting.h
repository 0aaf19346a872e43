// Instructions that this thread executes, counted by the emulator that it runs in, where that counts:
// `runner/counting.py` says how. The call holds nothing but the run.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "model.h"

constexpr long kMark = 25454;  // a system call that no kernel has

// The last line of the file that COMPRESS_COUNTS names.
inline long last_count() {
  const char* path = std::getenv("COMPRESS_COUNTS");
  if (path == nullptr) throw JobError("count", "COMPRESS_COUNTS names no file");
  std::ifstream file(path);
  long count = 0, last = -1;
  while (file >> count) last = count;
  if (last < 0) throw JobError("count", "the emulator wrote no count");
  return last;
}

inline long counted(const std::function<void()>& run) {
  syscall(kMark, 1);
  run();
  syscall(kMark, 0);
  return last_count();
}

// Sorted counts of so many runs, after others that are not counted.
inline std::vector<long> counts_of(const std::function<void()>& run, long uncounted, long runs) {
  while (uncounted-- > 0) run();
  std::vector<long> counts;
  while (runs-- > 0) counts.push_back(counted(run));
  std::sort(counts.begin(), counts.end());
  return counts;
}
