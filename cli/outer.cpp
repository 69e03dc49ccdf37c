#include "cli/outer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/duration.hpp"
#include "base/file.hpp"
#include "vmm/initramfs.hpp"
#include "vmm/xz.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;

constexpr int kLinkFd = 3;       // QEMU's end of the link
constexpr int kInitramfsFd = 4;  // the outer initramfs
constexpr int kSignalsFd = 5;    // QEMU's end of the port for signals
constexpr std::size_t kConsoleTail = 4096;
constexpr auto kOuterBoot = 120s;  // QEMU start to the inner floe's first word; 4 s on an idle machine
constexpr auto kNudge = 250ms;
constexpr auto kOuterGrace = 120s;  // beyond the run's own times, for packing up

// Rounded up: a short time never becomes 0, which would be no limit.
std::string seconds(std::chrono::nanoseconds t) {
  return fmt::format("{}us", std::chrono::ceil<std::chrono::microseconds>(t).count());
}

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

Result<UniqueFd> memory_file(std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create("floe-outer-initramfs", MFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "memfd_create");
  const auto written = write_fully(fd.get(), bytes, "the outer machine's initramfs");
  if (!written) return fail(written.error());
  return fd;
}

// Moves a descriptor out of the way of the fixed ones.
UniqueFd above_fixed(UniqueFd fd) {
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 10));
}

// A line to the outer machine: `ours`, and QEMU's end of it.
Result<UniqueFd> connect(UniqueFd& ours) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno(errno, "socketpair for the outer machine");
  ours.reset(pair[0]);
  return above_fixed(UniqueFd(pair[1]));
}

struct QemuFds {
  int link, signals, initramfs, console;
};

// In the child of fork(): only async-signal-safe calls.
[[noreturn]] void become_qemu(pid_t parent, const QemuFds& fds, char* const* argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);  // Ctrl-C on the terminal is floe's to handle
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(fds.console, STDOUT_FILENO);
  ::dup2(fds.console, STDERR_FILENO);
  ::dup2(fds.link, kLinkFd);
  ::dup2(fds.initramfs, kInitramfsFd);
  ::dup2(fds.signals, kSignalsFd);
  ::syscall(SYS_close_range, kSignalsFd + 1, ~0u, 0);
  ::execv(argv[0], argv);
  ::_exit(127);
}

}  // namespace

struct OuterRun::Trip {
  UniqueFd socket;   // our end of the link
  UniqueFd signals;  // our end of the port for signals
  UniqueFd console;  // what QEMU and the outer kernel print
  UniqueFd process;  // pidfd
  pid_t pid = -1;
  int status = 0;
  bool gone = false;
  std::string console_tail;
  std::string overdue;  // why it was killed, when one of its limits was over
  std::unique_ptr<link::LinkServer> link;

  void kill() {
    if (!gone && pid > 0) ::kill(pid, SIGKILL);
  }
  void give_up(std::string why) {
    if (overdue.empty()) overdue = std::move(why);
    kill();
  }
  ~Trip() {
    kill();
    if (!gone && pid > 0) ::waitpid(pid, &status, 0);
  }
};

OuterRun::OuterRun(const RunPlan& plan, const HostFacts& host, RunFolder& folder) : plan_(plan), host_(host), folder_(folder) {}
OuterRun::~OuterRun() = default;

void OuterRun::interrupt(int signal_number) {
  signals_.post(signal_number);
}

