#include "cli/memory_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "freeze/core_export.hpp"

namespace floe::cli {
namespace {

namespace core = walkers::core;
namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".floesnap";

Result<std::vector<std::string>> snapshots_in(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> found;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == kSuffix) found.push_back(entry->path().string());
  if (error) return fail(Error(error.value(), fmt::format("{}: {}", folder.string(), error.message())));
  std::sort(found.begin(), found.end());  // NNNNNN.floesnap: by sequence
  return found;
}

// The snapshots of a run's folder, or of that very folder.
Result<std::vector<std::string>> snapshots_of(const std::string& path) {
  const fs::path inner = fs::path(path) / "snapshots";
  std::error_code error;
  auto found = snapshots_in(fs::is_directory(inner, error) ? inner : fs::path(path));
  if (found && found->empty()) return fail(fmt::format("{}: no snapshots (a run that passes keeps them with --keep-snapshots only)", path));
  return found;
}

Result<std::uint64_t> taken_at(const std::string& path) {
  const auto bytes = read_file(path);
  if (!bytes) return fail(bytes.error());
  const auto snapshot = freeze::decode_snapshot(*bytes, path);
  if (!snapshot) return fail(snapshot.error());
  return snapshot->meta.monotonic_ns;
}

Result<std::string> nearest(const std::vector<std::string>& snapshots, std::chrono::nanoseconds before_last) {
  const auto last = taken_at(snapshots.back());
  if (!last) return fail(last.error());
  const auto back = static_cast<std::uint64_t>(std::max<std::int64_t>(before_last.count(), 0));
  const std::uint64_t wanted = *last > back ? *last - back : 0;
  std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
  std::string best;
  for (const std::string& path : snapshots) {
    const auto at = taken_at(path);
    if (!at) return fail(at.error());
    const std::uint64_t distance = *at > wanted ? *at - wanted : wanted - *at;
    if (distance < smallest) best = path;
    smallest = std::min(smallest, distance);
  }
  return best;
}

std::string start_of(const std::string& path) {
  std::uint64_t bytes = 0;
  const auto fd = open_regular(path, bytes);
  if (!fd) return {};
  std::string start(8, '\0');
  start.resize(read_at(fd->get(), 0, std::as_writable_bytes(std::span(start))));
  return start;
}

std::string describe(const core::CoreFile& file) {
  const core::Notes& notes = file.headers().notes;
  if (file.live()) return "the running kernel";
  if (notes.floe && notes.floe->realtime_ns != 0)
    return fmt::format("core of snapshot {} of {}", notes.floe->sequence, utc(notes.floe->realtime_ns));
  if (notes.floe) return "core file of floe";
  return notes.qemu ? "core file of a virtual machine" : "core file";
}

}  // namespace

std::string utc(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{}.{:03} UTC", text.data(), realtime_ns / 1'000'000 % 1000);
}

Result<MemorySource> MemorySource::open(const std::string& path, std::optional<std::chrono::nanoseconds> before_last) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const auto snapshots = snapshots_of(path);
    if (!snapshots) return fail(snapshots.error());
    if (!before_last) return of_snapshot(snapshots->back());
    const auto chosen = nearest(*snapshots, *before_last);
    if (!chosen) return fail(chosen.error());
    return of_snapshot(*chosen);
  }
  if (before_last) return fail(fmt::format("{} is one instant; another one is chosen from a run's folder only", path));
  const std::string start = start_of(path);
  if (start == "FLOEPAGE")
    return fail(fmt::format("{} holds the pages of snapshots: name one of the snapshots (*{}) beside it", path, kSuffix));
  if (start == "FLOESNAP") return of_snapshot(path);
  return of_core(path);
}

Result<MemorySource> MemorySource::kcore() {
  return of_core(core::kKcorePath);
}

