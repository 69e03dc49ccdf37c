// A whole guest made by a test: page tables, a kernel image with VMCOREINFO, kallsyms and BTF, and a process list. Small, but
// found and opened by the same code as a real one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/walkers/synthetic/memory.hpp"
#include "tests/walkers/synthetic/symbols.hpp"
#include "tests/walkers/synthetic/types.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers::synthetic {

struct KernelSpec {
  bool five_levels = true;
  SymbolLayout layout = SymbolLayout::place_relative;
  std::uint64_t kernel_offset = 0x36a00000;  // virtual KASLR
  std::int64_t phys_base = -0x1bc00000;      // physical KASLR: what is linked at 16 MiB lies at 16 MiB + both
  std::string release = "7.2.13-synthetic";
  std::string build_id = "0123456789abcdef0123456789abcdef01234567";
  bool thread_head = true;         // false: threads by task_struct.thread_group, as before 6.7
  bool cpu_in_thread_info = true;  // false: task_struct.cpu
  std::uint32_t on_cpu_bytes = 1;  // 4 in 6.12
  std::uint32_t cpus = 2;
  std::optional<std::uint64_t> possible_mask = std::nullopt;  // CPUs that exist; without one there is no such symbol
  bool raw_copy = true;                                       // VMCOREINFO as bare text
  bool note_copy = true;                                      // and as ELF note

  // What one test alone needs: more types, and more symbols in the part of the image that is kept free for tests.
  std::function<void(TypeWriter&)> add_types = {};
  struct ExtraSymbol {
    std::string name;
    std::uint64_t place = 0;  // from the start of that part, below kFreeBytes
    char type = 'T';
  };
  std::vector<ExtraSymbol> symbols = {};
};

class SyntheticKernel {
 public:
  explicit SyntheticKernel(KernelSpec spec = {});

  // A task that is linked into the process list (as leader) or into a leader's threads.
  Kva add_process(std::int32_t pid, const std::string& comm, std::uint32_t state = 1, std::uint32_t exit_state = 0);
  Kva add_thread(Kva leader, std::int32_t pid, const std::string& comm);
  void make_kernel_thread(Kva task, const std::string& full_name);

  struct Worker {
    std::optional<std::string> rescues = std::nullopt;  // workqueue name
    int pool_cpu = 0;
    int pool_id = 0;
    int id = 0;
    int nice = 0;
    std::string description = {};
    bool busy = false;
  };
  void make_worker(Kva task, const Worker& worker);

  // Writes through the page tables.
  void write(Kva kva, std::span<const std::byte> bytes);
  template <class T>
  void put(Kva kva, T value) {
    write(kva, std::as_bytes(std::span(&value, 1)));
  }
  void put_string(Kva kva, std::string_view text);

  // Mapped, zeroed kernel memory outside the image.
  Kva allocate(std::uint64_t bytes);

  // The page of an address of the test's choice.
  void map(Kva kva);

  std::uint32_t offset(const std::string& path) const { return types_->offset(path).value(); }
  Kva symbol(const std::string& name) const;
  Kva free_image() const;  // kFreeBytes of zeroes that only the symbols above lie in
  static constexpr std::uint64_t kFreeBytes = 0x20000;
  Gpa physical(Kva kva) const { return tables_.tables().translate(kva).value().gpa; }

  SparseMemory memory;
  Kva init_task;
  std::string vmcoreinfo_text;
  static constexpr Gpa kRawPage{0x00200000};
  static constexpr Gpa kNotePage{0x00400000};

 private:
  void build_types();
  void build_image();
  void write_note();
  void link(Kva head, Kva node);

  KernelSpec spec_;
  PageTableBuilder tables_;
  std::vector<std::byte> btf_;
  std::optional<Types> types_;
  std::vector<Symbol> symbols_;
  Kva image_;
  Kva heap_;
  Gpa heap_gpa_{0x08000000};
};

}  // namespace floe::walkers::synthetic
