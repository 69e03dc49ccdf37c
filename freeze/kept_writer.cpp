#include "freeze/kept_writer.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace floe::freeze {

std::string snapshot_file_name(std::uint64_t sequence) {
  std::string digits = std::to_string(sequence);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return digits + ".floesnap";
}

KeptWriter::KeptWriter(const SnapshotRing& ring, const RamLayout& layout, FileSink& sink) : ring_(ring), layout_(layout), sink_(sink) {}

KeptWriter::~KeptWriter() {
  if (phase_ == Phase::kFrames) sink_.abandon();
}

Result<> KeptWriter::run() {
  for (;;) {
    const auto more = step();
    if (!more) return fail(more.error());
    if (!*more) return {};
  }
}

Result<bool> KeptWriter::step() {
  switch (phase_) {
    case Phase::kStart:
      return begin_page_file();
    case Phase::kFrames:
      return written_pages_ < order_.size() ? write_frame() : end_page_file();
    case Phase::kSnapshots:
      return write_snapshot();
    case Phase::kDone:
      break;
  }
  return false;
}

void KeptWriter::number(PageRef ref) {
  if (ref == kZeroPage || ref == kAbsentPage || numbers_[ref] != 0) return;
  order_.push_back(ref);
  numbers_[ref] = static_cast<std::uint32_t>(order_.size());
}

std::uint32_t KeptWriter::number_of(PageRef ref) const {
  return ref == kAbsentPage ? kAbsentNumber : numbers_[ref];
}

// The newest snapshot's pages come first and in the order of its RAM, so that the one most looked at is read in sequence and has the
// longest runs.
void KeptWriter::number_pages() {
  numbers_.assign(ring_.store().ref_limit(), 0);
  const SnapshotView newest = ring_.newest();
  for (const PageRef ref : newest.table()) number(ref);
  for (const PageRef ref : ring_.base()) number(ref);
  for (std::size_t n = 1; n < ring_.size(); ++n)
    for (const PageChange& change : ring_.changes(n)) number(change.ref);
}

Result<> KeptWriter::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  summary_.bytes += bytes.size();
  return sink_.append(bytes);
}

Result<bool> KeptWriter::give_up(Error error) {
  sink_.abandon();
  phase_ = Phase::kDone;
  return fail(std::move(error).within(kPageFileName));
}

Result<bool> KeptWriter::begin_page_file() {
  if (ring_.size() == 0) {
    phase_ = Phase::kDone;
    return false;
  }
  number_pages();
  encoder_ = std::make_unique<PageFileEncoder>(static_cast<std::uint32_t>(order_.size()));
  if (auto begun = sink_.begin(kPageFileName); !begun) return give_up(std::move(begun).error());
  if (auto appended = append(encoder_->header()); !appended) return give_up(std::move(appended).error());
  phase_ = Phase::kFrames;
  return true;
}

Result<bool> KeptWriter::write_frame() {
  const std::size_t end = std::min<std::size_t>(order_.size(), written_pages_ + PageFileEncoder::kPagesPerFrame);
  std::array<std::byte, kPageBytes> page;
  for (; written_pages_ < end; ++written_pages_) {
    if (!ring_.store().read(order_[written_pages_], 0, page)) return give_up(Error("a page of the ring cannot be read back"));
    if (auto appended = append(encoder_->add(page)); !appended) return give_up(std::move(appended).error());
  }
  return true;
}

Result<bool> KeptWriter::end_page_file() {
  if (auto appended = append(encoder_->finish()); !appended) return give_up(std::move(appended).error());
  if (!encoder_->ok()) return give_up(Error("compressing ran out of memory"));
  if (auto committed = sink_.commit(); !committed) return give_up(std::move(committed).error());
  summary_.pages = order_.size();
  table_.reserve(ring_.base().size());
  for (const PageRef ref : ring_.base()) table_.push_back(number_of(ref));
  phase_ = Phase::kSnapshots;
  return true;
}

std::vector<PageRun> KeptWriter::runs() const {
  std::vector<PageRun> runs;
  for (std::uint32_t page = 0; page < table_.size(); ++page) {
    const std::uint32_t number = table_[page];
    if (!runs.empty()) {
      PageRun& last = runs.back();
      const bool alike = last.number == 0 || last.number == kAbsentNumber;
      if (alike ? number == last.number : number == last.number + last.count) {
        ++last.count;
        continue;
      }
    }
    runs.push_back({page, 1, number});
  }
  return runs;
}

// One snapshot that cannot be written does not cost the others.
bool KeptWriter::write_snapshot() {
  const std::size_t index = next_snapshot_++;
  for (const PageChange& change : ring_.changes(index)) table_[change.page] = number_of(change.ref);
  const SnapshotMeta& meta = ring_.meta(index);
  const std::string name = snapshot_file_name(meta.sequence);
  const auto file = encode_snapshot({meta, ring_.machine(index), layout_, encoder_->id(), runs()});
  const auto written = write_whole(name, file);
  if (written)
    ++summary_.snapshots;
  else
    summary_.failed.push_back(name + ": " + written.error().message);
  if (next_snapshot_ < ring_.size()) return true;
  phase_ = Phase::kDone;
  return false;
}

Result<> KeptWriter::write_whole(const std::string& name, std::span<const std::byte> bytes) {
  auto done = sink_.begin(name);
  if (done) done = append(bytes);
  if (done) done = sink_.commit();
  if (!done) sink_.abandon();
  return done;
}

}  // namespace floe::freeze