Result<MemorySource> MemorySource::of_snapshot(const std::string& path) {
  auto file = freeze::SnapshotFile::open(path);
  if (!file) return fail(std::move(file.error()));
  MemorySource source;
  source.path_ = path;
  source.snapshot_ = file->get();
  source.realtime_ns_ = (*file)->meta().realtime_ns;
  source.description_ = fmt::format("snapshot {} of {}", (*file)->meta().sequence, utc(source.realtime_ns_));
  for (const auto& vcpu : (*file)->machine().vcpus) source.cpus_.push_back(freeze::registers_of(vcpu));
  source.memory_ = std::move(*file);
  return source;
}

Result<MemorySource> MemorySource::of_core(const std::string& path) {
  auto file = core::CoreFile::open(path);
  if (!file) return fail(std::move(file.error()));
  MemorySource source;
  source.path_ = path;
  source.core_ = std::move(*file);
  source.description_ = describe(*source.core_);
  const core::Headers& headers = source.core_->headers();
  if (headers.notes.floe) source.realtime_ns_ = headers.notes.floe->realtime_ns;
  source.cpus_ = headers.notes.cpus;
  if (headers.physical.empty())
    source.by_address_ = std::make_unique<core::CoreKernelMemory>(source.core_);
  else
    source.memory_ = std::make_unique<core::CoreMemory>(source.core_);
  return source;
}

Result<walkers::Kernel> MemorySource::open_kernel(walkers::OpenOptions options) const {
  const auto named = [this](Result<walkers::Kernel> kernel) -> Result<walkers::Kernel> {
    if (!kernel) return fail(std::move(kernel.error()).within(path_));
    return kernel;
  };
  const auto* note = core_ && core_->headers().notes.vmcoreinfo ? &*core_->headers().notes.vmcoreinfo : nullptr;
  if (options.vmcoreinfo == nullptr) options.vmcoreinfo = note;
  if (!memory_) {
    if (options.vmcoreinfo == nullptr)
      return fail(fmt::format("{}: has neither physical addresses nor a VMCOREINFO note: there is no way to find its kernel", path_));
    return named(walkers::Kernel::open(*by_address_, *options.vmcoreinfo, options));
  }
  for (const core::Registers& cpu : cpus_)
    if (!options.cr3) options.cr3 = cpu.cr3();
  return named(walkers::Kernel::open(*memory_, options));
}

std::vector<std::string> MemorySource::problems() const {
  std::vector<std::string> problems;
  if (core_) {
    problems = core_->headers().notes.problems;
    // floe's own leave out nothing but zeroes.
    if (const auto left_out = core_->headers().left_out_bytes; left_out != 0 && !core_->headers().notes.floe)
      problems.push_back(fmt::format("{} MiB of its memory are not in the file and read as zeroes", (left_out + (1 << 20) - 1) >> 20));
    if (auto problem = core_->problem(); !problem.empty()) problems.push_back(std::move(problem));
  }
  if (snapshot_ != nullptr)
    if (auto problem = snapshot_->problem(); !problem.empty()) problems.push_back(std::move(problem));
  return problems;
}

bool MemorySource::damaged() const {
  return (snapshot_ != nullptr && !snapshot_->problem().empty()) || (core_ && !core_->problem().empty());
}

Result<core::CoreSummary> MemorySource::write_core(const std::string& path, const walkers::Kernel* kernel) const {
  if (!memory_) return fail(fmt::format("{}: a core without physical addresses cannot be written as another", path_));
  std::optional<walkers::VmCoreInfo> info;
  if (kernel != nullptr) info = kernel->info();
  if (snapshot_ != nullptr)
    return core::write_core(path, *memory_,
                            freeze::core_contents(snapshot_->meta(), snapshot_->machine(), snapshot_->layout(), std::move(info)));
  core::CoreContents contents;
  for (const core::Extent& extent : core_->headers().physical.all()) contents.ram.push_back({Gpa(extent.start), extent.bytes});
  contents.notes = core_->headers().notes;
  if (info) contents.notes.vmcoreinfo = std::move(info);
  if (!contents.notes.floe) contents.notes.floe.emplace();
  return core::write_core(path, *memory_, contents);
}

}  // namespace floe::cli
