// The memory that a command is told to read: a kept snapshot, a run's folder, an ELF core of any origin, or the running kernel.
//
// What a file is, is told by its content. The source owns it; a Kernel opened from the source must not outlive it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "freeze/snapshot_file.hpp"
#include "walkers/core/core_file.hpp"
#include "walkers/core/writer.hpp"
#include "walkers/kernel.hpp"

namespace floe::cli {

class MemorySource {
 public:
  // `path` is a snapshot, a core, or a folder: a run's, or its snapshots/. Of a folder the newest snapshot is taken, or with `before_last`
  // the one whose time is nearest to that long before the newest's. Errors name the path and say what to do.
  static Result<MemorySource> open(const std::string& path, std::optional<std::chrono::nanoseconds> before_last = std::nullopt);
  static Result<MemorySource> kcore();

  // The kernel in it, by whichever addresses it has, its note when it carries one, and CR3 of its first CPU that has one, unless the
  // options say otherwise. Errors name the source.
  Result<walkers::Kernel> open_kernel(walkers::OpenOptions options = {}) const;

  // By physical address; null for a core that has none.
  const walkers::Memory* memory() const { return memory_.get(); }
  // By number. None for the running kernel.
  const std::vector<walkers::core::Registers>& cpus() const { return cpus_; }

  const std::string& path() const { return path_; }                // of the file that is read
  const std::string& description() const { return description_; }  // "snapshot 12 of 2026-11-21 17:03:12.250 UTC"
  std::uint64_t realtime_ns() const { return realtime_ns_; }       // when it was taken; 0: unknown, or now
  bool live() const { return core_ && core_->live(); }             // changes while it is read

  // What cannot be relied on: parts left out, cut short, or damaged. Those of the headers at once, damage when it was met.
  std::vector<std::string> problems() const;

  // Bytes were met that are not what was once written, or not there any more. The last of the problems is about them.
  bool damaged() const;

  // For those who show what one kind of source alone has; null for the others.
  const freeze::SnapshotFile* snapshot() const { return snapshot_; }
  const walkers::core::CoreFile* core() const { return core_.get(); }

  // Writes it as a core file, VMCOREINFO of `kernel` included. Error: as write_core(), or a source without physical addresses.
  Result<walkers::core::CoreSummary> write_core(const std::string& path, const walkers::Kernel* kernel) const;

 private:
  MemorySource() = default;
  static Result<MemorySource> of_snapshot(const std::string& path);
  static Result<MemorySource> of_core(const std::string& path);

  std::string path_;
  std::string description_;
  std::uint64_t realtime_ns_ = 0;
  std::vector<walkers::core::Registers> cpus_;
  std::unique_ptr<const walkers::Memory> memory_;
  std::unique_ptr<const walkers::core::CoreKernelMemory> by_address_;
  const freeze::SnapshotFile* snapshot_ = nullptr;  // what memory_ is
  std::shared_ptr<const walkers::core::CoreFile> core_;
};

// "2026-11-21 17:03:12.250 UTC"
std::string utc(std::uint64_t realtime_ns);

}  // namespace floe::cli
