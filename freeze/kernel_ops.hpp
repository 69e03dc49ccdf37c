// Reads and writes of a guest's kernel memory that somebody asks for by name: a symbol, an address, a field of a per-CPU variable or of a
// task. In three parts, so that what must not happen while the guest stands still happens around it:
//
//   auto op = KernelOp::resolve(request, tables, live, ram);    // names to addresses: walks, allocates
//   { Frozen frozen(vm, limit);                                 // "cold"; "hot" goes without
//     op.apply(); }                                             // page walks, loads, stores; nothing else
//   const KernelReply reply = op.reply();
//
// The first entry that fails ends the batch and is named by the reason; what the entries before it wrote stays. What was true when names
// were resolved is checked again by apply(): addresses are translated there, and a task has to be the one that was meant.
//
// Guest words of 4 and 8 bytes that are aligned are read and written in one piece, by OrU32 in one step; other lengths may tear while the
// guest runs. Pages that were written are told to the dirty tracking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "freeze/snapshot_memory.hpp"
#include "vmm/ram.hpp"
#include "vmm/requests.hpp"
#include "walkers/kernel.hpp"

namespace floe::freeze {

using KernelOpRequest = vmm::wire::KernelOpRequest;
using KernelOpEntry = vmm::wire::KernelOpEntry;
using KernelReply = vmm::wire::KernelOpReply;

// Targets:
//   SymbolTarget   the kernel's variable
//   DirectTarget   [address, address + bytes) of the direct map has to be RAM; no page tables are asked
//   KvaTarget      from 0xff00000000000000 on, through the page tables
//   PerCpuTarget   a field, by its path in BTF, of a per-CPU variable that BTF or floe knows the type of
//   TaskTarget     a field of the thread with that number, in the initial namespace, which has to be alive and have started at that time:
//                  task_struct.start_time or .start_boottime; a whole number of 10 ms is as /proc/PID/stat shows the latter.
//                  It is only written while sched_ext has nothing under way with it: it sleeps, is on no DSQ and no runnable list, and is
//                  of the ext class by its own policy.
class KernelOp {
 public:
  // Nodes of the process list and of threads that are looked at for a task.
  static constexpr std::uint64_t kMaxTaskNodes = 65'536;
  // Of all values of a read together.
  static constexpr std::size_t kMaxReadBytes = (std::size_t{1} << 20) - 4096;
  static constexpr std::uint64_t kLowestKva = 0xff00'0000'0000'0000;

  // `tables`: a Kernel of this guest, of any instant of this boot. What it and the others point to outlives the operation.
  static KernelOp resolve(KernelOpRequest request, const walkers::Kernel& tables, const LiveMemory& live, vmm::GuestRam& ram);

  // Once, by one thread.
  void apply() noexcept;

  // After apply(); without it nothing was done, and it says so.
  KernelReply reply() const;

  bool cold() const { return request_.mode == KernelOpRequest::Mode::kCold; }
  const KernelOpRequest& request() const { return request_; }

 private:
  // What has to hold of an object for an entry to be done: (number at `address` & mask) == expected, or != where `differs`.
  struct Condition {
    Kva address;
    std::uint8_t bytes = 0;
    std::uint64_t mask = ~std::uint64_t{0};
    std::uint64_t expected = 0;
    bool differs = false;
    const char* otherwise = "";  // why the entry fails when it does not
  };
  struct Place {
    Kva address;
    std::optional<Gpa> direct;  // where no page tables are asked
    std::uint32_t bytes = 0;
    std::size_t result = 0;  // of a read: where in results_
    std::size_t first_condition = 0, conditions = 0;
  };
  enum class Cause : std::uint8_t { none, unmapped, not_ram, condition };

  KernelOp(KernelOpRequest request, vmm::GuestRam& ram);
  Result<Place> resolve(const KernelOpEntry& entry, const walkers::Kernel& kernel);
  Result<Place> resolve(const vmm::wire::TaskTarget& target, std::uint32_t bytes, const walkers::Kernel& kernel);
  Cause apply(std::size_t index) noexcept;
  std::optional<Gpa> locate(const Place& place, std::uint64_t offset) const noexcept;
  bool holds(const Condition& condition) const noexcept;
  std::string explain() const;

  KernelOpRequest request_;
  vmm::GuestRam* ram_;
  std::optional<walkers::PageTables> tables_;
  std::vector<Place> places_;  // of the entries up to the first that cannot be resolved
  std::vector<Condition> conditions_;
  std::vector<std::byte> results_;
  std::string unresolved_;  // why entry places_.size() could not be

  bool applied_ = false;
  std::size_t done_ = 0;
  Cause cause_ = Cause::none;
  Kva failed_at_;
  const char* failed_condition_ = "";
};

// All three parts at once, while the guest runs.
KernelReply execute(KernelOpRequest request, const walkers::Kernel& tables, const LiveMemory& live, vmm::GuestRam& ram);

// The reply to an operation that is not done: the freeze failed, another capture is under way.
KernelReply refuse(const KernelOpRequest& request, std::string_view reason);

}  // namespace floe::freeze
