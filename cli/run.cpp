// `floe run`: boot a kernel, keep its last minute, tell how it ended.
#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/control.hpp"
#include "cli/flags.hpp"
#include "cli/guest_run.hpp"
#include "cli/host.hpp"
#include "cli/json.hpp"
#include "cli/kernels.hpp"
#include "cli/link.hpp"
#include "cli/outer.hpp"
#include "vmm/cpuid.hpp"
#include "vmm/elf_closure.hpp"
#include "vmm/guest_binary.hpp"
#include "vmm/initramfs.hpp"

namespace floe::cli {
namespace {

// `quiet` is not cosmetic: each console byte costs the guest two exits, a verbose boot seconds.
constexpr const char* kBaseCommandLine = "console=ttyS0 quiet panic=-1";

using Prepared = tl::expected<RunPlan, Verdict>;

tl::unexpected<Verdict> usage(const Error& error) {
  return tl::unexpected<Verdict>(Verdict{Exit::kUsage, error.message});
}

// With the programs of the scenario, so that its steps find them.
Result<std::vector<std::byte>> make_initrd(const RunOptions& options, const freeze::scenario::Scenario& scenario) {
  if (options.inside) return read_file(options.inside->initrd);
  std::vector<std::byte> base;
  if (!options.initrd.empty()) {
    auto given = read_file(options.initrd);
    if (!given) return fail(std::move(given.error()).within("initramfs"));
    base = std::move(*given);
  }
  vmm::GuestPlan plan;
  plan.scheduler = options.scheduler;
  plan.command = options.command;
  std::vector<std::string> add = options.add;
  for (const std::string& program : freeze::scenario::programs_of(scenario)) {
    const auto path = vmm::find_program(program);
    if (path)
      add.push_back(*path);
    else if (options.initrd.empty())
      return fail(Error(path.error()).within(scenario.file));
  }
  return vmm::guest_initramfs(plan, vmm::guest_init_binary(), add, base);
}

// A scenario ends by itself within this.
std::chrono::nanoseconds longest(const freeze::scenario::Scenario& scenario) {
  std::chrono::nanoseconds sum = std::chrono::seconds(10);
  for (const auto& step : scenario.steps) sum += step.deadline;
  return sum;
}

// The scheduler's executable. Empty where there is none, or only in an initramfs that was given: the failure dump can do without.
std::vector<std::byte> scheduler_file(const RunOptions& options) {
  std::string path;
  if (options.inside)
    path = options.inside->scheduler;
  else if (!options.scheduler.empty())
    path = vmm::find_program(options.scheduler.front()).value_or("");
  if (path.empty()) return {};
  auto file = read_file(path);
  return file ? std::move(*file) : std::vector<std::byte>();
}

// Reads and checks every input. Nothing is created yet, so a bad input leaves nothing behind.
Prepared prepare(RunOptions options) {
  const auto checked = check(options);
  if (!checked) return usage(checked.error());
  if (options.kernel.empty()) {
    const auto found = default_kernel();
    if (!found) return usage(found.error());
    options.kernel = *found;
  }
  RunPlan plan;
  auto kernel = vmm::KernelImage::open(options.kernel);
  if (!kernel) return usage(kernel.error());
  plan.kernel = std::move(*kernel);
  if (options.inside) plan.kernel.path = options.inside->kernel;
  if (!options.scenario.empty()) {
    auto scenario = freeze::scenario::read_scenario(options.scenario);
    if (!scenario) return usage(scenario.error());
    plan.scenario = std::move(*scenario);
    if (options.inside) plan.scenario.file = options.inside->scenario;
    if (!options.duration_given) options.duration = longest(plan.scenario);
  }
  auto initrd = make_initrd(options, plan.scenario);
  if (!initrd) return usage(initrd.error());
  plan.initrd = std::move(*initrd);
  plan.scheduler_file = scheduler_file(options);
  plan.command_line = kBaseCommandLine;
  if (const auto words = vmm::words_for_kernel(); !words.empty()) plan.command_line.append(" ").append(words);
  if (!options.append.empty()) plan.command_line += " " + options.append;
  if (plan.command_line.size() > plan.kernel.command_line_max)
    return usage(Error(fmt::format("--append is too long: this kernel takes {} bytes of command line", plan.kernel.command_line_max)));
  plan.nested = options.inside.has_value();
  plan.options = std::move(options);
  return plan;
}

// SIGINT and SIGTERM as events of the loop: the first asks for an orderly end, the second leaves at once. SIGUSR1 asks for a snapshot.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGUSR1}) ::sigaddset(&set_, number);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    fd_.reset(::signalfd(-1, &set_, SFD_CLOEXEC));
  }
  engine::task<> watch(std::function<void(int)> on_first, std::function<void()> on_snapshot) {
    for (bool first = true;;) {
      signalfd_siginfo info{};
      const auto got = co_await engine::read(fd_.get(), std::as_writable_bytes(std::span(&info, 1)));
      if (!got) co_return got.failure();
      const int number = static_cast<int>(info.ssi_signo);
      if (number == SIGUSR1) {
        on_snapshot();
        continue;
      }
      if (!std::exchange(first, false)) ::_exit(number == SIGTERM ? 143 : 130);
      on_first(number);
    }
  }
  // SIGINT or SIGTERM has come and was not looked at yet. Neither blocks nor allocates.
  static bool end_is_asked() {
    sigset_t pending;
    return ::sigpending(&pending) == 0 && (::sigismember(&pending, SIGINT) == 1 || ::sigismember(&pending, SIGTERM) == 1);
  }

