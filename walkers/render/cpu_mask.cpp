#include "walkers/render/cpu_mask.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace floe::walkers::render {

void format_cpus(std::span<const std::byte> words, std::uint32_t cpus, std::string& out) {
  out.clear();
  std::uint32_t first = 0;  // of the run that is open
  bool open = false;
  const auto close = [&](std::uint32_t end) {
    if (!open) return;
    fmt::format_to(std::back_inserter(out), "{}{}", out.empty() ? "" : ",", first);
    if (end - first > 1) fmt::format_to(std::back_inserter(out), "-{}", end - 1);
    open = false;
  };
  std::uint32_t cpu = 0;
  for (; !words.empty() && cpu < cpus; words = words.subspan(std::min<std::size_t>(8, words.size()))) {
    std::uint64_t word = 0;
    std::memcpy(&word, words.data(), std::min<std::size_t>(8, words.size()));
    if (looks_like_pointer(word)) break;
    const std::uint32_t end = std::min(cpu + 64, cpus);
    for (std::uint32_t bit = 0; cpu < end; ++cpu, ++bit) {
      const bool set = (word >> bit & 1) != 0;
      if (set && !open) first = cpu;
      if (!set) close(cpu);
      open = set;
    }
  }
  close(cpu);
}

}  // namespace floe::walkers::render
