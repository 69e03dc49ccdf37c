// A running guest that writes what it likes while its words are watched and its memory is read by request. The input is what happens, in
// turn: one of [words of the guest, or any of its bytes, get other values; the words are looked for; they are polled; a variable is
// watched; a watch is let go; a debug register tells; a kernel operation is asked for, as the guest's bytes]. What the watch says must fit
// together, whatever is in memory, and polls must not allocate.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/no_alloc.hpp"
#include "freeze/kernel_ops.hpp"
#include "freeze/word_watch.hpp"
#include "fuzz/input.hpp"
#include "fuzz/patched.hpp"
#include "tests/freeze/live_guest.hpp"
#include "tests/walkers/synthetic/bpf_scheduler.hpp"
#include "tests/walkers/synthetic/scx.hpp"
#include "vmm/requests.hpp"

using namespace floe;
using namespace floe::freeze;
namespace synthetic = floe::walkers::synthetic;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

constexpr const char* kSymbols[] = {"scx_root", "jiffies_64", "init_task", "scx_exit_kind", "runqueues", "no_such_symbol"};

// The words that the watch reads, beside all others.
struct Guest {
  Guest(const synthetic::SyntheticKernel& kernel, std::vector<Kva> read)
      : live(kernel), tables(live.open()), words(std::move(read)), pages(fuzz::pages_of(kernel.memory)) {}

  freeze::LiveGuest live;
  walkers::Kernel tables;
  std::vector<Kva> words;
  std::vector<Gpa> pages;
};

// With a scheduler in charge.
const Guest& attached() {
  static auto& scx = *new synthetic::ScxGuest();
  static const Guest* const guest = [] {
    scx.attach("fuzzed");
    return new Guest(scx.guest, {scx.guest.symbol("scx_root"), scx.sched + scx.guest.offset("scx_sched.exit_kind"),
                                 scx.sched + scx.guest.offset("scx_sched.exit_info")});
  }();
  return *guest;
}

// With a scheduler's maps, of which one holds the latch.
const Guest& latched() {
  static auto& scheduler = *new synthetic::Scheduler();
  static const Guest* const guest = [] {
    const auto& bpf = scheduler.guest;
    return new Guest(bpf.guest, {scheduler.bss + bpf.offset("bpf_array.value") + synthetic::Scheduler::Program::kArea,
                                 scheduler.bss + bpf.offset("bpf_map.id"), scheduler.bss + bpf.offset("bpf_map.value_size"),
                                 scheduler.bss + bpf.offset("bpf_map.btf"), scheduler.bss + bpf.offset("bpf_map.btf_value_type_id"),
                                 scheduler.btf + bpf.offset("btf.data"), scheduler.btf + bpf.offset("btf.data_size")});
  }();
  return *guest;
}

// Bytes of the guest that the input has changed: put back when it is over.
class Changes {
 public:
  explicit Changes(const Guest& guest) : guest_(guest) {}
  ~Changes() {
    for (const auto& [gpa, bytes] : done_) {
      std::vector<std::byte> before(bytes);
      guest_.live.guest.memory.read(gpa, before);
      guest_.live.ram->write(gpa, before);
    }
  }
  void make(Gpa gpa, std::span<const std::uint8_t> bytes) {
    const auto size = std::min<std::size_t>(bytes.size(), kPageBytes - gpa.value % kPageBytes);
    if (guest_.live.ram->write(gpa, std::as_bytes(bytes.first(size)))) done_.emplace_back(gpa, size);
  }

 private:
  const Guest& guest_;
  std::vector<std::pair<Gpa, std::size_t>> done_;
};

void check(const WordWatch& watch, const WordWatch::Hits& hits) {
  require(hits.failure == watch.failure_kind().has_value());
  require(!hits.failure || *watch.failure_kind() >= kErrorExitKind);
  require(hits.latch == (watch.latch() == LatchState::triggered));
  unsigned taken = 0;
  for (unsigned slot = 0; slot < kMaxUserWatches; ++slot) {
    const auto& word = watch.user(slot);
    taken += word ? 1 : 0;
    require((hits.users >> slot & 1) == (word && word->hit ? 1 : 0));
  }
  require(taken == watch.users());
}

void ask(const Guest& guest, std::span<const std::uint8_t> bytes) {
  auto request = vmm::wire::decode_kernel_op_request(std::as_bytes(bytes));
  if (!request || request->direction != KernelOpRequest::Direction::kRead) return;  // a write would outlive the input
  const auto reply = execute(std::move(*request), guest.tables, guest.live.live, *guest.live.ram);
  std::size_t read = 0;
  for (const auto& value : reply.values)
    if (const auto* of_bytes = std::get_if<std::vector<std::byte>>(&value)) read += of_bytes->size();
  require(read <= KernelOp::kMaxReadBytes && reply.success == reply.reason.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const Guest& guest = input.take<std::uint8_t>() % 2 == 0 ? attached() : latched();
  Changes changes(guest);
  vmm::DebugRegisters registers;
  vmm::DebugRegisters* const hardware = input.take<std::uint8_t>() % 2 == 0 ? nullptr : &registers;
  WordWatch watch(*guest.live.ram, guest.live.live, {.map = "my_sched.bss", .variable = "scx_area"}, hardware);
  const auto find = [&] { watch.adopt(WordWatch::find(guest.tables, guest.live.live, watch.latch_name(), watch.places())); };
  const auto poll = [&] {
    const NoAllocScope no_alloc;
    return watch.poll();
  };
  find();
  for (int turn = 0; turn < 24 && !input.empty(); ++turn) {
    switch (input.take<std::uint8_t>() % 8) {
      case 0: {
        const Kva word = guest.words[input.take<std::uint8_t>() % guest.words.size()];
        changes.make(guest.live.guest.physical(word), input.take_bytes(8));
        break;
      }
      case 1: {
        const Gpa page = guest.pages[input.take<std::uint8_t>() % guest.pages.size()];
        const auto offset = input.take<std::uint16_t>() % kPageBytes;
        changes.make(page + offset, input.take_bytes(input.take<std::uint8_t>() % 64u));
        break;
      }
      case 2:
        find();
        break;
      case 3:
        check(watch, poll());
        break;
      case 4:
        (void)watch.watch(kSymbols[input.take<std::uint8_t>() % std::size(kSymbols)], guest.tables);
        break;
      case 5:
        watch.release(input.take<std::uint8_t>() % kMaxUserWatches);
        break;
      case 6:
        registers.note(input.take<std::uint64_t>(), registers.requested());
        break;
      default:
        ask(guest, input.take_bytes(input.take<std::uint8_t>()));
        break;
    }
  }
  check(watch, poll());
  (void)watch.exit_kind();
  (void)watch.scheduler();
  if (watch.confirms_failure()) require(watch.exit_kind().value_or(0) >= kErrorExitKind || watch.latch() == LatchState::triggered);
  return 0;
}