 private:
  sigset_t set_{};
  UniqueFd fd_;
};

void write_manifest(RunFolder& folder, RunReport& report) {
  for (const std::string& error : folder.errors()) report.notes.push_back("not written: " + error);
  const std::string manifest = to_json(report);
  const auto written = folder.write_whole(artefact::kManifest, as_bytes(manifest));
  if (!written) report.verdict = worse(report.verdict, {Exit::kHostCannot, written.error().message});
}

void summarize(const RunReport& r, const RunPlan& plan, RunFolder& folder) {
  if (plan.options.json) {
    folder.print(RunFolder::Stream::kOut, to_json(r));
    return;
  }
  if (plan.options.quiet) return;
  std::string text;
  if (r.uts)
    text += fmt::format("floe: guest {} with {} tasks (read from its memory)\n", printable(r.uts->release),
                        r.tasks ? r.tasks->tasks.size() : 0);
  if (!r.pause_us.empty())
    text += fmt::format("floe: {} snapshots, {} skipped, {} in the ring ({:.1f} MiB); freeze window p50 {} us, max {} us\n",
                        r.snapshots.taken, r.snapshots.skipped, r.snapshots.kept, static_cast<double>(r.ring_parts.sum()) / 1048576,
                        percentile(r.pause_us, 50), percentile(r.pause_us, 100));
  if (!r.stuck.empty()) text += fmt::format("floe: {}\n", r.stuck);
  text += fmt::format("floe: results in {}\n", folder.path());
  folder.print(RunFolder::Stream::kErr, text);
}

// Who may ask something of a run that is under way: whoever opens its socket, and whoever sends SIGUSR1 (snapshots usr1-1, usr1-2, ...).
class Askers {
 public:
  Askers(RunFolder& folder, const RunOptions& options, RequestHandler handler)
      : folder_(folder), quiet_(options.quiet || options.json), handler_(std::move(handler)) {
    if (options.inside) return;  // asked over the link
    auto listening = ControlServer::listen(folder.path());
    if (listening)
      server_ = std::move(*listening);
    else
      tell("floe ctl cannot be used: " + listening.error().message);
  }

  engine::task<> serve() {
    if (!server_) co_return engine::ok;
    auto serving = server_->serve(handler_);
    const auto served = co_await std::move(serving);
    co_return served.failure();
  }
  void signalled(engine::scope& scope) { scope.spawn(snapshot(fmt::format("usr1-{}", ++signals_)), "SIGUSR1"); }

 private:
  engine::task<> snapshot(std::string name) {
    auto asking = handler_(request_for_snapshot(name));
    const auto answer = co_await std::move(asking);
    if (answer) tell(fmt::format("snapshot {}: {}", name, *answer));
    co_return engine::ok;
  }
  void tell(const std::string& text) {
    if (!quiet_) folder_.print(RunFolder::Stream::kErr, "floe: " + text + "\n");
  }

  RunFolder& folder_;
  bool quiet_;
  RequestHandler handler_;
  std::unique_ptr<ControlServer> server_;
  unsigned signals_ = 0;
};

// The run on this machine's own KVM.
engine::task<Verdict> run_here(const RunPlan& plan, RunFolder& folder, Signals& signals) {
  GuestRun run(plan, folder);
  run.give_up_rendezvous(Signals::end_is_asked);
  engine::scope watchers("signals", engine::errors::collect);
  GuestRun* const target = &run;
  const RequestHandler handler = [target](std::string request) { return target->answer(std::move(request)); };
  Askers askers(folder, plan.options, handler);
  auto on_signal = [target](int number) { target->interrupt(number); };
  auto on_snapshot = [&askers, &watchers] { askers.signalled(watchers); };
  watchers.spawn(signals.watch(on_signal, on_snapshot), "signals");
  watchers.spawn(askers.serve(), "control socket");
  if (auto* link = dynamic_cast<link::LinkFolder*>(&folder)) watchers.spawn(link->receive(handler), "requests from outside");
  const auto ended = co_await run.run();
  if (ended.is_error()) run.report().verdict = worse(run.report().verdict, {Exit::kBug, ended.error().message});
  write_manifest(folder, run.report());
  summarize(run.report(), plan, folder);
  watchers.request_stop();
  const auto stopped = co_await watchers.join();
  (void)stopped;
  co_return run.report().verdict;
}

