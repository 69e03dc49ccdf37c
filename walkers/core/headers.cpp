#include "walkers/core/headers.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/address.hpp"
#include "base/file.hpp"

namespace floe::walkers::core {
namespace {

constexpr std::size_t kHeadersAtATime = 1024;
constexpr std::uint64_t kNoAddress = ~std::uint64_t{0};  // p_paddr of what is not in RAM (fs/proc/kcore.c)

// Dumps that are no ELF, by their first bytes.
struct Foreign {
  std::string_view magic;
  std::string_view what;
};
constexpr std::array<Foreign, 3> kForeign = {
    {{"KDUMP   ", "a compressed kdump file: convert it (makedumpfile -E), or dump without compression"},
     {"DISKDUMP", "a diskdump file: convert it (makedumpfile -E)"},
     {"makedumpfile", "a flattened dump: make it a file first (makedumpfile -R OUT < IN)"}}};

template <class T>
bool load(int fd, std::uint64_t offset, std::uint64_t file_bytes, T& value) {
  return offset <= file_bytes && file_bytes - offset >= sizeof value &&
         read_exactly(fd, offset, std::as_writable_bytes(std::span(&value, 1)));
}

Result<Elf64_Ehdr> read_file_header(int fd, std::uint64_t file_bytes) {
  Elf64_Ehdr header{};
  const auto got = read_at(fd, 0, std::as_writable_bytes(std::span(&header, 1)));
  const std::string_view start(reinterpret_cast<const char*>(&header), got);
  for (const Foreign& foreign : kForeign)
    if (start.starts_with(foreign.magic)) return fail(std::string(foreign.what));
  if (!start.starts_with(std::string_view(ELFMAG, SELFMAG))) return fail("not an ELF file");
  if (got < sizeof header || file_bytes < sizeof header) return fail("an ELF file that is cut short within its header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64)
    return fail(fmt::format("an ELF file of another machine (class {}, machine {}); floe reads x86-64 cores", header.e_ident[EI_CLASS],
                            header.e_machine));
  if (header.e_type != ET_CORE) return fail("an ELF file, but no core: a program or a library");
  if (header.e_phentsize != sizeof(Elf64_Phdr))
    return fail(fmt::format("a damaged core: program headers of {} bytes, expected {}", header.e_phentsize, sizeof(Elf64_Phdr)));
  return header;
}

Result<std::uint64_t> count_program_headers(int fd, std::uint64_t file_bytes, const Elf64_Ehdr& header) {
  std::uint64_t count = header.e_phnum;
  if (count == PN_XNUM) {
    Elf64_Shdr section{};
    if (header.e_shoff == 0 || !load(fd, header.e_shoff, file_bytes, section))
      return fail("a damaged core: its number of program headers stands in a section header that is not there");
    count = section.sh_info;
  }
  const std::uint64_t room = header.e_phoff <= file_bytes ? (file_bytes - header.e_phoff) / sizeof(Elf64_Phdr) : 0;
  if (count == 0) return fail("a core without program headers");
  if (count > room) return fail(fmt::format("a damaged core: {} program headers, the file has room for {}", count, room));
  if (count > kMaxProgramHeaders) return fail(fmt::format("a core of {} program headers, at most {} are read", count, kMaxProgramHeaders));
  return count;
}

class Collector {
 public:
  Collector(int fd, std::uint64_t file_bytes, Headers& into) : fd_(fd), file_bytes_(file_bytes), into_(into) {}

  void add(const Elf64_Phdr& segment) {
    if (segment.p_type == PT_NOTE) return add_notes(segment);
    if (segment.p_type != PT_LOAD || std::max(segment.p_filesz, segment.p_memsz) == 0) return;
    if (segment.p_offset > kMaxOffset || segment.p_filesz > kMaxOffset - segment.p_offset) {
      problem(fmt::format("a segment at {:#x} lies beyond any file", segment.p_vaddr));
      return;
    }
    loads_.push_back(segment);
    // 0 may mean the first page of RAM, or that no physical addresses are given; then there is a virtual one.
    has_physical_ = has_physical_ || (segment.p_paddr != kNoAddress && (segment.p_paddr != 0 || segment.p_vaddr == 0));
  }

  void finish() {
    // QEMU gives a segment more memory than file where a mapping leaves RAM: nothing is known of the rest.
    const bool zeroes = into_.notes.floe || !into_.notes.qemu;
    std::vector<Extent> physical, kernel;
    for (const Elf64_Phdr& segment : loads_) {
      if (has_physical_ && segment.p_paddr != kNoAddress) place(segment, segment.p_paddr, zeroes, physical);
      if (segment.p_vaddr >> 63 != 0) place(segment, segment.p_vaddr, zeroes, kernel);
    }
    loads_.clear();
    into_.physical = Extents(std::move(physical));
    into_.kernel = Extents(std::move(kernel));
    const Extents& main = into_.physical.empty() ? into_.kernel : into_.physical;
    for (const Extent& extent : main.all())
      if (extent.zeroes()) into_.left_out_bytes += extent.bytes;
    if (lost_) problem("the file is cut short: what segments have beyond its end is unreadable");
  }

 private:
  static constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;
  static constexpr std::size_t kMaxProblems = 16;

  void problem(std::string text) {
    if (into_.notes.problems.size() < kMaxProblems) into_.notes.problems.push_back(std::move(text));
  }

  void add_notes(const Elf64_Phdr& segment) {
    const std::uint64_t room = segment.p_offset <= file_bytes_ ? file_bytes_ - segment.p_offset : 0;
    const std::uint64_t bytes = std::min(segment.p_filesz, room);
    if (bytes < segment.p_filesz) problem("its notes are cut short");
    if (bytes > kMaxNoteBytes - note_bytes_) {
      problem(fmt::format("notes of {} bytes are not read", bytes));
      return;
    }
    note_bytes_ += bytes;
    std::vector<std::byte> notes(bytes);
    const auto got = read_at(fd_, segment.p_offset, notes);
    if (got < bytes) problem("its notes cannot be read");
    read_notes(std::span(notes).first(got), into_.notes);
  }

  void place(const Elf64_Phdr& segment, std::uint64_t address, bool zeroes, std::vector<Extent>& into) {
    const std::uint64_t memory = std::max(segment.p_filesz, segment.p_memsz);
    if (memory > kNoAddress - address) {
      problem(fmt::format("a segment at {:#x} wraps around the address space", address));
      return;
    }
    const std::uint64_t room = segment.p_offset <= file_bytes_ ? file_bytes_ - segment.p_offset : 0;
    const std::uint64_t there = std::min(segment.p_filesz, room);
    lost_ = lost_ || there < segment.p_filesz;
    if (there > 0) into.push_back({address, there, segment.p_offset});
    if (zeroes && memory > segment.p_filesz) into.push_back({address + segment.p_filesz, memory - segment.p_filesz, Extent::kZeroes});
  }

  int fd_;
  std::uint64_t file_bytes_;
  Headers& into_;
  std::vector<Elf64_Phdr> loads_;
  std::uint64_t note_bytes_ = 0;
  bool has_physical_ = false;
  bool lost_ = false;
};

}  // namespace

Result<Headers> read_headers(int fd, std::uint64_t file_bytes) {
  const auto header = read_file_header(fd, file_bytes);
  if (!header) return fail(header.error());
  const auto count = count_program_headers(fd, file_bytes, *header);
  if (!count) return fail(count.error());

  Headers headers;
  Collector collector(fd, file_bytes, headers);
  std::vector<Elf64_Phdr> segments(std::min<std::uint64_t>(*count, kHeadersAtATime));
  for (std::uint64_t first = 0; first < *count; first += segments.size()) {
    const auto some = std::span(segments).first(std::min<std::uint64_t>(segments.size(), *count - first));
    if (!read_exactly(fd, header->e_phoff + first * sizeof(Elf64_Phdr), std::as_writable_bytes(some)))
      return fail("a core whose program headers cannot be read");
    for (const Elf64_Phdr& segment : some) collector.add(segment);
  }
  collector.finish();
  if (headers.physical.empty() && headers.kernel.empty()) return fail("a core without kernel memory: of a process, it seems");
  return headers;
}

}  // namespace floe::walkers::core
