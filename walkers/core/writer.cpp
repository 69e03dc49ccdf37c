#include "walkers/core/writer.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/atomic_file.hpp"

namespace floe::walkers::core {
namespace {

constexpr std::size_t kChunk = 1 << 20;

using Ranges = std::vector<PhysRange>;

std::uint64_t end_of(const PhysRange& range) {
  return range.start.value + range.bytes;
}

PhysRange between(std::uint64_t start, std::uint64_t end) {
  return {Gpa(start), end - start};
}

// Whole pages, sorted and disjoint, whatever the Memory said.
Ranges in_pages(Ranges ranges) {
  Ranges pages;
  std::sort(ranges.begin(), ranges.end(), [](const PhysRange& a, const PhysRange& b) { return a.start < b.start; });
  for (const PhysRange& range : ranges) {
    if (range.bytes == 0 || end_of(range) < range.start.value || end_of(range) > ~std::uint64_t{0} - kPageBytes) continue;
    const std::uint64_t start = page_floor(range.start.value), end = page_ceil(end_of(range));
    if (!pages.empty() && start <= end_of(pages.back()))
      pages.back().bytes = std::max(end, end_of(pages.back())) - pages.back().start.value;
    else
      pages.push_back(between(start, end));
  }
  return pages;
}

// What is in both; each sorted and disjoint.
Ranges intersection(const Ranges& a, const Ranges& b) {
  Ranges both;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    const std::uint64_t start = std::max(x->start, y->start).value, end = std::min(end_of(*x), end_of(*y));
    if (start < end) both.push_back(between(start, end));
    end_of(*x) < end_of(*y) ? ++x : ++y;
  }
  return both;
}

// What is in `a` and not in `b`; each sorted and disjoint.
Ranges difference(const Ranges& a, const Ranges& b) {
  Ranges rest;
  auto cut = b.begin();
  for (const PhysRange& range : a) {
    std::uint64_t at = range.start.value;
    while (cut != b.end() && end_of(*cut) <= at) ++cut;
    for (auto next = cut; next != b.end() && next->start.value < end_of(range); ++next) {
      if (next->start.value > at) rest.push_back(between(at, next->start.value));
      at = std::max(at, end_of(*next));
    }
    if (at < end_of(range)) rest.push_back(between(at, end_of(range)));
  }
  return rest;
}

struct Load {
  std::uint64_t start = 0;
  std::uint64_t file_bytes = 0;    // from `start` on
  std::uint64_t memory_bytes = 0;  // the rest of them zero
};

// One per run of `populated` within `ram`.
std::vector<Load> loads_of(const Ranges& ram, const Ranges& populated) {
  std::vector<Load> loads;
  auto next = populated.begin();
  for (const PhysRange& range : ram) {
    std::uint64_t at = range.start.value;
    while (at < end_of(range)) {
      while (next != populated.end() && end_of(*next) <= at) ++next;
      const bool more = next != populated.end() && next->start.value < end_of(range);
      const std::uint64_t bytes_from = more ? std::max(at, next->start.value) : end_of(range);
      if (bytes_from > at) {  // zeroes: they join the load before
        if (loads.empty() || loads.back().start + loads.back().memory_bytes != at || at == range.start.value) loads.push_back({at, 0, 0});
        loads.back().memory_bytes += bytes_from - at;
      }
      if (!more) break;
      const std::uint64_t bytes_to = std::min(end_of(*next), end_of(range));
      loads.push_back({bytes_from, bytes_to - bytes_from, bytes_to - bytes_from});
      at = bytes_to;
    }
  }
  return loads;
}

template <class T>
void append_bytes(std::vector<std::byte>& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Elf64_Ehdr file_header(std::uint64_t program_headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_phnum = static_cast<std::uint16_t>(std::min<std::uint64_t>(program_headers, PN_XNUM));
  if (program_headers >= PN_XNUM) {
    header.e_shoff = header.e_phoff + program_headers * sizeof(Elf64_Phdr);
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 1;
  }
  return header;
}

// All up to the first byte of memory, which is at a page of the file.
std::vector<std::byte> headers_of(const std::vector<Load>& loads, std::span<const std::byte> notes) {
  const std::uint64_t count = loads.size() + 1;
  const Elf64_Ehdr header = file_header(count);
  const std::uint64_t sections = header.e_shnum * sizeof(Elf64_Shdr);
  const std::uint64_t notes_at = sizeof header + count * sizeof(Elf64_Phdr) + sections;
  std::uint64_t offset = page_ceil(notes_at + notes.size());
  std::vector<std::byte> out;
  out.reserve(offset);

  append_bytes(out, header);
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = notes_at;
  segment.p_filesz = segment.p_memsz = notes.size();
  segment.p_align = 4;
  append_bytes(out, segment);
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_W | PF_X;
  segment.p_align = kPageBytes;
  for (const Load& load : loads) {
    segment.p_offset = offset;
    segment.p_paddr = load.start;
    segment.p_filesz = load.file_bytes;
    segment.p_memsz = load.memory_bytes;
    append_bytes(out, segment);
    offset += load.file_bytes;
  }
  if (sections != 0) {
    Elf64_Shdr section{};
    section.sh_info = static_cast<std::uint32_t>(count);
    append_bytes(out, section);
  }
  out.insert(out.end(), notes.begin(), notes.end());
  out.resize(page_ceil(out.size()));
  return out;
}

// Appends the bytes of all loads; pages that cannot be read become zeroes in the file and are added to `unreadable`.
Result<> append_loads(AtomicFile& file, const Memory& memory, const std::vector<Load>& loads, Ranges& unreadable) {
  std::vector<std::byte> chunk(kChunk);
  for (const Load& load : loads)
    for (std::uint64_t done = 0; done < load.file_bytes; done += chunk.size()) {
      const auto part = std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), load.file_bytes - done));
      for (std::size_t at = 0; at < part.size();) {
        const std::uint64_t from = load.start + done + at;
        at += memory.read(Gpa(from), part.subspan(at));
        if (at == part.size()) break;
        const std::uint64_t page = page_floor(load.start + done + at);
        unreadable.push_back({Gpa(page), kPageBytes});
        const std::size_t next = page + kPageBytes - load.start - done;
        std::fill(part.begin() + static_cast<std::ptrdiff_t>(at), part.begin() + static_cast<std::ptrdiff_t>(next), std::byte{0});
        at = next;
      }
      if (auto appended = file.append(part); !appended) return appended;
    }
  return {};
}

}  // namespace

