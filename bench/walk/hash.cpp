#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/json_writer.hpp"
#include "bench/walk/big_map.hpp"
#include "bench/walk/peers.hpp"
#include "bench/walk/rows.hpp"
#include "freeze/dump/json.hpp"
#include "walkers/bpf/dump.hpp"
#include "walkers/bpf/map_renderer.hpp"
#include "walkers/render/json_sink.hpp"

namespace floe::bench {
namespace {

namespace bpf = walkers::bpf;
namespace render = walkers::render;

constexpr std::uint64_t kMostSteps = 10'000'000;

// The big map of one kernel that nobody has read through yet.
struct Found {
  walkers::Kernel kernel;
  bpf::MapInfo map;
};

Result<Found> find(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known) {
  auto kernel = afresh(memory, guest, known);
  if (!kernel) return fail(kernel.error());
  walkers::WalkBudget budget;
  const auto table = bpf::find_maps(*kernel, budget);
  if (!table) return fail(table.error());
  const auto map = std::find_if(table->maps.begin(), table->maps.end(), [](const auto& one) { return one.name == kBigMapName; });
  if (map == table->maps.end()) return fail("the big map is gone");
  return Found{std::move(*kernel), *map};
}

Result<> whole(std::uint64_t elements) {
  if (elements != kBigMapEntries) return fail(fmt::format("{} elements of {} were found", elements, kBigMapEntries));
  return {};
}

// Keys and values by their types as JSON, as floe dump --map writes them: handed on while they are found, or all kept.
Result<double> rendered_ms(const Guest& guest, const walkers::Kernel& known, bool keep, std::size_t& bytes) {
  const auto found = find(*guest.flat, guest, known);
  if (!found) return fail(found.error());
  const bpf::MapReader reader(found->kernel);
  render::ProgramTypes types(found->kernel);
  if (!found->map.btf) return fail("the big map says no types");
  const bpf::ArenaIndex index(found->kernel.memory());
  const bpf::DumpOptions options{.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10)};
  const UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));  // where bpftool writes to as well
  bool written = true;
  JsonWriter json = keep ? JsonWriter() : JsonWriter([&](std::string_view piece) {
    written = ::write(nowhere.get(), piece.data(), piece.size()) == static_cast<ssize_t>(piece.size()) && written;
  });
  const double began = cpu_seconds();
  bpf::MapRenderer renderer(reader, index, types, options);
  const auto walked = renderer.write(found->map, json);
  json.flush();
  const double took = (cpu_seconds() - began) * 1e3;
  bytes = json.size();
  if (!written) return fail("/dev/null took less than it was given");
  if (const auto all = whole(walked.elements); !all) return fail(all.error());
  return took;
}

// As the failure dump has it, without its limit on entries: a tree of the whole map, then JSON.
Result<double> dumped_ms(const Guest& guest, const walkers::Kernel& known, std::size_t& bytes) {
  const auto found = find(*guest.flat, guest, known);
  if (!found) return fail(found.error());
  const bpf::MapReader reader(found->kernel);
  render::ProgramTypes types(found->kernel);
  const bpf::ArenaIndex index(found->kernel.memory());
  bpf::DumpOptions options;
  options.limits.hash_entries = 0;
  const double began = cpu_seconds();
  bpf::MapRenderer renderer(reader, index, types, options);
  const auto map = renderer.render(found->map);
  bytes = freeze::dump::to_json(map).size();
  const double took = (cpu_seconds() - began) * 1e3;
  if (const auto all = whole(map.entries.size()); !all) return fail(all.error());
  return took;
}

// One more round of a contender, or why it has none.
void add(Contender& to, const Result<double>& value) {
  if (value)
    to.rounds.push_back(*value);
  else
    to.absent = value.error().message;
}

void bpftool(const LiveMap& map, unsigned round, Contender& to, std::vector<double>& wall) {
  if (!to.absent.empty() || round > 4) return;  // it takes a second
  const auto took = run_program({"bpftool", "-j", "map", "dump", "id", std::to_string(map.id())});
  add(to, took.map([](const Took& t) { return t.cpu_ms; }));
  if (took) wall.push_back(took->wall_ms);
}

}  // namespace

