#include "freeze/snapshot_file.hpp"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.hpp"
#include "freeze/byte_codec.hpp"

namespace floe::freeze {
namespace {

constexpr std::string_view kMagic = "FLOESNAP";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kVersionWithAbsent = 2;  // has runs of kAbsentNumber
constexpr std::uint32_t kRaw = 0, kZstd = 1;
constexpr std::size_t kHeaderBytes = 72;
constexpr std::uint64_t kMaxBodyBytes = std::uint64_t{256} << 20;
// A body may be this long whatever its compressed size, and beyond it this many times its compressed size. The writer stores what
// compresses better raw.
constexpr std::uint64_t kFreeBodyBytes = 16 << 20;
constexpr std::uint64_t kMaxRatio = 1024;
constexpr int kLevel = 3;

bool plausible_ratio(std::uint64_t raw, std::uint64_t stored) {
  return raw <= kFreeBodyBytes + stored * kMaxRatio;
}

// Field order is the format.
template <class Meta, class Visit>
void visit_numbers(Meta& meta, Visit visit) {
  for (auto* field :
       {&meta.sequence, &meta.tick, &meta.monotonic_ns, &meta.realtime_ns, &meta.guest_clock_ns, &meta.precopy_us, &meta.kick_to_park_us,
        &meta.capture_us, &meta.thaw_us, &meta.pause_us, &meta.dirty_pages, &meta.residual_pages, &meta.passes})
    visit(*field);
}

void put_machine(Encoder& out, const MachineState& machine) {
  out.put(static_cast<std::uint32_t>(machine.vcpus.size()));
  for (const VcpuState& vcpu : machine.vcpus) {
    out.put(vcpu.id);
    out.put(vcpu.ip);
    out.put(vcpu.sp);
    out.put(vcpu.cr3);
    out.put_bytes(vcpu.blob);
  }
  out.put(static_cast<std::uint32_t>(machine.devices.size()));
  for (const DeviceState& device : machine.devices) {
    out.put_text(device.name);
    out.put_bytes(device.blob);
  }
}

MachineState get_machine(Decoder& in) {
  MachineState machine;
  for (std::uint32_t left = in.get_count(32); left > 0; --left) {
    VcpuState& vcpu = machine.vcpus.emplace_back();
    vcpu.id = in.get<std::uint32_t>();
    vcpu.ip = in.get<std::uint64_t>();
    vcpu.sp = in.get<std::uint64_t>();
    vcpu.cr3 = in.get<std::uint64_t>();
    const auto blob = in.get_bytes();
    vcpu.blob.assign(blob.begin(), blob.end());
  }
  for (std::uint32_t left = in.get_count(8); left > 0; --left) {
    DeviceState& device = machine.devices.emplace_back();
    device.name = in.get_text();
    const auto blob = in.get_bytes();
    device.blob.assign(blob.begin(), blob.end());
  }
  return machine;
}

Result<RamLayout> get_layout(Decoder& in) {
  std::vector<RamSlot> slots;
  std::uint64_t pages = 0;
  for (std::uint32_t left = in.get_count(16); left > 0; --left) {
    const auto start = in.get<std::uint64_t>();
    const auto bytes = in.get<std::uint64_t>();
    slots.push_back({Gpa(start), bytes, static_cast<std::uint32_t>(pages)});
    pages += bytes / kPageBytes;
  }
  return RamLayout::create(std::move(slots));
}

// Empty when they do not cover the layout's pages exactly.
std::vector<PageRun> get_runs(Decoder& in, std::uint32_t pages) {
  std::vector<PageRun> runs(in.get_count(8));
  std::uint64_t first = 0;
  for (PageRun& run : runs) {
    run.first = static_cast<std::uint32_t>(first);
    run.count = in.get<std::uint32_t>();
    run.number = in.get<std::uint32_t>();
    first += run.count;
    const bool named = run.number != kAbsentNumber;
    if (run.count == 0 || first > pages || (named && std::uint64_t{run.number} + run.count > kAbsentNumber)) return {};
  }
  return first == pages ? runs : std::vector<PageRun>{};
}

std::vector<std::byte> encode_body(const KeptSnapshot& snapshot) {
  Encoder out;
  visit_numbers(snapshot.meta, [&out](const std::uint64_t& field) { out.put(field); });
  out.put(static_cast<std::uint8_t>(snapshot.meta.whole));
  out.put(static_cast<std::uint32_t>(snapshot.layout.slots().size()));
  for (const RamSlot& slot : snapshot.layout.slots()) {
    out.put(slot.start.value);
    out.put(slot.bytes);
  }
  put_machine(out, snapshot.machine);
  out.put(static_cast<std::uint32_t>(snapshot.runs.size()));
  for (const PageRun& run : snapshot.runs) {
    out.put(run.count);
    out.put(run.number);
  }
  return std::move(out).take();
}

Result<KeptSnapshot> decode_body(std::span<const std::byte> body, const std::string& name) {
  Decoder in(body);
  KeptSnapshot snapshot;
  visit_numbers(snapshot.meta, [&in](std::uint64_t& field) { field = in.get<std::uint64_t>(); });
  snapshot.meta.whole = in.get<std::uint8_t>() != 0;
  auto layout = get_layout(in);
  if (!layout) return fail(std::move(layout).error().within(name + " is damaged"));
  snapshot.layout = std::move(*layout);
  snapshot.machine = get_machine(in);
  snapshot.runs = get_runs(in, snapshot.layout.pages());
  if (!in.ok()) return fail(name + " is damaged: its contents end too early");
  if (snapshot.runs.empty() && snapshot.layout.pages() != 0) return fail(name + " is damaged: its page table does not cover its RAM");
  if (in.left() != 0) return fail(name + " is damaged: its contents go on after their end");
  return snapshot;
}

}  // namespace

std::vector<std::byte> encode_snapshot(const KeptSnapshot& snapshot) {
  const std::vector<std::byte> body = encode_body(snapshot);
  std::vector<std::byte> packed(ZSTD_compressBound(body.size()));
  const std::size_t stored = ZSTD_compress(packed.data(), packed.size(), body.data(), body.size(), kLevel);
  const bool compressed = !ZSTD_isError(stored) && stored < body.size() && plausible_ratio(body.size(), stored);
  const auto content = compressed ? std::span<const std::byte>(packed).first(stored) : std::span<const std::byte>(body);

  const XXH128_hash_t hash = XXH3_128bits(content.data(), content.size());
  Encoder out;
  out.append(std::as_bytes(std::span(kMagic)));
  const bool absent =
      std::any_of(snapshot.runs.begin(), snapshot.runs.end(), [](const PageRun& run) { return run.number == kAbsentNumber; });
  out.put(absent ? kVersionWithAbsent : kVersion);
  out.put(compressed ? kZstd : kRaw);
  out.put(std::uint64_t{body.size()});
  out.put(std::uint64_t{content.size()});
  out.put(snapshot.pages.low);
  out.put(snapshot.pages.high);
  out.put(std::uint64_t{hash.low64});
  out.put(std::uint64_t{hash.high64});
  out.put(std::uint64_t{XXH3_64bits(out.bytes().data(), out.bytes().size())});
  out.append(content);
  return std::move(out).take();
}

Result<KeptSnapshot> decode_snapshot(std::span<const std::byte> file, const std::string& name) {
  const auto damaged = [&name](const char* reason) { return fail(name + " is damaged: " + reason); };
  if (file.size() < kHeaderBytes || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    return fail(name + " is not a floe snapshot");
  Decoder in(file.subspan(kMagic.size()));
  const auto version = in.get<std::uint32_t>();
  if (version < kVersion || version > kVersionWithAbsent)
    return fail(name + " has version " + std::to_string(version) + ", this floe reads versions " + std::to_string(kVersion) + " to " +
                std::to_string(kVersionWithAbsent));
  const auto codec = in.get<std::uint32_t>();
  const auto body_bytes = in.get<std::uint64_t>();
  const auto stored_bytes = in.get<std::uint64_t>();
  const PageFileId pages{in.get<std::uint64_t>(), in.get<std::uint64_t>()};
  const std::array<std::uint64_t, 2> hash{in.get<std::uint64_t>(), in.get<std::uint64_t>()};
  if (in.get<std::uint64_t>() != XXH3_64bits(file.data(), kHeaderBytes - 8)) return damaged("wrong header checksum");
  const auto content = file.subspan(kHeaderBytes);
  if (content.size() != stored_bytes) return damaged("it is cut short, or longer than it was written");
  const XXH128_hash_t seen = XXH3_128bits(content.data(), content.size());
  if (seen.low64 != hash[0] || seen.high64 != hash[1]) return damaged("wrong checksum");
  if (body_bytes > kMaxBodyBytes) return damaged("its contents are absurdly long");

  Result<KeptSnapshot> snapshot;
  if (codec == kRaw) {
    snapshot = decode_body(content, name);
  } else if (codec == kZstd) {
    if (!plausible_ratio(body_bytes, stored_bytes)) return damaged("its contents are absurdly long");
    std::vector<std::byte> body(body_bytes);
    if (ZSTD_decompress(body.data(), body.size(), content.data(), content.size()) != body_bytes) return damaged("it does not decompress");
    snapshot = decode_body(body, name);
  } else {
    return damaged("its compression is unknown");
  }
  if (snapshot) snapshot->pages = pages;
  return snapshot;
}

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::open(const std::string& path, std::shared_ptr<const PageFile> pages) {
  std::uint64_t bytes = 0;
  const auto fd = open_regular(path, bytes);
  if (!fd) return fail(fd.error());
  if (bytes > kMaxBodyBytes) return fail(path + " is too long for a floe snapshot");
  std::vector<std::byte> file(bytes);
  if (!read_exactly(fd->get(), 0, file)) return fail(path + " cannot be read to its end");
  auto snapshot = decode_snapshot(file, path);
  if (!snapshot) return fail(std::move(snapshot).error());

  const std::string beside = (std::filesystem::path(path).parent_path() / kPageFileName).string();
  if (!pages) {
    auto opened = PageFile::open(beside);
    if (!opened && opened.error().code == ENOENT)
      return fail(Error(ENOENT, path + " needs the page file " + beside + ", which is missing: keep the whole folder together"));
    if (!opened) return fail(std::move(opened).error());
    pages = std::move(*opened);
  }
  if (pages->id() != snapshot->pages) return fail(path + " was not written with " + beside + ": its pages are in another page file");
  for (const PageRun& run : snapshot->runs)
    if (run.number != 0 && run.number != kAbsentNumber && std::uint64_t{run.number} + run.count - 1 > pages->pages())
      return fail(path + " is damaged: it names pages that the page file does not have");
  return std::unique_ptr<SnapshotFile>(new SnapshotFile(std::move(*snapshot), std::move(pages)));
}

std::uint32_t SnapshotFile::number_of(std::uint32_t page) const {
  const auto after = std::upper_bound(snapshot_.runs.begin(), snapshot_.runs.end(), page,
                                      [](std::uint32_t p, const PageRun& run) { return p < run.first; });
  const PageRun& run = *std::prev(after);
  return run.number == 0 || run.number == kAbsentNumber ? run.number : run.number + (page - run.first);
}

bool SnapshotFile::read_page(std::uint32_t page, std::size_t offset, std::span<std::byte> out) const {
  return page < snapshot_.layout.pages() && pages_->read(number_of(page), offset, out);
}

std::size_t SnapshotFile::read(Gpa gpa, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    std::uint32_t page = 0;
    if (snapshot_.layout.find(gpa + done, page) == 0) break;
    const std::size_t offset = (gpa.value + done) % kPageBytes;
    const std::size_t part = std::min(out.size() - done, kPageBytes - offset);
    if (!read_page(page, offset, out.subspan(done, part))) break;
    done += part;
  }
  return done;
}

std::vector<walkers::PhysRange> SnapshotFile::populated() const {
  std::vector<walkers::PhysRange> ranges;
  auto run = snapshot_.runs.begin();
  for (const RamSlot& slot : snapshot_.layout.slots()) {
    const std::uint64_t slot_end = slot.first_page + slot.bytes / kPageBytes;
    for (; run != snapshot_.runs.end() && run->first < slot_end; ++run) {
      const std::uint64_t first = std::max(run->first, slot.first_page);
      const std::uint64_t run_end = std::uint64_t{run->first} + run->count;
      const std::uint64_t bytes = (std::min(run_end, slot_end) - first) * kPageBytes;
      const Gpa start = slot.start + (first - slot.first_page) * kPageBytes;
      if (run->number != 0 && run->number != kAbsentNumber) {
        if (!ranges.empty() && ranges.back().start + ranges.back().bytes == start)
          ranges.back().bytes += bytes;
        else
          ranges.push_back({start, bytes});
      }
      if (run_end > slot_end) break;  // goes on in the next slot
    }
  }
  return ranges;
}

}  // namespace floe::freeze
