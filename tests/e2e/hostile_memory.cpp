// hostile_memory [--seconds N] [--seed S] [--round R] [--scheduler BIN] MEMORY: the failure dump of a recorded memory whose words lie.
//
// Round after round some of the words that a sound walk reads are changed (flipped_memory.hpp) and the whole dump is made of what is left:
// collected with a deadline, written as JSON, read again, written as text. A round fails when it crashes, hangs, takes longer than its
// deadline and a second, takes more memory than its bound, makes a walker throw, or writes JSON that cannot be read. They run in
// processes of their own, a few in each, so that one failure does not hide the next; --round repeats a single one in this process, for a
// debugger.
//
// Exit codes: 0 no round failed; 1 some did, each told by its number; 2 usage, or no kernel in the memory.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>

#include "base/file.hpp"
#include "cli/memory_source.hpp"
#include "freeze/dump/collect.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/dump/text_report.hpp"
#include "tests/e2e/flipped_memory.hpp"
#include "walkers/bpf/casts.hpp"

using namespace floe;
using hostile::FlippedMemory;
using hostile::Flips;
using hostile::WatchedMemory;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

constexpr auto kDeadline = std::chrono::seconds(1);
constexpr auto kPreparing = std::chrono::seconds(60);
constexpr double kLate = 2.0;                                 // s of CPU time for a walk: the deadline and a second
constexpr double kOutputLate = kSanitized ? 60.0 : 5.0;       // s for JSON out, in, and text
constexpr unsigned kHung = 120;                               // s until a round is killed
constexpr long kMostKib = (kSanitized ? 4096 : 1024) * 1024;  // 20 MiB out of maps are 100 MB of JSON, and read once more
constexpr std::uint64_t kMostFailures = 20;
constexpr std::uint64_t kRoundsOfAChild = 32;

struct Options {
  std::string memory, scheduler;
  double seconds = 60;
  std::uint64_t seed = 1;
  std::optional<std::uint64_t> round;
};

// What rounds tell of themselves, in memory that a child shares with the first process.
struct Outcome {
  std::uint64_t round = 0;                   // the last that was begun
  std::uint64_t done = 0, opened = 0;        // how many passed, and had a kernel
  double open = 0, collect = 0, output = 0;  // the most s of CPU time: other programs on the machine are not this one's fault
  std::uint64_t json_bytes = 0;
  char failure[256] = {};

  bool failed() const { return failure[0] != 0; }
  void fail(const std::string& why) {
    if (!failed()) why.copy(failure, sizeof failure - 1);
  }
};

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Stopwatch {
  double started = cpu_seconds();
  double lap() {
    const double was = std::exchange(started, cpu_seconds());
    return started - was;
  }
};

class Rounds {
 public:
  Rounds(const cli::MemorySource& source, const walkers::bpf::CastAnalysis& casts, std::uint64_t seed)
      : source_(source), memory_(*source.memory()), seed_(seed) {
    collect_.deadline = kDeadline;
    collect_.cpus = source.cpus();
    collect_.casts = &casts;
  }

