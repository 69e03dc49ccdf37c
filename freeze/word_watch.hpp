// Watches a few 32-bit words of a running guest by looking at them every few milliseconds: the end of the scheduler, a latch that a BPF
// program of the guest sets, and up to three kernel variables that somebody asked for. Where the vCPUs' debug registers work
// (vmm/probe.hpp), they tell when to look, and a write that leaves a variable as it was counts too.
//
//   WordWatch watch(ram, live, {.map = "probe_bp.bss", .variable = "error_latch"});
//   every second or so, on any thread:   auto places = WordWatch::find(tables, live, watch.latch_name(), watch.places());
//                    then on its own:    watch.adopt(std::move(places));
//   every few milliseconds:              if (const auto hits = watch.poll(); hits.any()) ...
//
// All but find() belongs to one thread. poll() is some loads from the mapping of RAM, with a page walk when a scheduler has come, and
// allocates nothing; so do the others that a capture may call while the guest stands still (exit_kind(), confirms_failure()).
//
// A failure: scx_sched.exit_kind of the scheduler at scx_root (the variable scx_exit_kind in kernels without) is in the error class, 1024
// and above. It is so only until the kernel begins to disable the scheduler, which sets it to "done" (scx_disable_workfn() in
// kernel/sched/ext.c) and keeps the kind in scx_exit_info.kind; that one lasts as long as the scheduler does, some 100 ms, and is what is
// seen as a rule. A scheduler that replaces another is looked at from the second poll on, and what was seen of the other is forgotten.
//
// Nothing that was found once is believed for good: a word that seems to have hit is translated anew, and has to be where it was, in the
// map it was in, before that counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "freeze/latch_name.hpp"
#include "freeze/snapshot_memory.hpp"
#include "vmm/debug_registers.hpp"
#include "vmm/ram.hpp"
#include "walkers/field.hpp"
#include "walkers/kernel.hpp"
#include "walkers/page_tables.hpp"

namespace floe::freeze {

inline constexpr std::uint32_t kErrorExitKind = 1024;  // SCX_EXIT_ERROR
inline constexpr unsigned kMaxUserWatches = 3;

// How a word's change is noticed.
enum class WatchMethod : std::uint8_t { polled, hardware };
std::string_view to_string(WatchMethod method);

enum class LatchState : std::uint8_t { not_resolved, out_of_bounds, not_triggered, triggered };
std::string_view to_string(LatchState state);

// Where the words of a kernel lie. Made by WordWatch::find().
struct WordPlaces {
  std::shared_ptr<const walkers::Types> types;  // of the kernel this is about
  Gpa root;                                     // of its page tables
  bool five_levels = false;

  // The scheduler: through a pointer, or a variable of its own.
  std::optional<Kva> scx_root, exit_kind, exit_info;  // variables
  std::optional<walkers::Field> sched_exit_kind, sched_exit_info, info_kind;

  struct Latch {
    Kva map;
    std::uint32_t id = 0;                    // of the map
    std::optional<std::uint32_t> id_offset;  // in struct bpf_map
    std::uint64_t offset = 0;                // of the variable in the map's value
    Kva word;
    bool out_of_bounds = false;  // the map ends before the variable does
  };
  std::optional<Latch> latch;
  std::optional<std::string> scheduler_problem, latch_problem;  // why it could not be found
};

class WordWatch {
 public:
  // All outlive it. `hardware`: null where debug registers do not fire; slot 0 is for the scheduler, the others for the variables.
  WordWatch(const vmm::GuestRam& ram, const LiveMemory& live, LatchName latch = {}, vmm::DebugRegisters* hardware = nullptr);
  ~WordWatch();
  WordWatch(const WordWatch&) = delete;
  WordWatch& operator=(const WordWatch&) = delete;

  // Looks for the words in the running guest; `last`, the places of the last time, saves work. Some tens of microseconds, milliseconds when
  // the latch's map is new. `tables`: a Kernel of this guest, of any instant of this boot.
  static WordPlaces find(const walkers::Kernel& tables, const LiveMemory& live, const LatchName& latch,
                         std::shared_ptr<const WordPlaces> last = nullptr);
  void adopt(WordPlaces places);
  std::shared_ptr<const WordPlaces> places() const { return places_; }
  const LatchName& latch_name() const { return latch_name_; }

