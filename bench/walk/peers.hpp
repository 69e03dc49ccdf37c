// What a user would run instead, on this machine's own kernel: the same hash map read by its system calls, and by bpftool.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe::bench {

// Seconds of CPU time that this thread has had.
double cpu_seconds();

class LiveMap {
 public:
  // Error: this kernel, or this user, makes no such map.
  static Result<LiveMap> make(std::uint32_t entries);

  std::uint32_t id() const { return id_; }
  // Every element by BPF_MAP_LOOKUP_BATCH, `kBatch` at a time: CPU milliseconds.
  Result<double> lookup_batch();
  static constexpr std::uint32_t kBatch = 16'384;

 private:
  LiveMap(UniqueFd fd, std::uint32_t id, std::uint32_t entries) : fd_(std::move(fd)), id_(id), entries_(entries) {}
  UniqueFd fd_;
  std::uint32_t id_ = 0;
  std::uint32_t entries_ = 0;
};

struct Took {
  double cpu_ms = 0;  // of the program, in user space and in the kernel
  double wall_ms = 0;
};
// Runs a program with its output thrown away. Error: it is not there, or fails.
Result<Took> run_program(const std::vector<std::string>& words);

// The same BTF by libbpf: CPU milliseconds.
Result<double> parse_btf(std::span<const std::byte> blob);

}  // namespace floe::bench