// Every element copied out, as a lookup in batches does it.
Result<double> raw_hash_ms(const walkers::Memory& memory, const Guest& guest, const walkers::Kernel& known) {
  const auto found = find(memory, guest, known);
  if (!found) return fail(found.error());
  const bpf::MapReader reader(found->kernel);
  std::vector<std::byte> out(std::size_t{kBigMapEntries} * (sizeof(std::uint32_t) + sizeof(WalkSample)));
  std::size_t at = 0;
  walkers::WalkBudget budget(kMostSteps);
  const double began = cpu_seconds();
  const auto walked = reader.elements(found->map, budget, [&](const bpf::Element& element) {
    if (!element.value || out.size() - at < element.key.size() + element.value->size()) return false;
    at = static_cast<std::size_t>(std::copy(element.key.begin(), element.key.end(), out.begin() + static_cast<std::ptrdiff_t>(at)) -
                                  out.begin());
    at = static_cast<std::size_t>(std::copy(element.value->begin(), element.value->end(), out.begin() + static_cast<std::ptrdiff_t>(at)) -
                                  out.begin());
    return true;
  });
  const double took = (cpu_seconds() - began) * 1e3;
  if (const auto all = whole(walked.elements); !all) return fail(all.error());
  return took;
}

Result<> hash_rows(const Settings& settings, const Guest& big, Report& report) {
  const std::string name = fmt::format("hash of {} elements", kBigMapEntries);
  if (!settings.wants(name)) return {};
  const auto known = walkers::Kernel::open(*big.flat, big.how);
  if (!known) return fail(known.error());
  auto live = LiveMap::make(kBigMapEntries);
  Contender batch{.name = "lookup in batches"}, raw{.name = "walked"}, rendered{.name = "rendered"}, kept{.name = "rendered into memory"},
      dumped{.name = "as the dump has it"}, file{.name = "walked in the file"}, tool{.name = "bpftool"};
  if (!live) batch.absent = tool.absent = live.error().message;
  std::vector<double> wall;
  std::size_t bytes = 0, dumped_bytes = 0;
  for (unsigned round = 0; round < rounds_of(settings, 15); ++round) {
    if (live) add(batch, live->lookup_batch());
    const auto walked = raw_hash_ms(*big.flat, big, *known);
    if (!walked) return fail(walked.error());
    raw.rounds.push_back(*walked);
    const auto shown = rendered_ms(big, *known, false, bytes);
    if (!shown) return fail(shown.error());
    rendered.rounds.push_back(*shown);
    const auto held = rendered_ms(big, *known, true, bytes);
    if (!held) return fail(held.error());
    kept.rounds.push_back(*held);
    const auto whole_map = dumped_ms(big, *known, dumped_bytes);
    if (!whole_map) return fail(whole_map.error());
    dumped.rounds.push_back(*whole_map);
    if (round < 5) {
      const auto opened = freeze::SnapshotFile::open(big.path);  // without what the round before has decompressed
      if (!opened) return fail(opened.error());
      const auto slow = raw_hash_ms(**opened, big, *known);
      if (!slow) return fail(slow.error());
      file.rounds.push_back(*slow);
    }
    if (live) bpftool(*live, round, tool, wall);
  }
  rendered.figures = {{"MiB of JSON", static_cast<double>(bytes) / 1048576}};
  dumped.figures = {{"MiB of JSON", static_cast<double>(dumped_bytes) / 1048576}};
  if (!wall.empty()) tool.figures = {{"wall ms", spread(wall).median}};
  Row row{
      .name = name, .unit = "ms", .baseline = batch.name, .contenders = {batch, raw, rendered, kept, dumped, file, tool}, .promises = {}};
  row.promises = {ratio_at_most(row, "walked", 1.5), ratio_at_most(row, "rendered", 1.5)};
  const auto against = ratio(row, "rendered", "bpftool");
  Promise ahead{"rendered at least 15 times faster than bpftool", 15, true, {}};
  if (against) ahead.value = 1 / against->median;
  row.promises.push_back(std::move(ahead));
  report.rows.push_back(std::move(row));
  return {};
}

}  // namespace floe::bench
