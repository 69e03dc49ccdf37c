#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/fd.hpp"
#include "bench/engine/bench.hpp"

namespace floe::bench {
namespace {

// What this program prints when it is started again with these words.
std::string output_of(std::vector<std::string> words) {
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), O_CLOEXEC) == 0, "no pipe for another process");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, to.get(), STDOUT_FILENO);
  words.insert(words.begin(), "bench_engine");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::pid_t child = 0;
  require(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, argv.data(), environ) == 0, "cannot start another process");
  ::posix_spawn_file_actions_destroy(&actions);
  to.reset();
  std::string all;
  std::array<char, 4096> part{};
  for (::ssize_t got = 0; (got = ::read(from.get(), part.data(), part.size())) > 0;) all.append(part.data(), static_cast<std::size_t>(got));
  int status = 0;
  require(::waitpid(child, &status, 0) == child && status == 0, "another process of the bench failed");
  return all;
}

// Of several processes: the worst of what should be 0, the median of the rest.
Figures together(const std::vector<const Figures*>& all) {
  Figures one = *all.front();
  for (std::size_t index = 0; index < one.size(); ++index) {
    std::vector<double> values;
    for (const Figures* const figures : all) values.push_back((*figures)[index].second);
    const Spread of = spread(std::move(values));
    one[index].second = is_of_what_should_not_be(one[index].first) ? of.worst : of.median;
  }
  return one;
}

// Frames whose addresses agree with those of other busy words in the last 12 bits cost up to a half more: the CPU takes the one for the
// other. So each process has its heap elsewhere in the page, and at most one of five is so unlucky.
std::size_t heap_offset(unsigned process, unsigned of) {
  constexpr std::size_t kPage = 4096, kGrain = 16;  // of malloc
  return kPage / of / kGrain * kGrain * process;
}

}  // namespace

void race_in_processes(const Bench& bench, Row& row, const std::vector<Lane>& lanes, unsigned usual) {
  const unsigned rounds = bench.rounds(usual);
  if (bench.processes() == 1) return race(row, lanes, rounds);
  const unsigned share = (rounds + bench.processes() - 1) / bench.processes();
  std::vector<Row> parts;
  for (unsigned process = 0; process < bench.processes(); ++process) {
    std::vector<std::string> words = {"--json",   "--processes",         "1",
                                      "--rounds", std::to_string(share), "--row",
                                      row.name,   "--heap-offset",       std::to_string(heap_offset(process, bench.processes()))};
    if (bench.settings.quick) words.emplace_back("--quick");
    auto report = parse_report(output_of(std::move(words)), bench.report);
    require(report.has_value() && report->rows.size() == 1, "another process of the bench gave no row");
    parts.push_back(std::move(report->rows.front()));
  }
  row.contenders = parts.front().contenders;
  for (std::size_t index = 0; index < row.contenders.size(); ++index) {
    Contender& one = row.contenders[index];
    if (!one.absent.empty()) continue;
    std::vector<const Figures*> figures;
    one.rounds.clear();
    for (const Row& part : parts) {
      one.rounds.insert(one.rounds.end(), part.contenders[index].rounds.begin(), part.contenders[index].rounds.end());
      figures.push_back(&part.contenders[index].figures);
    }
    one.figures = together(figures);
  }
}

}  // namespace floe::bench
