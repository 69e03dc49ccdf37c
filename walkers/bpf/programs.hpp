// The guest's BPF programs: prog_idr, what each is, which maps it uses, how often it ran; and which of them is the scheduler.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/records.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers::bpf {

inline constexpr std::uint32_t kStructOpsProgram = 27;  // BPF_PROG_TYPE_STRUCT_OPS

struct Program {
  std::uint32_t id = 0;
  Kva address;             // of its struct bpf_prog
  std::uint32_t type = 0;  // enum bpf_prog_type
  std::string name;        // at most 15 characters
  std::array<std::uint8_t, 8> tag{};
  std::optional<Kva> btf;                 // struct btf of its object
  std::vector<Kva> used_maps;             // at most 64
  std::optional<std::string> implements;  // of a struct_ops program: the kernel's struct, "sched_ext_ops"
  std::optional<ProgRuntimeStats> stats;  // summed over CPUs; absent where the program has none
};

struct ProgramTable {
  std::vector<Program> programs;  // in order of their ids
  bool complete = true;
  std::vector<std::string> problems;
};

// Error: the kernel has no prog_idr, or its BTF no struct bpf_prog.
Result<ProgramTable> find_programs(const Kernel& kernel, WalkBudget& budget);

// Of struct_ops programs. Counts and times move only while the guest has BPF statistics switched on, misses always.
std::vector<ProgRuntimeStats> struct_ops_stats(const ProgramTable& programs);

// The object a scheduler was loaded from, by the maps its programs use: libbpf calls the sections of an object NAME.bss, NAME.data and
// NAME.rodata, NAME cut to 8 characters.
struct ActiveScheduler {
  std::optional<std::string> object;
  std::vector<Kva> maps;  // those the program uses; empty where only the name could be told
};

// The first struct_ops program, one of sched_ext if it can be told, that uses a section of an object. A used map that find_maps() did not
// find under that name does not count: the program may have been on its way out. Failing that, the one object whose sections are there
// exactly once and that a struct_ops map is named after.
ActiveScheduler active_scheduler(const ProgramTable& programs, const MapTable& maps);

}  // namespace floe::walkers::bpf
