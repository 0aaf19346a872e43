// The state that the board is in, and the most memory that this process has held: `runner/conditions.py` and
// `runner/memory.py` say where each comes from. What a board does not tell is absent.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "text.h"

namespace fs = std::filesystem;

inline std::optional<std::string> read_text(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

inline std::optional<double> read_number(const fs::path& path) {
  auto text = read_text(path);
  if (!text) return std::nullopt;
  char* end = nullptr;
  double value = std::strtod(text->c_str(), &end);
  return end == text->c_str() ? std::nullopt : std::optional<double>(value);
}

// Folders below `folder` whose names start so, in order.
inline std::vector<fs::path> below(const fs::path& folder, const std::string& start) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (fs::directory_iterator each(folder, ignored), end; !ignored && each != end; each.increment(ignored)) {
    if (each->path().filename().string().rfind(start, 0) == 0) found.push_back(each->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

inline std::vector<fs::path> cores(const std::string& root) {
  std::vector<fs::path> found;
  for (const auto& core : below(fs::path(root) / "sys/devices/system/cpu", "cpu")) {
    std::string number = core.filename().string().substr(3);
    if (!number.empty() && number.find_first_not_of("0123456789") == std::string::npos) found.push_back(core);
  }
  return found;
}

inline void add_thermal(Json& state, const std::string& root) {
  Json temperatures, limits;
  std::map<std::string, int> seen;
  for (const auto& zone : below(fs::path(root) / "sys/class/thermal", "thermal_zone")) {
    auto temperature = read_number(zone / "temp");
    if (!temperature) continue;
    std::string name = read_text(zone / "type").value_or(zone.filename().string());
    if (seen[name]++) name += " " + zone.filename().string().substr(std::string("thermal_zone").size());
    temperatures.add(name, *temperature / 1e3);
    std::optional<double> limit;  // where the kernel begins to slow the board down
    for (const auto& file : below(zone, "trip_point_")) {
      std::string path = file.string();
      bool kind = path.size() > 5 && path.compare(path.size() - 5, 5, "_type") == 0;
      if (!kind || read_text(file) != "passive") continue;
      auto trip = read_number(path.substr(0, path.size() - 4) + "temp");
      if (trip && *trip > 0) limit = std::min(limit.value_or(*trip), *trip);
    }
    if (limit) limits.add(name, *limit / 1e3);
  }
  if (!temperatures.empty()) state.raw("temperatures", temperatures.str());
  if (!limits.empty()) state.raw("limits", limits.str());
}

inline void add_clocks(Json& state, const std::string& root) {
  Json clocks;
  double throttled = 0;
  bool counted = false;
  for (const auto& core : cores(root)) {
    Json clock;
    if (auto mhz = read_number(core / "cpufreq/scaling_cur_freq")) clock.add("mhz", *mhz / 1e3);
    if (auto mhz = read_number(core / "cpufreq/cpuinfo_max_freq")) clock.add("max_mhz", *mhz / 1e3);
    if (auto governor = read_text(core / "cpufreq/scaling_governor")) clock.add("governor", *governor);
    if (!clock.empty()) clocks.raw(core.filename().string(), clock.str());
    if (auto count = read_number(core / "thermal_throttle/core_throttle_count")) throttled += *count, counted = true;
  }
  if (!clocks.empty()) state.raw("clocks", clocks.str());
  if (counted) state.add("throttle_count", throttled);
}

inline std::string output_of(const char* command) {
  std::string text;
  if (FILE* pipe = popen(command, "r")) {
    for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    pclose(pipe);
  }
  return text;
}

// Raspberry Pi: bits 0 to 3 are so now, 16 to 19 have occurred since boot.
inline void add_throttled(Json& state) {
  static const char* const kBits[] = {"under-voltage", "frequency capped", "throttled", "soft temperature limit"};
  std::string text = output_of("vcgencmd get_throttled 2>/dev/null");
  auto at = text.find("throttled=0x");
  if (at == std::string::npos) return;
  unsigned long bits = std::strtoul(text.c_str() + at + 10, nullptr, 16);
  std::vector<std::string> current, occurred;
  for (int bit = 0; bit < 4; ++bit) {
    if (bits >> bit & 1) current.push_back(kBits[bit]);
    if (bits >> (bit + 16) & 1) occurred.push_back(kBits[bit]);
  }
  Json said;
  said.raw("now", list_of(current, quoted)).raw("occurred", list_of(occurred, quoted));
  state.raw("throttled", said.str());
}

inline void add_power_mode(Json& state) {
  std::string text = output_of("nvpmodel -q 2>/dev/null"), key = "NV Power Mode:";
  auto at = text.find(key);
  if (at == std::string::npos) return;
  std::istringstream rest(text.substr(at + key.size()));
  std::string mode;
  if (rest >> mode) state.add("power_mode", mode);
}

inline Json state_of(const std::string& root) {
  Json state;
  add_thermal(state, root);
  add_clocks(state, root);
  add_throttled(state);
  add_power_mode(state);
  return state;
}

// The fastest clock of a core at this moment, in MHz, or JSON's null.
inline std::string clock_mhz(const std::string& root) {
  double fastest = 0;
  for (const auto& core : cores(root)) {
    fastest = std::max(fastest, read_number(core / "cpufreq/scaling_cur_freq").value_or(0));
  }
  return fastest > 0 ? shown(fastest / 1e3) : "null";
}

// Bytes, or JSON's null.
inline std::string peak_bytes(const std::string& root) {
  std::ifstream status(fs::path(root) / "proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::to_string(std::stoll(line.substr(6)) * 1024);
  }
  return "null";
}