std::vector<std::string> OuterRun::inner_arguments() const {
  const RunOptions& o = plan_.options;
  std::vector<std::string> args = {"floe",
                                   "run",
                                   "--host",
                                   "kvm",
                                   "--kernel",
                                   "/floe/kernel",
                                   "--inside-initrd",
                                   "/floe/initrd",
                                   "--inside-retries",
                                   std::to_string(retries_),
                                   "--inside-kernel",
                                   plan_.kernel.path,
                                   "--cpus",
                                   std::to_string(o.cpus),
                                   "--memory",
                                   std::to_string(o.memory_mib),
                                   "--duration",
                                   seconds(o.duration),
                                   "--boot-timeout",
                                   seconds(o.boot_timeout),
                                   "--snapshot-hz",
                                   fmt::format("{}", o.snapshot_hz),
                                   "--periodic",
                                   std::to_string(o.periodic),
                                   "--ring-depth",
                                   std::to_string(o.ring_depth),
                                   "--ring-bytes",
                                   std::to_string(o.effective_ring_bytes()),
                                   "--dump-deadline",
                                   seconds(o.dump_deadline),
                                   "--out",
                                   folder_.path()};
  if (!plan_.scheduler_file.empty()) args.insert(args.end(), {"--inside-scheduler", "/floe/scheduler"});
  if (!plan_.scenario.steps.empty()) args.insert(args.begin() + 2, {"/floe/scenario.json", "--inside-scenario", plan_.options.scenario});
  if (!o.append.empty()) args.push_back("--append=" + o.append);
  if (!o.latch.empty()) args.push_back("--latch=" + o.latch);
  if (o.keep_snapshots) args.push_back("--keep-snapshots");
  if (o.deaf_port != 0) args.insert(args.end(), {"--test-deaf-port", std::to_string(o.deaf_port)});
  if (o.progress) args.push_back("--inside-progress");
  if (o.json) args.push_back("--json");
  if (o.quiet) args.push_back("--quiet");
  if (!o.scheduler.empty()) {
    args.push_back("--scheduler");
    args.insert(args.end(), o.scheduler.begin(), o.scheduler.end());
  }
  if (!o.command.empty()) {
    args.push_back("--");
    args.insert(args.end(), o.command.begin(), o.command.end());
  }
  return args;
}

Result<std::vector<std::byte>> OuterRun::pack() const {
  vmm::Initramfs archive;
  archive.add_device("/dev/console", S_IFCHR | 0600, 5, 1);
  const std::string self = "/proc/self/exe";
  std::array<char, 4096> path{};
  const auto length = ::readlink(self.c_str(), path.data(), path.size() - 1);
  if (length <= 0) return fail_errno(errno, self);
  const std::string program(path.data(), static_cast<std::size_t>(length));
  const auto added = archive.add_program(program);
  if (!added) return fail(Error(added.error()).within("packing floe for the outer machine"));
  archive.add_symlink("/init", program);
  for (std::size_t i = 0; i < kernel_.modules.size(); ++i) {
    auto module = read_file(kernel_.modules[i]);
    if (!module) return fail(std::move(module.error()));
    if (kernel_.modules[i].ends_with(".xz")) {
      auto unpacked = vmm::unpack_xz(*module);
      if (!unpacked) return fail(std::move(unpacked.error()).within(kernel_.modules[i]));
      module = std::move(unpacked);
    }
    archive.add_file(fmt::format("/floe/modules/{:02}.ko", i), *module, 0600);
  }
  archive.add_file("/floe/kernel", plan_.kernel.bytes, 0600);
  archive.add_file("/floe/initrd", plan_.initrd, 0600);
  if (!plan_.scheduler_file.empty()) archive.add_file("/floe/scheduler", plan_.scheduler_file, 0600);
  if (!plan_.scenario.steps.empty()) {
    const auto scenario = read_file(plan_.options.scenario);
    if (!scenario) return fail(scenario.error());
    archive.add_file("/floe/scenario.json", *scenario, 0600);
  }
  std::string args;
  for (const std::string& arg : inner_arguments()) args += arg + '\0';
  archive.add_file("/floe/args", as_bytes(args), 0600);
  return archive.finish();
}

std::vector<std::string> OuterRun::qemu_arguments(const Trip&) const {
  const std::uint64_t mib = std::max<std::uint64_t>(3072, plan_.options.memory_mib + (plan_.options.effective_ring_bytes() >> 20) + 1024);
  // One outer CPU is as fast as two here and leaves no race between emulated CPUs. QEMU 7.2 loses the flags of a cmpxchg16b that an
  // interrupt follows: the outer kernel must do without it, as the guest does.
  return {host_.qemu,
          "-M",
          "q35",
          "-accel",
          "tcg,thread=single",
          "-cpu",
          "max,cx16=off",
          "-smp",
          "1",
          "-m",
          std::to_string(mib),
          "-nodefaults",
          "-no-reboot",
          "-display",
          "none",
          "-kernel",
          kernel_.image,
          "-initrd",
          fmt::format("/proc/self/fd/{}", kInitramfsFd),
          "-append",
          // Its test of the timer counts ticks against the CPU's clock: where the host is busy QEMU's come too late, and it panics.
          "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check",
          "-chardev",
          "stdio,id=console,signal=off",
          "-serial",
          "chardev:console",
          "-chardev",
          fmt::format("socket,id=link,fd={}", kLinkFd),
          "-device",
          "virtio-serial-pci",
          "-device",
          fmt::format("virtserialport,chardev=link,name={}", link::kPortName),
          "-chardev",
          fmt::format("socket,id=signals,fd={}", kSignalsFd),
          "-device",
          fmt::format("virtserialport,chardev=signals,name={}", link::kSignalPortName)};
}

