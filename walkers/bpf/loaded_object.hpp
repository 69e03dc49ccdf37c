// The BPF object that a scheduler was loaded from, as far as it can be put together again out of the kernel that runs it: for the cast
// analysis where there is no executable.
//
// A kernel keeps the instructions of each program as its verifier left them (struct bpf_prog.insnsi, what `bpftool prog dump xlated`
// shows), also where it runs machine code made of them; where each function begins (bpf_prog_aux.func_info); and the object's BTF. Maps and
// variables are addresses in the instructions by then, helpers are addresses relative to __bpf_call_base, kernel functions ids of the
// kernel's BTF (x86-64). What the verifier writes out itself (lookups in arrays and hashes, accesses to the arena) and where the kernel has
// its own structs is the analysis' business.
//
// Less may be found than in the executable: lookups in per-CPU arrays end at an address that nobody knows, variables of the arena are
// unknown, and constants that were blinded (net.core.bpf_jit_harden) hide what they were.
#pragma once

#include <memory>
#include <vector>

#include "walkers/bpf/bpf_object.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/programs.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers::bpf {

struct LoadedObject {
  BpfObject object;
  std::size_t programs = 0;           // that are in it
  std::vector<std::string> problems;  // of those that are not
};

// Of all programs that came with the BTF at that address, whose table is `types`; at most 256 Ki instructions of them. Each costs a step
// of the budget for every 64 of its instructions. Error: the kernel's BTF does not say where programs have their instructions.
Result<LoadedObject> loaded_object(const Kernel& kernel, const ProgramTable& programs, const MapTable& maps, Kva btf,
                                   std::shared_ptr<const render::TypeTable> types, WalkBudget& budget);

}  // namespace floe::walkers::bpf
