#include "bench/walk/peers.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <chrono>

#include "bench/walk/big_map.hpp"

namespace floe::bench {
namespace {

double milliseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

}  // namespace

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

Result<LiveMap> LiveMap::make(std::uint32_t entries) {
  const int made = make_big_map(entries);
  if (made < 0) return fail(Error(-made, "making a hash map on this machine"));
  UniqueFd fd(made);
  bpf_map_info info{};
  std::uint32_t bytes = sizeof info;
  if (::bpf_obj_get_info_by_fd(made, &info, &bytes) != 0) return fail(Error(errno, "asking for the id of the map"));
  return LiveMap(std::move(fd), info.id, entries);
}

Result<double> LiveMap::lookup_batch() {
  std::vector<std::uint32_t> keys(kBatch);
  std::vector<WalkSample> values(kBatch);
  std::uint32_t position = 0, found = 0;
  const double began = cpu_seconds();
  for (bool first = true;; first = false) {
    std::uint32_t count = kBatch, next = 0;
    const int done = ::bpf_map_lookup_batch(fd_.get(), first ? nullptr : &position, &next, keys.data(), values.data(), &count, nullptr);
    const int why = errno;
    if (done != 0 && why != ENOENT) return fail(Error(why, "BPF_MAP_LOOKUP_BATCH"));
    found += count;
    if (done != 0) break;
    position = next;
  }
  const double took = (cpu_seconds() - began) * 1e3;
  if (found != entries_) return fail(fmt::format("BPF_MAP_LOOKUP_BATCH gave {} of {} elements", found, entries_));
  return took;
}

Result<Took> run_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  const auto began = std::chrono::steady_clock::now();
  pid_t child = 0;
  const int refused = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (refused != 0) return fail(Error(refused, words.front()));
  int status = 0;
  rusage used{};
  while (::wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
  }
  const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - began;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(words.front() + " failed");
  return Took{milliseconds(used.ru_utime) + milliseconds(used.ru_stime), wall.count()};
}

Result<double> parse_btf(std::span<const std::byte> blob) {
  const double began = cpu_seconds();
  btf* const parsed = ::btf__new(blob.data(), static_cast<std::uint32_t>(blob.size()));
  const int why = errno;
  ::btf__free(parsed);
  const double took = (cpu_seconds() - began) * 1e3;
  if (parsed == nullptr) return fail(Error(why, "btf__new"));
  return took;
}

}  // namespace floe::bench