Result<> OuterRun::start(Trip& trip) {
  auto link_end = connect(trip.socket);
  if (!link_end) return fail(std::move(link_end.error()));
  auto signals_end = connect(trip.signals);
  if (!signals_end) return fail(std::move(signals_end.error()));
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return fail_errno(errno, "pipe for the outer machine's console");
  trip.console.reset(pipe[0]);
  const UniqueFd console = above_fixed(UniqueFd(pipe[1]));
  auto file = memory_file(initramfs_);
  if (!file) return fail(std::move(file.error()));
  const UniqueFd initramfs = above_fixed(std::move(*file));

  std::vector<std::string> arguments = qemu_arguments(trip);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  trip.pid = ::fork();
  if (trip.pid < 0) return fail_errno(errno, "starting QEMU");
  const QemuFds fds{link_end->get(), signals_end->get(), initramfs.get(), console.get()};
  if (trip.pid == 0) become_qemu(parent, fds, argv.data());
  trip.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, trip.pid, 0)));
  if (!trip.process) return fail_errno(errno, "pidfd_open");
  trip.link = std::make_unique<link::LinkServer>(trip.socket.get(), folder_);
  return {};
}

engine::task<> OuterRun::read_console(Trip& trip) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto got = co_await engine::read(trip.console.get(), buffer);
    if (!got || *got == 0) break;
    const std::string_view text(reinterpret_cast<const char*>(buffer.data()), *got);
    folder_.append(artefact::kHostConsole, text);
    trip.console_tail += text;
    if (trip.console_tail.size() > kConsoleTail) trip.console_tail.erase(0, trip.console_tail.size() - kConsoleTail);
  }
  co_return engine::ok;
}

engine::task<> OuterRun::watch_process(Trip& trip) {
  const auto ended = co_await engine::poll(trip.process.get(), POLLIN);
  if (!ended) trip.kill();
  ::waitpid(trip.pid, &trip.status, 0);
  trip.gone = true;
  co_return engine::ok;
}

// The first signal is passed on, so that the inner floe writes what there is; before it is up there is nothing to write. It becomes a
// signal there, too: one that an inner floe sees while it waits for a vCPU.
engine::task<> OuterRun::stop_when_asked(Trip& trip) {
  const auto number = co_await signals_.receive();
  if (!number) co_return engine::ok;
  interrupted_ = *number;
  if (!trip.link->ready()) {
    trip.kill();
    co_return engine::ok;
  }
  const auto byte = static_cast<std::byte>(*number);
  const auto one = std::span(&byte, 1);
  const auto sent = co_await engine::write_all(trip.signals.get(), one);
  const auto waited = co_await engine::sleep_for(60s);
  if (!sent || waited) trip.kill();
  co_return engine::ok;
}

// QEMU sets and clears its CPU's pending interrupts without a lock, and so loses one now and then: the outer kernel's timer then stays
// pending, and everything stands still until something else interrupts.
engine::task<> OuterRun::keep_awake(Trip& trip) {
  for (;;) {
    const auto slept = co_await engine::sleep_for(kNudge);
    if (!slept) co_return engine::ok;
    trip.link->nudge();
  }
}

engine::task<> OuterRun::backstop(Trip& trip) {
  const auto booted = co_await engine::sleep_for(kOuterBoot);
  if (!booted) co_return engine::ok;
  if (!trip.link->ready()) {
    trip.give_up(fmt::format("the outer QEMU machine was not up after {}", format_duration(kOuterBoot)));
    co_return engine::ok;
  }
  const auto limit = plan_.options.boot_timeout + plan_.options.duration + kOuterGrace;
  const auto over = co_await engine::sleep_for(limit);
  if (over) trip.give_up(fmt::format("the outer QEMU machine was not done {} after its start", format_duration(kOuterBoot + limit)));
  co_return engine::ok;
}