// The run inside a QEMU machine.
engine::task<Verdict> run_outside(const RunPlan& plan, const HostFacts& host, RunFolder& folder, Signals& signals) {
  if (!plan.options.quiet) {
    const char* why = plan.options.host == HostMode::kTcg ? "as asked" : "this CPU has no VT-x/AMD-V";
    folder.print(RunFolder::Stream::kErr,
                 fmt::format("floe: {}: running inside a QEMU machine with an emulated CPU (--host tcg), some 20 times slower\n", why));
  }
  OuterRun outer(plan, host, folder);
  engine::scope watchers("signals", engine::errors::collect);
  OuterRun* const target = &outer;
  const RequestHandler handler = [target](std::string request) { return target->ask(std::move(request)); };
  Askers askers(folder, plan.options, handler);
  const auto on_signal = [target](int number) { target->interrupt(number); };
  const auto on_snapshot = [&askers, &watchers] { askers.signalled(watchers); };
  watchers.spawn(signals.watch(on_signal, on_snapshot), "signals");
  watchers.spawn(askers.serve(), "control socket");
  auto verdict = co_await outer.run();
  Verdict result = verdict ? *verdict : Verdict{Exit::kBug, verdict.is_error() ? verdict.error().message : "cancelled"};
  // The manifest, which comes from inside, cannot know of them.
  for (const std::string& error : folder.errors()) folder.print(RunFolder::Stream::kErr, "floe: not written: " + error + "\n");
  if (!outer.manifest_written()) {
    RunReport report = report_of(plan);
    report.verdict = result;
    report.host_mode = "tcg";
    report.host_retries = outer.retries();
    write_manifest(folder, report);
    summarize(report, plan, folder);
  }
  watchers.request_stop();
  const auto stopped = co_await watchers.join();
  (void)stopped;
  co_return std::move(result);
}

engine::task<Verdict> run_plan(const RunPlan& plan, const HostFacts& host, HostMode mode, RunFolder& folder, Signals& signals) {
  engine::scope writing("run folder", engine::errors::collect);
  auto serving = engine::shielded(folder.serve());
  writing.spawn(std::move(serving), "run folder");
  auto running = mode == HostMode::kTcg ? run_outside(plan, host, folder, signals) : run_here(plan, folder, signals);
  auto verdict = co_await std::move(running);
  folder.close();
  const auto written = co_await writing.join();
  (void)written;
  auto* const link = dynamic_cast<link::LinkFolder*>(&folder);
  if (link && verdict) (void)link->send_verdict(*verdict);
  if (!verdict) co_return verdict.failure();
  co_return *verdict;
}

Result<std::unique_ptr<RunFolder>> open_folder(const RunOptions& options) {
  if (options.inside) {
    auto linked = link::LinkFolder::open(options.out);
    if (!linked) return fail(std::move(linked.error()));
    return std::unique_ptr<RunFolder>(std::move(*linked));
  }
  auto local = LocalFolder::create(options.out.empty() ? default_out_path() : options.out);
  if (!local) return fail(std::move(local.error()));
  return std::unique_ptr<RunFolder>(std::move(*local));
}

Verdict run(std::vector<std::string> words) {
  RunOptions options;
  const auto split = split_words(words, options);
  if (!split) return {Exit::kUsage, split.error().message};
  Flags flags(
      "Boots a kernel in floe's own KVM machine, keeps a snapshot a second of its whole memory, and leaves a folder that tells the run.",
      "floe run");
  add_run_flags(flags, options);
  flags.footer(
      std::string(
          "Words behind -- are a COMMAND to run in the guest; its program and that program's libraries are packed from this machine.\n"
          "Every flag has an environment twin: FLOE_RING_DEPTH=10 is --ring-depth 10.\n\n") +
      kExitCodes);
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  options.duration_given = flags.given("--duration");
  if (!options.inside) options.progress = ::isatty(STDERR_FILENO) && !options.json && !options.quiet;
  auto plan = prepare(std::move(options));
  if (!plan) return plan.error();
  const HostFacts host = examine_host();
  const auto mode = choose_host(plan->options.host, host);
  if (!mode) return {Exit::kHostCannot, mode.error().message};
  Signals signals;
  auto loop = engine::loop::create();
  if (!loop) return {Exit::kHostCannot, loop.error().message};
  auto folder = open_folder(plan->options);
  if (!folder) return {Exit::kUsage, folder.error().message};
  const auto verdict = (*loop)->run(run_plan(*plan, host, *mode, **folder, signals), "run");
  if (verdict) return *verdict;
  return {Exit::kBug, verdict.is_error() ? verdict.error().message : "cancelled"};
}

const bool registered = register_command({"run", "boot a kernel and keep its last minute", run});

}  // namespace
}  // namespace floe::cli
