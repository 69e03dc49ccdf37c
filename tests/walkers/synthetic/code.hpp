// Code made by a test: functions of a kernel with their ORC tables, modules, BPF programs, and stacks to unwind.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/walkers/synthetic/kernel.hpp"
#include "walkers/orc.hpp"

namespace floe::walkers::synthetic {

// What is said at an instruction and behind it; `place` counts from the free part of the image.
struct OrcRow {
  std::uint64_t place = 0;
  OrcEntry entry;
};

struct CodeSpec {
  enum class Format { end_bit, signal_and_end, typed };  // of struct orc_entry: up to 6.2, 6.3, since 6.4
  Format format = Format::typed;
  bool old_numbers = false;  // of registers
  bool frame_pointers = false;
  bool mem_array = true;  // false: module.core_layout, as before 6.4
  std::vector<KernelSpec::ExtraSymbol> functions = {};
  std::vector<OrcRow> rows = {};  // ascending
};

class Code {
 public:
  static constexpr std::uint64_t kTextBytes = 0x8000;  // of the free part

  static KernelSpec needs(const CodeSpec& spec);
  Code(SyntheticKernel& guest, const CodeSpec& spec);

  Kva at(std::uint64_t place) const { return guest.free_image() + place; }
  Kva function(const std::string& name, std::uint64_t offset = 0) const { return guest.symbol(name) + offset; }

  struct ModuleFunction {
    std::string name;
    std::uint64_t offset = 0;  // from the module's text
  };
  // Its text, a page of it. `rows` count from there.
  Kva add_module(const std::string& name, const std::vector<ModuleFunction>& functions, const std::vector<OrcRow>& rows = {});

  // The node of its bpf_ksym.
  Kva add_bpf(const std::string& name, Kva start, std::uint64_t bytes);

  SyntheticKernel& guest;

 private:
  void put_orc(Kva ips, Kva entries, const std::vector<OrcRow>& rows, Kva base);
  void link(const char* list, Kva node);

  CodeSpec spec_;
};

// A task's stack; words are pushed from its top down.
class Stack {
 public:
  static constexpr std::uint64_t kBytes = 16384;

  Stack(SyntheticKernel& own, Kva task);

  Kva push(std::uint64_t word);  // where it lies
  // struct pt_regs. Where it begins.
  Kva push_regs(std::uint64_t ip, std::uint64_t sp, std::uint64_t bp, bool user, std::uint64_t r10 = 0);
  // As __switch_to_asm leaves it: task_struct.thread.sp points at it.
  void switch_away(Kva return_address, std::uint64_t bp);

  Kva top() const { return top_; }
  Kva sp() const { return sp_; }
  SyntheticKernel& guest;
  Kva task;

 private:
  Kva top_, sp_;
};

}  // namespace floe::walkers::synthetic