Result<CoreSummary> write_core(const std::string& path, const Memory& memory, const CoreContents& contents) {
  const Ranges populated = in_pages(memory.populated());
  Ranges ram = contents.ram.empty() ? populated : in_pages(contents.ram);
  const auto notes = write_notes(contents.notes);
  CoreSummary summary;
  // Headers come before what they describe: when pages turn out to be unreadable, all is written once more without them.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto loads = loads_of(ram, intersection(ram, populated));
    const auto headers = headers_of(loads, notes);
    auto file = AtomicFile::create(path);
    if (!file) return fail(std::move(file.error()));
    if (auto appended = file->append(headers); !appended) return fail(std::move(appended.error()));
    Ranges unreadable;
    if (auto appended = append_loads(*file, memory, loads, unreadable); !appended) return fail(std::move(appended.error()));
    if (unreadable.empty()) {
      if (auto committed = file->commit(); !committed) return fail(std::move(committed.error()));
      summary.segments = loads.size();
      summary.file_bytes = headers.size();
      for (const Load& load : loads) summary.file_bytes += load.file_bytes;
      return summary;
    }
    unreadable = in_pages(std::move(unreadable));
    for (const PhysRange& range : unreadable) summary.absent_bytes += range.bytes;
    ram = difference(ram, unreadable);
  }
  return fail(fmt::format("{}: memory became unreadable while it was being written", path));
}

}  // namespace floe::walkers::core
