#include "bench/walk/memories.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <new>
#include <optional>

#include "bench/walk/big_map.hpp"
#include "freeze/core_export.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/scx/state.hpp"

namespace floe::bench {
namespace {

// Newest first.
Result<std::vector<std::string>> snapshots_of(const std::string& run) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(run + "/snapshots", unreadable))
    if (entry.path().extension() == ".floesnap") files.push_back(entry.path().string());
  if (files.empty()) return fail(run + ": no snapshots; bench/walk/make-memories makes them");
  std::sort(files.rbegin(), files.rend());
  return files;
}

Result<Guest> load(const std::string& path, std::shared_ptr<const freeze::PageFile> pages) {
  auto file = freeze::SnapshotFile::open(path, std::move(pages));
  if (!file) return fail(std::move(file.error()));
  Guest guest{path, std::move(*file), nullptr, {}};
  guest.flat = std::make_unique<FlatMemory>(*guest.file);
  if (const auto problem = guest.file->problem(); !problem.empty()) return fail(problem);
  if (const auto& vcpus = guest.file->machine().vcpus; !vcpus.empty()) guest.how.cr3 = freeze::registers_of(vcpus.front()).cr3();
  return guest;
}

bool has_big_map(const walkers::Kernel& kernel) {
  walkers::WalkBudget budget;
  const auto table = walkers::bpf::find_maps(kernel, budget);
  return table && std::any_of(table->maps.begin(), table->maps.end(), [](const auto& map) { return map.name == kBigMapName; });
}

// How long somebody has waited on a DSQ, in jiffies.
std::optional<std::uint64_t> longest_wait(const walkers::Kernel& kernel) {
  walkers::WalkBudget budget;
  const auto state = walkers::scx::read_state(kernel, walkers::scx::Layout::of(kernel), budget);
  if (!state.oldest || !state.oldest->task || !state.oldest->dsq) return std::nullopt;
  return state.oldest->age_jiffies;
}

}  // namespace

FlatMemory::FlatMemory(const freeze::SnapshotFile& file)
    : layout_(file.layout()), populated_(file.populated()), size_(std::size_t{layout_.pages()} * kPageBytes) {
  void* const mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  bytes_ = static_cast<std::byte*>(mapped);
  for (const walkers::PhysRange& range : populated_) {
    std::uint32_t page = 0;
    if (layout_.find(range.start, page) >= range.bytes) file.read(range.start, {bytes_ + std::size_t{page} * kPageBytes, range.bytes});
  }
}

FlatMemory::~FlatMemory() {
  ::munmap(bytes_, size_);
}

std::size_t FlatMemory::read(Gpa gpa, std::span<std::byte> out) const {
  std::uint32_t page = 0;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), layout_.find(gpa, page)));
  if (count != 0) std::memcpy(out.data(), bytes_ + std::size_t{page} * kPageBytes + gpa.value % kPageBytes, count);
  return count;
}

bool FlatMemory::prefetch(Gpa gpa, std::size_t bytes) const {
  std::uint32_t page = 0;
  if (layout_.find(gpa, page) < bytes) return false;
  walkers::prefetch_lines(bytes_ + std::size_t{page} * kPageBytes + gpa.value % kPageBytes, bytes);
  return true;
}

std::uint64_t FlatMemory::populated_bytes() const {
  std::uint64_t bytes = 0;
  for (const walkers::PhysRange& range : populated_) bytes += range.bytes;
  return bytes;
}

Result<Guest> load_big(const std::string& run) {
  const auto files = snapshots_of(run);
  if (!files) return fail(files.error());
  auto guest = load(files->front(), nullptr);
  if (!guest) return guest;
  const auto kernel = walkers::Kernel::open(*guest->flat, guest->how);
  if (!kernel) return fail(Error(kernel.error()).within(guest->path));
  if (!has_big_map(*kernel)) return fail(guest->path + ": has no map " + kBigMapName + "; let bench/walk/make-memories make it anew");
  return guest;
}

Result<Guest> load_stalled(const std::string& run) {
  const auto files = snapshots_of(run);
  if (!files) return fail(files.error());
  std::optional<Guest> best;
  std::uint64_t longest = 0;
  std::shared_ptr<const freeze::PageFile> pages;
  for (const std::string& file : *files) {
    auto guest = load(file, pages);
    if (!guest) return guest;
    pages = guest->file->page_file();
    const auto kernel = walkers::Kernel::open(*guest->flat, guest->how);
    if (!kernel) continue;  // of a guest that has hardly begun to boot
    const auto waited = longest_wait(*kernel);
    if (!waited || *waited < longest) continue;
    longest = *waited;
    best = std::move(*guest);
  }
  if (!best) return fail(run + ": no snapshot shows a task that waits on a DSQ");
  return std::move(*best);
}

}  // namespace floe::bench
