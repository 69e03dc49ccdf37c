// one_instant run FLAGS of floe run...: the failure dump of one instant, from the guest as it stands frozen and from the ring's snapshot.
//
// With --host tcg this is `floe run`, which takes the program that it is part of into the outer machine. There it boots the guest, waits
// until COMMAND prints "floe: now", and takes a snapshot. While that one holds the guest, another thread makes the dump of the guest's RAM
// where it lies (frozen.json). A second later comes a second snapshot, and then the dump of the first one as the ring still has it
// (ring.json). Both snapshots are kept, as files and so as cores for `floe dump`, whose dumps one_instant.py compares with these two.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/link.hpp"
#include "cli/outer.hpp"
#include "cli/run_options.hpp"
#include "freeze/core_export.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/failure_dump.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/snapshot_memory.hpp"
#include "freeze/snapshotter.hpp"
#include "vmm/boot.hpp"
#include "vmm/cpuid.hpp"
#include "vmm/pc.hpp"

using namespace floe;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view kNow = "floe: now";
constexpr auto kParking = 10s;

cli::RunOptions parse_options(std::vector<std::string> words) {
  cli::RunOptions options;
  const auto split = cli::split_words(words, options);
  if (!split) throw std::runtime_error(split.error().message);
  cli::Flags flags("", "one_instant");
  cli::add_run_flags(flags, options);
  if (flags.parse(std::move(words)) || !options.inside) throw std::runtime_error("one_instant: run it with --host tcg");
  return options;
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// What both dumps of this program are made with, and `floe dump --deadline 0 --max-entries 0`.
freeze::dump::CollectOptions everything(const walkers::bpf::CastAnalysis& casts) {
  freeze::dump::CollectOptions options;
  options.deadline = 0s;
  options.max_entries = 0;
  options.casts = &casts;
  return options;
}

std::string dump_of(const walkers::Memory& memory, const freeze::dump::CollectOptions& options) {
  walkers::OpenOptions how;
  how.cr3 = options.cpus.front().cr3();
  const auto kernel = value_of(walkers::Kernel::open(memory, how));
  return freeze::dump::to_json(freeze::dump::collect(kernel, options));
}

// What time it is in a pause, in ns: for the host, by kvmclock, and by the TSC of each vCPU.
struct Clocks {
  std::uint64_t host = 0, kvmclock = 0;
  std::array<std::uint64_t, 2> tsc{};
};

Clocks clocks_of(vmm::Vm& vm) {
  Clocks clocks{.host = static_cast<std::uint64_t>(vmm::Clock::now().time_since_epoch().count())};
  kvm_clock_data kvmclock{};
  if (::ioctl(vm.fd(), KVM_GET_CLOCK, &kvmclock) == 0) clocks.kvmclock = kvmclock.clock;
  for (unsigned i = 0; i < std::min<std::size_t>(vm.cpus(), clocks.tsc.size()); ++i) {
    vmm::kvm::MsrTable tsc{.count = 1};
    tsc.entries[0].index = 0x10;
    const int khz = ::ioctl(vm.vcpu(i).fd(), KVM_GET_TSC_KHZ, 0);
    if (khz > 0 && ::ioctl(vm.vcpu(i).fd(), vmm::kvm::kGetMsrs, &tsc) == 1)
      clocks.tsc[i] = static_cast<std::uint64_t>(static_cast<double>(tsc.entries[0].data) * 1e6 / khz);
  }
  return clocks;
}

std::string json_of(const Clocks& clocks) {
  return fmt::format(R"({{"host": {}, "kvmclock": {}, "tsc": [{}]}})", clocks.host, clocks.kvmclock, fmt::join(clocks.tsc, ", "));
}

// Reads the guest in the pause of a snapshot. To the snapshotter it is a device whose state is saved there; the thread that holds the guest
// waits, and a thread of its own, which may do what it likes, reads.
class FrozenGuest {
 public:
  FrozenGuest(vmm::Vm& vm, const walkers::bpf::CastAnalysis& casts) : vm_(vm), casts_(casts), reader_([this] { serve(); }) {}
  ~FrozenGuest() {
    tell(kOver);
    reader_.join();
  }
  void ask() { asked_ = true; }
  std::size_t save() {
    clocks_[snapshots_++] = clocks_of(vm_);
    if (!std::exchange(asked_, false)) return 0;
    tell(kRead);
    turn_.wait(kRead);
    return 0;
  }
  const std::string& json() const { return json_; }
  std::string clocks() const { return fmt::format("[{}, {}]", json_of(clocks_[0]), json_of(clocks_[1])); }

 private:
  enum Turn { kIdle, kRead, kOver };
  void tell(Turn turn) {
    turn_.store(turn);
    turn_.notify_all();
  }
  void serve() {
    while (turn_.wait(kIdle), turn_.load() == kRead) {
      try {
        read();
      } catch (const std::exception& error) {
        json_ = fmt::format("{{\"failed\": \"{}\"}}", error.what());
      }
      tell(kIdle);
    }
  }
  void read() {
    if (!vm_.await_states(vmm::Clock::now() + kParking)) throw std::runtime_error("a vCPU did not park");
    auto options = everything(casts_);
    options.capture.source = "guest";
    for (unsigned i = 0; i < vm_.cpus(); ++i) options.cpus.push_back(freeze::registers_of(i, vm_.vcpu(i).state()));
    const freeze::LiveMemory memory(vm_.ram());
    json_ = dump_of(memory, options);
  }

  vmm::Vm& vm_;
  const walkers::bpf::CastAnalysis& casts_;
  bool asked_ = false;
  std::array<Clocks, 2> clocks_;
  std::size_t snapshots_ = 0;
  std::string json_;
  std::atomic<Turn> turn_{kIdle};
  std::thread reader_;
};

std::string dump_of_ring(const freeze::SnapshotRing& ring, const freeze::RamLayout& layout, const walkers::bpf::CastAnalysis& casts) {
  const auto view = ring.view(0);
  auto options = everything(casts);
  options.capture.source = "snapshot";
  for (const auto& vcpu : view.machine().vcpus) options.cpus.push_back(freeze::registers_of(vcpu));
  const freeze::RingMemory memory(view, layout);
  return dump_of(memory, options);
}

// The guest, as far as this program needs one: it boots, and says something over its ports.
class Guest {
 public:
  Guest(const cli::RunOptions& options, cli::RunFolder& folder) : options_(options), folder_(folder) {
    kernel_ = value_of(vmm::KernelImage::open(options.kernel));
    initrd_ = value_of(read_file(options.inside->initrd));
    vm_ = value_of(vmm::Vm::create({.cpus = options.cpus, .memory_bytes = options.memory_bytes()}));
    pc_ = value_of(vmm::Pc::create(
        *vm_,
        {.serial_output = [](std::span<const std::byte>) {}, .console_wake = [] {}, .power = [this](vmm::PowerEvent) { ended_ = true; }}));
    const std::string words = fmt::format("console=ttyS0 quiet panic=-1 {}", vmm::words_for_kernel());
    value_of(vmm::load_linux(vm_->ram(), {&kernel_, initrd_, words, options.cpus}));
    value_of(vmm::set_entry_registers(vm_->vcpu(0).fd(), kernel_));
  }
  ~Guest() { vm_->stop(); }

  void start() {
    vm_->start([this](const vmm::VcpuEvent&) { ended_ = true; });
  }
  // Until COMMAND said it is time, at the latest after what --boot-timeout and --duration add up to.
  engine::task<> until_now() {
    const auto limit = vmm::Clock::now() + options_.boot_timeout + options_.duration;
    while (said_.find(kNow) == said_.npos) {
      if (ended_ || vmm::Clock::now() > limit) co_return Error(0, fmt::format("the guest never said '{}'", kNow));
      const auto slept = co_await engine::sleep_for(20ms);
      if (!slept) co_return slept.failure();
      listen();
    }
    co_return engine::ok;
  }
  vmm::Vm& vm() { return *vm_; }
  vmm::Pc& pc() { return *pc_; }

 private:
  void listen() {
    pc_->console().take(vmm::VirtioConsole::kConsolePort, bytes_);
    folder_.append(cli::artefact::kConsole, bytes_);
    pc_->console().take(vmm::VirtioConsole::kTlvPort, bytes_);
    wire_.feed(bytes_);
    while (const auto frame = wire_.next()) {
      if (frame->type == vmm::wire::kHello) folder_.guest_said_hello();
      if (frame->type == vmm::wire::kSchedulerOut || frame->type == vmm::wire::kSchedulerErr)
        folder_.append(cli::artefact::kScheduler, frame->payload);
      if (frame->type != vmm::wire::kWorkloadOut && frame->type != vmm::wire::kWorkloadErr) continue;
      folder_.append(cli::artefact::kWorkload, frame->payload);
      said_.append(reinterpret_cast<const char*>(frame->payload.data()), frame->payload.size());
    }
    pc_->console().service();
  }

  const cli::RunOptions& options_;
  cli::RunFolder& folder_;
  vmm::KernelImage kernel_;
  std::vector<std::byte> initrd_;
  std::unique_ptr<vmm::Vm> vm_;
  std::unique_ptr<vmm::Pc> pc_;
  vmm::wire::Decoder wire_;
  std::vector<std::byte> bytes_;
  std::string said_;
  std::atomic<bool> ended_{false};
};

struct Series {
  Series(Guest& guest, FrozenGuest& frozen, std::uint64_t bytes) : layout(value_of(freeze::RamLayout::of(guest.vm().ram()))) {
    vmm::Vm& vm = guest.vm();
    const freeze::SnapshotterOptions defaults;
    store = value_of(
        freeze::PageStore::create({.byte_limit = bytes + 2 * defaults.staging_pages * kPageBytes, .zstd_level = 1, .hash = nullptr}));
    ring = std::make_unique<freeze::SnapshotRing>(store,
                                                  freeze::SnapshotRing::Options{.pages = layout.pages(), .depth = 2, .byte_limit = bytes});
    auto source = value_of(freeze::choose_dirty_source(vm.ram(), {.kvm_fd = vm.kvm_fd(), .vm_fd = vm.fd(), .only = {}}));
    freeze::SnapshotterOptions how = defaults;
    how.rendezvous_limit = kParking;
    std::vector<freeze::SavedDevice> devices;
    devices.push_back({"frozen-guest", 1, [&frozen](std::span<std::byte>) { return frozen.save(); }});
    snapshotter = value_of(freeze::Snapshotter::create(vm, *ring, store, std::move(source.source), std::move(devices), how));
  }
  engine::task<> take(std::uint64_t tick) {
    const auto taken = co_await snapshotter->take(tick, pool);
    if (!taken) co_return taken.failure();
    if (taken->result != freeze::TakeResult::kTaken || !taken->meta.whole) co_return Error(0, "not taken: " + taken->reason);
    co_return engine::ok;
  }

  freeze::RamLayout layout;
  engine::worker_pool pool{1};
  std::shared_ptr<freeze::PageStore> store;
  std::unique_ptr<freeze::SnapshotRing> ring;
  std::unique_ptr<freeze::Snapshotter> snapshotter;
};

void leave(Series& series, const FrozenGuest& frozen, const walkers::bpf::CastAnalysis& casts, cli::RunFolder& folder) {
  const std::string ring = dump_of_ring(*series.ring, series.layout, casts);
  value_of(folder.write_whole("frozen.json", as_bytes(frozen.json())));
  value_of(folder.write_whole("clocks.json", as_bytes(frozen.clocks())));
  value_of(folder.write_whole("ring.json", as_bytes(ring)));
  const auto sink = folder.sink(cli::artefact::kSnapshots);
  freeze::KeptWriter writer(*series.ring, series.layout, *sink);
  value_of(writer.run());
}

engine::task<> one_instant(const cli::RunOptions& options, cli::link::LinkFolder& folder) {
  const auto casts = walkers::bpf::CastAnalysis::of_file(value_of(read_file(options.inside->scheduler)));
  Guest guest(options, folder);
  FrozenGuest frozen(guest.vm(), casts);
  Series series(guest, frozen, options.effective_ring_bytes());
  guest.start();
  const auto said = co_await guest.until_now();
  if (!said) co_return said.failure();
  frozen.ask();
  const auto first = co_await series.take(1);
  if (!first) co_return first.failure();
  const auto slept = co_await engine::sleep_for(1s);
  if (!slept) co_return slept.failure();
  const auto second = co_await series.take(2);
  if (!second) co_return second.failure();
  const auto work = [&] { leave(series, frozen, casts, folder); };
  const auto left = co_await series.pool.run(work);
  if (!left) co_return left.failure();
  co_return engine::ok;
}

engine::task<> run(const cli::RunOptions& options, cli::link::LinkFolder& folder) {
  engine::scope writing("run folder", engine::errors::collect);
  auto serving = engine::shielded(folder.serve());
  writing.spawn(std::move(serving), "run folder");
  const auto done = co_await one_instant(options, folder);
  folder.close();
  const auto written = co_await writing.join();
  (void)written;
  if (!done) co_return done.failure();
  co_return engine::ok;
}

cli::Verdict inside(std::vector<std::string> words) {
  const auto options = parse_options(std::move(words));
  const auto loop = value_of(engine::loop::create());
  const auto folder = value_of(cli::link::LinkFolder::open(options.out));
  cli::Verdict verdict;
  try {
    const auto ended = loop->run(run(options, *folder), "one instant");
    if (!ended) verdict = {cli::Exit::kCheckFailed, ended.is_error() ? ended.error().message : "cancelled"};
  } catch (const std::exception& error) {
    verdict = {cli::Exit::kCheckFailed, error.what()};
  }
  value_of(folder->send_verdict(verdict));
  return verdict;
}

}  // namespace

int main(int argc, char** argv) {
  if (::getpid() == 1 && std::strcmp(argv[0], "/init") == 0) cli::outer_init();
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "run") words.erase(words.begin());
  try {
    if (std::find(words.begin(), words.end(), "--inside-initrd") != words.end()) return cli::finish(inside(std::move(words)));
    for (const cli::Command& command : cli::commands())
      if (std::string_view(command.name) == "run") return cli::finish(command.run(std::move(words)));
    return cli::finish({cli::Exit::kBug, "there is no floe run"});
  } catch (const std::exception& error) {
    return cli::finish({cli::Exit::kBug, error.what()});
  }
}
