#include "bpf/schedulers/maps_side.hpp"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bpf/schedulers/records.h"

namespace floe::schedulers {
namespace {

constexpr unsigned kPidfdThread = O_EXCL;  // PIDFD_THREAD, Linux 6.9
constexpr std::uint32_t kArrayEntries = 20;
constexpr std::uint32_t kPercpuEntries = 6;

void put(Scheduler& scheduler, const char* name, const void* key, const void* value) {
  if (::bpf_map_update_elem(::bpf_map__fd(scheduler.map(name)), key, value, BPF_ANY) != 0) {
    die(std::string("cannot fill ") + name + ": " + std::strerror(errno));
  }
}

// 10 to 41 entries.
std::uint32_t entries_of(std::uint64_t seed, std::uint64_t map) {
  return 10 + static_cast<std::uint32_t>(floe_mix(seed, map, 0, 200) % 32);
}

void fill_hash(Scheduler& scheduler, const char* name, std::uint64_t seed, std::uint64_t map) {
  for (std::uint32_t i = 0; i < entries_of(seed, map); ++i) {
    floe_key key{};
    floe_value value{};
    floe_fill_key(&key, seed, map, i);
    floe_fill_value(&value, seed, map, i);
    put(scheduler, name, &key, &value);
  }
}

std::vector<floe_value> values_of_cpus(std::uint64_t seed, std::uint64_t map, std::uint32_t entry) {
  const int cpus = ::libbpf_num_possible_cpus();
  if (cpus <= 0) die("the number of possible CPUs is not known");
  std::vector<floe_value> values(static_cast<std::size_t>(cpus));
  for (std::size_t cpu = 0; cpu < values.size(); ++cpu) floe_fill_value(&values[cpu], seed, map, entry * FLOE_CPU_STRIDE + cpu);
  return values;
}

std::vector<int> numbered_entries(const std::string& folder) {
  std::vector<int> numbers;
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return numbers;
  while (const dirent* entry = ::readdir(dir)) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0) numbers.push_back(std::atoi(entry->d_name));
  }
  ::closedir(dir);
  return numbers;
}

}  // namespace

void prepare_maps(Scheduler& scheduler, std::uint64_t seed) {
  scheduler.variable<std::uint64_t>(".rodata", "maps_seed") = seed;
  floe_fill_value(&scheduler.variable<floe_value>(".rodata", "maps_rodata_value"), seed, FLOE_MAP_SECTION, 2);
}

void fill_maps(Scheduler& scheduler, std::uint64_t seed) {
  fill_hash(scheduler, "floe_hash", seed, FLOE_MAP_HASH);
  fill_hash(scheduler, "floe_lru", seed, FLOE_MAP_LRU);
  for (std::uint32_t i = 0; i < kArrayEntries; ++i) {
    floe_value value{};
    floe_fill_value(&value, seed, FLOE_MAP_ARRAY, i);
    put(scheduler, "floe_array", &i, &value);
  }
  for (std::uint32_t i = 0; i < kPercpuEntries; ++i) {
    put(scheduler, "floe_pcpu_array", &i, values_of_cpus(seed, FLOE_MAP_PERCPU_ARRAY, i).data());
  }
  for (std::uint32_t i = 0; i < entries_of(seed, FLOE_MAP_PERCPU_HASH); ++i) {
    floe_key key{};
    floe_fill_key(&key, seed, FLOE_MAP_PERCPU_HASH, i);
    put(scheduler, "floe_pcpu_hash", &key, values_of_cpus(seed, FLOE_MAP_PERCPU_HASH, i).data());
  }
  scheduler.run_once("maps_fill_ring");
  scheduler.run_once("maps_fill_stacks");
}

void TaskReports::print() {
  const std::string name = "maps-" + std::to_string(++number_);
  ::prctl(PR_SET_NAME, name.c_str());
  const int map = ::bpf_map__fd(scheduler_.map("floe_task_data"));
  std::printf("TASKS %d {\"tasks\":[", number_);
  const char* separator = "";
  for (const int tgid : numbered_entries("/proc")) {
    for (const int pid : numbered_entries("/proc/" + std::to_string(tgid) + "/task")) {
      const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, kPidfdThread));
      if (pidfd < 0) continue;
      unsigned char value[32];
      if (::bpf_map_lookup_elem(map, &pidfd, value) == 0) {
        std::printf("%s{\"pid\":%d,\"tgid\":%d,\"value_hex\":\"", separator, pid, tgid);
        for (const unsigned char byte : value) std::printf("%02x", byte);
        std::printf("\"}");
        separator = ",";
      }
      ::close(pidfd);
    }
  }
  std::printf("]}\n");
  std::fflush(stdout);
}

}  // namespace floe::schedulers
