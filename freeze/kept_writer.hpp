// Writes a ring's snapshots to a folder's worth of files: the page file first, then one small file per snapshot, oldest first. Where the
// bytes go is the sink's business; whole-or-absent is too.
//
// In steps, so that a coroutine can look at its deadline between them: a step writes one frame of pages (up to 64) or one snapshot.
// Memory: 12 bytes for each page of the guest, 24 for each distinct page of the ring, and one encoded snapshot.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "freeze/page_file.hpp"
#include "freeze/snapshot.hpp"
#include "freeze/snapshot_file.hpp"
#include "freeze/snapshot_ring.hpp"

namespace floe::freeze {

// One file at a time: begin, append..., then commit or abandon. After commit() the file is there, whole, under its name; before it, or
// after abandon(), it is not there at all.
class FileSink {
 public:
  virtual ~FileSink() = default;
  virtual Result<> begin(std::string_view name) = 0;
  virtual Result<> append(std::span<const std::byte> bytes) = 0;
  virtual Result<> commit() = 0;
  virtual void abandon() = 0;  // also called when begin(), append() or commit() failed
};

class KeptWriter {
 public:
  struct Summary {
    std::uint64_t snapshots = 0;      // files written
    std::uint64_t pages = 0;          // distinct ones, in the page file
    std::uint64_t bytes = 0;          // of all files
    std::vector<std::string> failed;  // "NNNNNN.floesnap: reason"; the others are good
  };

  // All outlive the writer, and the ring does not change meanwhile. `layout` has as many pages as the ring.
  KeptWriter(const SnapshotRing& ring, const RamLayout& layout, FileSink& sink);
  ~KeptWriter();

  // True: there is more to do. Error: the page file cannot be written, so nothing is kept. One snapshot's failure is in the summary
  // instead.
  Result<bool> step();
  // All steps.
  Result<> run();

  const Summary& summary() const { return summary_; }

 private:
  enum class Phase { kStart, kFrames, kSnapshots, kDone };

  void number_pages();
  void number(PageRef ref);
  std::uint32_t number_of(PageRef ref) const;
  Result<bool> begin_page_file();
  Result<bool> write_frame();
  Result<bool> end_page_file();
  bool write_snapshot();
  Result<> append(std::span<const std::byte> bytes);
  Result<> write_whole(const std::string& name, std::span<const std::byte> bytes);
  std::vector<PageRun> runs() const;
  Result<bool> give_up(Error error);

  const SnapshotRing& ring_;
  const RamLayout& layout_;
  FileSink& sink_;
  Phase phase_ = Phase::kStart;
  std::vector<std::uint32_t> numbers_;  // by PageRef; 0: not numbered yet
  std::vector<PageRef> order_;          // by number - 1
  std::unique_ptr<PageFileEncoder> encoder_;
  std::size_t written_pages_ = 0;
  std::size_t next_snapshot_ = 0;
  std::vector<std::uint32_t> table_;  // the snapshot's page numbers by page index
  Summary summary_;
};

// "000042.floesnap"
std::string snapshot_file_name(std::uint64_t sequence);

}  // namespace floe::freeze
