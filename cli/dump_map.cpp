#include "cli/dump_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/atomic_file.hpp"
#include "base/file.hpp"
#include "base/json_writer.hpp"
#include "cli/json.hpp"
#include "walkers/bpf/arena_index.hpp"
#include "walkers/bpf/map_renderer.hpp"

namespace floe::cli {
namespace {

constexpr auto kOpenLimit = std::chrono::seconds(30);  // a damaged file must not hold the terminal for ever

// Where the text goes, piece by piece, and the first error on the way.
class Output {
 public:
  static Result<Output> open(const std::string& path) {
    Output output;
    if (path.empty()) return output;
    auto file = AtomicFile::create(path);
    if (!file) return fail(file.error());
    output.file_.emplace(std::move(*file));
    return output;
  }

  void append(std::string_view piece) {
    if (!result_) return;
    if (file_)
      result_ = file_->append(as_bytes(piece));
    else if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size())
      result_ = fail(Error(errno, "writing to stdout"));
  }

  Result<> finish() {
    append("\n");
    return result_ && file_ ? file_->commit() : result_;
  }

 private:
  std::optional<AtomicFile> file_;
  Result<> result_;
};

}  // namespace

Verdict write_map(const MemorySource& source, const std::string& name, const std::string& out, std::chrono::nanoseconds deadline) {
  walkers::OpenOptions how;
  how.deadline = std::chrono::steady_clock::now() + kOpenLimit;
  const auto kernel = source.open_kernel(how);
  if (!kernel) return {Exit::kUsage, kernel.error().message};
  walkers::bpf::DumpOptions options;
  if (deadline.count() > 0) options.deadline = std::chrono::steady_clock::now() + deadline;
  walkers::WalkBudget budget;
  const auto table = walkers::bpf::find_maps(*kernel, budget);
  if (!table) return {Exit::kUsage, table.error().message};
  const auto map = std::find_if(table->maps.begin(), table->maps.end(),
                                [&](const auto& one) { return one.name == name || std::to_string(one.id) == name; });
  if (map == table->maps.end()) return {Exit::kUsage, fmt::format("no map has the name or id '{}'; the failure dump lists them", name)};

  auto output = Output::open(out);
  if (!output) return {Exit::kUsage, output.error().message};
  const walkers::bpf::MapReader reader(*kernel);
  const walkers::bpf::ArenaIndex index(kernel->memory());  // of no arena: what pointers lead to stands in the failure dump
  walkers::render::ProgramTypes types(*kernel);
  walkers::bpf::MapRenderer renderer(reader, index, types, options);
  JsonWriter json([&](std::string_view piece) { output->append(piece); });
  const auto walked = renderer.write(*map, json);
  json.flush();
  if (const auto written = output->finish(); !written) return {Exit::kUsage, written.error().message};
  for (const std::string& note : walked.notes) fmt::print(stderr, "{}: {}\n", printable(map->name), printable(note));
  if (source.damaged()) return {Exit::kUsage, source.path() + ": damaged: " + source.problems().back()};
  return {};
}

}  // namespace floe::cli