// Counted in seconds in which floe itself ran: a floe that was stopped for a while has not heard anything either.
engine::task<> OuterRun::notice_silence(Trip& trip) {
  const auto limit = plan_.options.outer_silence;
  if (limit == 0ns) co_return engine::ok;
  for (auto silent = 0ns; silent < limit;) {
    const auto heard = trip.link->heard_bytes();
    const auto tick = std::min<std::chrono::nanoseconds>(1s, limit);
    const auto slept = co_await engine::sleep_for(tick);
    if (!slept) co_return engine::ok;
    silent = !trip.link->ready() || trip.link->heard_bytes() != heard ? 0ns : silent + tick;
  }
  trip.give_up(fmt::format("the outer QEMU machine was silent for {} (--outer-silence): its CPU stands still", format_duration(limit)));
  co_return engine::ok;
}

engine::task<std::string> OuterRun::ask(std::string request) {
  if (link_ == nullptr) co_return refusal("the run has not begun yet");
  auto asking = link_->ask(std::move(request));
  auto answer = co_await std::move(asking);
  co_return std::move(answer);
}

engine::task<> OuterRun::travel(Trip& trip) {
  link_ = trip.link.get();
  engine::scope watch("outer machine", engine::errors::collect);
  engine::scope limits("limits", engine::errors::collect);
  watch.spawn(trip.link->serve(), "link");
  watch.spawn(read_console(trip), "outer console");
  limits.spawn(stop_when_asked(trip), "signals");
  limits.spawn(backstop(trip), "backstop");
  limits.spawn(keep_awake(trip), "nudges");
  limits.spawn(notice_silence(trip), "silence");
  const auto ended = co_await watch_process(trip);
  link_ = nullptr;
  const auto drained = co_await watch.join();  // both end when QEMU's ends of socket and pipe are closed
  limits.request_stop();
  const auto stopped = co_await limits.join();
  (void)ended;
  (void)drained;
  (void)stopped;
  co_return engine::ok;
}

engine::task<Verdict> OuterRun::run() {
  const auto kernel = outer_kernel();
  if (!kernel) co_return Verdict{Exit::kHostCannot, kernel.error().message};
  kernel_ = *kernel;
  engine::worker_pool packers(1);
  for (;; ++retries_) {
    const auto packing = [this] { return pack(); };
    auto packed = co_await packers.run(packing);
    if (!packed) co_return Verdict{Exit::kHostCannot, packed.is_error() ? packed.error().message : "cancelled"};
    initramfs_ = std::move(*packed);
    Trip trip;
    const auto started = start(trip);
    if (!started) co_return Verdict{Exit::kHostCannot, started.error().message};
    const auto travelled = co_await travel(trip);
    if (travelled.is_error()) co_return Verdict{Exit::kBug, travelled.error().message};
    manifest_written_ = trip.link->verdict().has_value() && trip.link->manifest_written();
    if (trip.link->verdict()) {
      // An oops that no real CPU could have had says nothing about the guest: once more, with the evidence kept.
      const bool emulators_fault = trip.link->verdict()->code == Exit::kGuestPanic && trip.link->impossible_flags() && !trip.link->hello();
      if (!emulators_fault || retries_ > 0) co_return *trip.link->verdict();
      folder_.print(RunFolder::Stream::kErr, "floe: the guest died of EFLAGS that no CPU has: the emulator's fault; starting once more\n");
      const auto moved = co_await folder_.start_over();
      if (!moved) co_return *trip.link->verdict();
      continue;
    }
    if (interrupted_) co_return stopped_by(*interrupted_);
    const std::string why =
        fmt::format("{}; its last words: {}", trip.overdue.empty() ? "the outer QEMU machine ended without a result" : trip.overdue,
                    trip.console_tail.empty() ? "none" : last_line(trip.console_tail));
    if (trip.link->hello() || retries_ > 0) co_return Verdict{trip.overdue.empty() ? Exit::kHostCannot : Exit::kDeadline, why};
    folder_.print(RunFolder::Stream::kErr, "floe: " + why + "\nfloe: starting the outer machine once more\n");
  }
}

}  // namespace floe::cli