  // A dump of the sound memory: what it reads is what is changed later.
  Result<> prepare() {
    const WatchedMemory opening(memory_);
    auto cold = walkers::Kernel::open(opening, how(nullptr, kPreparing));
    if (!cold) return fail(cold.error());
    const auto direct_map = cold->memory().get<std::uint64_t>(cold->symbol("page_offset_base").value_or(Kva(0)));
    direct_map_ = direct_map.value_or(0xffff'8880'0000'0000u);
    const WatchedMemory walked(memory_);
    const auto kernel = walkers::Kernel::open(walked, how(&*cold));
    if (!kernel) return fail(kernel.error());
    auto unhurried = collect_;
    unhurried.deadline = kPreparing;
    const auto report = freeze::dump::collect(*kernel, unhurried);
    if (report.dump_truncated_at_us) return floe::fail("the sound memory cannot be walked within the deadline");
    open_words_ = opening.words();
    walk_words_ = walked.words();
    auto sound = walkers::Kernel::open(memory_, how(&*cold));
    if (!sound) return fail(sound.error());
    sound_.emplace(std::move(*sound));
    return {};
  }

  void run(std::uint64_t round, Outcome& outcome) const {
    hostile::Random random(seed_ * 1'000'003 + round);
    // Most rounds change what the walk reads behind an open kernel; some what opening reads: its note, page tables, symbols and types.
    const bool cold = round % 16 == 15;
    const bool opens_sound = round % 4 != 3;
    const Flips flips = hostile::plan_flips(memory_, cold ? open_words_ : walk_words_, direct_map_, random);
    FlippedMemory memory(memory_, flips);
    memory.show_flips(!opens_sound);
    Stopwatch time;
    const auto kernel = walkers::Kernel::open(memory, how(cold ? nullptr : &*sound_));
    const double open = time.lap();
    outcome.open = std::max(outcome.open, open);
    if (open > kLate) outcome.fail(fmt::format("opening took {:.1f} s", open));
    if (!kernel) return;
    outcome.opened += 1;
    memory.show_flips(true);

    (void)time.lap();
    const auto report = freeze::dump::collect(*kernel, collect_);
    const double collect = time.lap();
    outcome.collect = std::max(outcome.collect, collect);
    if (collect > kLate) outcome.fail(fmt::format("the walk took {:.1f} s", collect));
    for (const auto& [section, reason] : report.reasons)
      if (reason.starts_with("given up")) outcome.fail(fmt::format("{}: {}", section, reason));

    const std::string json = freeze::dump::to_json(report);
    outcome.json_bytes = std::max<std::uint64_t>(outcome.json_bytes, json.size());
    const auto again = freeze::dump::parse_report(json);
    if (!again) outcome.fail(again.error().message);
    (void)freeze::dump::to_text(report);
    const double output = time.lap();
    outcome.output = std::max(outcome.output, output);
    if (output > kOutputLate) outcome.fail(fmt::format("output took {:.1f} s, {} bytes of JSON", output, json.size()));
  }

  std::size_t walk_words() const { return walk_words_.size(); }
  std::size_t open_words() const { return open_words_.size(); }

 private:
  walkers::OpenOptions how(const walkers::Kernel* previous, std::chrono::seconds limit = kDeadline) const {
    walkers::OpenOptions options;
    options.previous = previous;
    options.deadline = walkers::WalkBudget::Clock::now() + limit;
    if (!source_.cpus().empty()) options.cr3 = source_.cpus().front().cr3();
    return options;
  }

  const cli::MemorySource& source_;
  const walkers::Memory& memory_;
  std::uint64_t seed_;
  freeze::dump::CollectOptions collect_;
  std::uint64_t direct_map_ = 0;
  std::vector<std::uint64_t> open_words_, walk_words_;
  std::optional<walkers::Kernel> sound_;
};

// Some rounds from `first` on in a child, which stops at one that fails. Gives what its memory grew by, in KiB.
long run_apart(const Rounds& rounds, std::uint64_t first, Outcome& outcome) {
  outcome = Outcome();
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  const pid_t child = ::fork();
  if (child == 0) {
    for (outcome.round = first; outcome.round < first + kRoundsOfAChild; ++outcome.round) {
      ::alarm(kHung);
      rounds.run(outcome.round, outcome);
      if (outcome.failed()) ::_exit(0);
      outcome.done += 1;
    }
    ::_exit(0);
  }
  int status = 0;
  rusage used{};
  if (child < 0 || ::wait4(child, &status, 0, &used) != child) {
    outcome.fail("no process for it");
    return 0;
  }
  if (WIFSIGNALED(status)) outcome.fail(WTERMSIG(status) == SIGALRM ? "hung" : fmt::format("died of signal {}", WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) outcome.fail(fmt::format("exited with {}", WEXITSTATUS(status)));
  const long grown = used.ru_maxrss - before.ru_maxrss;
  if (grown > kMostKib) outcome.fail(fmt::format("took {} MiB, this round or one of the {} before it", grown / 1024, outcome.done));
  return grown;
}

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool flag = word.starts_with("--");
    if (flag && ++i == argc) return std::nullopt;
    if (word == "--seconds")
      options.seconds = std::strtod(argv[i], nullptr);
    else if (word == "--seed")
      options.seed = std::strtoull(argv[i], nullptr, 10);
    else if (word == "--round")
      options.round = std::strtoull(argv[i], nullptr, 10);
    else if (word == "--scheduler")
      options.scheduler = argv[i];
    else if (!flag && options.memory.empty())
      options.memory = word;
    else
      return std::nullopt;
  }
  return options.memory.empty() ? std::nullopt : std::optional(options);
}

int complain(const std::string& what) {
  fmt::print(stderr, "{}\n", what);
  return 2;
}

int run_all(const Rounds& rounds, const Options& options) {
  void* const shared = ::mmap(nullptr, sizeof(Outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return complain("mmap");
  auto& outcome = *new (shared) Outcome;
  Outcome worst;
  std::uint64_t round = 0, opened = 0, failed = 0;
  long most_kib = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.seconds);
  while (std::chrono::steady_clock::now() < end && failed < kMostFailures) {
    most_kib = std::max(most_kib, run_apart(rounds, round, outcome));
    round += outcome.done;
    opened += outcome.opened;
    worst.open = std::max(worst.open, outcome.open);
    worst.collect = std::max(worst.collect, outcome.collect);
    worst.output = std::max(worst.output, outcome.output);
    worst.json_bytes = std::max(worst.json_bytes, outcome.json_bytes);
    if (!outcome.failed()) continue;
    ++failed;
    fmt::print("FAILED --seed {} --round {}: {}\n", options.seed, outcome.round, outcome.failure);
    std::fflush(stdout);
    round = outcome.round + 1;
  }
  fmt::print("{} rounds, {} with a kernel, {} failed; {} words of the walk and {} of opening to choose from\n", round, opened, failed,
             rounds.walk_words(), rounds.open_words());
  fmt::print("at most: open {:.2f} s, walk {:.2f} s, output {:.2f} s, {} bytes of JSON, {} MiB\n", worst.open, worst.collect, worst.output,
             worst.json_bytes, most_kib / 1024);
  return failed != 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) return complain("usage: hostile_memory [--seconds N] [--seed S] [--round R] [--scheduler BIN] MEMORY");
  const auto source = cli::MemorySource::open(options->memory);
  if (!source) return complain(source.error().message);
  if (source->memory() == nullptr) return complain(options->memory + " has no physical addresses");
  walkers::bpf::CastAnalysis casts;
  if (!options->scheduler.empty()) {
    const auto file = read_file(options->scheduler);
    if (!file) return complain(file.error().message);
    casts = walkers::bpf::CastAnalysis::of_file(*file);
  }
  Rounds rounds(*source, casts, options->seed);
  const auto prepared = rounds.prepare();
  if (!prepared) return complain(prepared.error().message);
  if (!options->round) return run_all(rounds, *options);
  Outcome outcome;
  rounds.run(*options->round, outcome);
  fmt::print("kernel {}, open {:.3f} s, walk {:.3f} s, output {:.3f} s, {} bytes of JSON: {}\n",
             outcome.opened != 0 ? "found" : "not found", outcome.open, outcome.collect, outcome.output, outcome.json_bytes,
             outcome.failed() ? outcome.failure : "passed");
  return outcome.failed() ? 1 : 0;
}