  struct Hits {
    bool failure = false;    // of the scheduler, until clear_failure() or another scheduler comes
    bool latch = false;      // the latch is set now
    std::uint8_t users = 0;  // bit n: the word of slot n has changed, until release(n)
    bool any() const { return failure || latch || users != 0; }
  };
  Hits poll() noexcept;

  // The kind that made poll() report a failure.
  std::optional<std::uint32_t> failure_kind() const { return failure_ ? std::optional(failure_->kind) : std::nullopt; }
  void clear_failure() { failure_.reset(); }

  // Whose end is watched: nobody's, that of the scheduler which is attached now, or another one has come and the next polls will bind it.
  // In kernels without scx_root, which do not tell, what is attached counts as bound.
  enum class Scheduler : std::uint8_t { none, bound, changing };
  Scheduler scheduler() const noexcept;

  // How the scheduler that is attached now ends, read anew: 0 while it does not. Nothing when there is none.
  std::optional<std::uint32_t> exit_kind() const noexcept;
  LatchState latch() const { return latch_state_; }
  std::uint32_t latch_value() const noexcept { return latch_value_; }  // that triggered it
  bool latch_was_out_of_bounds() const { return latch_was_out_of_bounds_; }

  // Whether a failure that was seen is to be captured, asked when the guest stands still: it can still be read, or the latch is set and was
  // never out of bounds. Otherwise it was a scheduler that left in good order, or has left no trace.
  bool confirms_failure() noexcept;

  // Watches the kernel variable's first four bytes: a value other than now (any write, by hardware) is a hit, once. Returns its slot.
  // Errors: all slots are taken; no such symbol; it is no address that the kernel could write to (a per-CPU variable has one address a
  // CPU), or not a multiple of 4; it is not mapped.
  Result<unsigned> watch(std::string_view symbol, const walkers::Kernel& tables);
  void release(unsigned slot);  // also when it has not fired
  struct UserWord {
    std::string symbol;
    Kva address;
    std::uint32_t before = 0, after = 0;  // the value when it was registered; the one that was a hit
    WatchMethod method = WatchMethod::polled;
    bool hit = false;
  };
  const std::optional<UserWord>& user(unsigned slot) const { return users_[slot].word; }
  unsigned users() const;  // slots taken

  // How the scheduler is watched: by hardware as long as no vCPU was refused its debug registers. A latch is polled, always: there are four
  // registers.
  WatchMethod method() const;

 private:
  struct Failure {
    std::uint64_t scheduler = 0;
    std::uint32_t kind = 0;
  };
  struct Slot {
    std::optional<UserWord> word;
    const std::byte* host = nullptr;
  };

  const std::byte* host_of(Kva address, std::uint64_t bytes) const noexcept;
  bool is_mapped(Kva address) const noexcept;
  std::optional<std::uint32_t> load_at(Kva address) const noexcept;
  std::optional<std::uint64_t> load_pointer(Kva address) const noexcept;
  std::uint32_t kind_of(std::uint32_t exit_kind, std::optional<Kva> exit_info) const noexcept;
  void poll_scheduler() noexcept;
  void poll_variable() noexcept;
  void poll_latch() noexcept;
  void poll_user(unsigned number) noexcept;
  void watch_by_hardware(std::size_t slot, Kva address) noexcept;
  LatchState read_latch() const noexcept;

  const vmm::GuestRam& ram_;
  const LiveMemory& live_;
  const LatchName latch_name_;
  vmm::DebugRegisters* const hardware_;
  std::shared_ptr<const WordPlaces> places_;

  // Host addresses of the words, as they were when last translated.
  const std::byte* scx_root_ = nullptr;
  const std::byte* exit_kind_ = nullptr;
  const std::byte* latch_ = nullptr;
  std::uint32_t latch_value_ = 0;
  std::uint64_t scheduler_ = 0;  // whose exit_kind that is; 0: of none

  std::optional<Failure> failure_;
  LatchState latch_state_ = LatchState::not_resolved;
  bool latch_was_out_of_bounds_ = false;
  std::array<Slot, kMaxUserWatches> users_;
};

}  // namespace floe::freeze
