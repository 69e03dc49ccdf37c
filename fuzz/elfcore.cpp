// Hostile cores: an ELF file of any content is refused with a reason, or what it has can be read, in order and within bounds. The first
// input byte chooses whether the fields that every core has are put right first: without them no input would come far.
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "fuzz/input.hpp"
#include "walkers/core/core_file.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

void require(bool held) {
  if (!held) std::abort();
}

void repair(std::span<std::byte> bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header) return;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phoff %= 256;
  const std::uint64_t room = (bytes.size() - std::min<std::uint64_t>(header.e_phoff, bytes.size())) / sizeof(Elf64_Phdr);
  if (header.e_phnum != PN_XNUM) header.e_phnum = static_cast<std::uint16_t>(std::min<std::uint64_t>(header.e_phnum % 64, room));
  std::memcpy(bytes.data(), &header, sizeof header);
}

void check_extents(const core::CoreFile& file, const core::Extents& extents) {
  std::uint64_t end = 0;
  bool first = true;
  std::array<std::byte, 64> out;
  for (const core::Extent& extent : extents.all()) {
    require(extent.bytes > 0 && extent.end() > extent.start);
    require(first || extent.start >= end);
    require(extent.zeroes() || (extent.offset <= file.file_bytes() && extent.bytes <= file.file_bytes() - extent.offset));
    require(extents.find(extent.start) == &extent && extents.find(extent.end() - 1) == &extent);
    require(file.read(extents, extent.start, std::span(out).first(1)) == 1);
    require(file.read(extents, extent.end() - 1, out) >= 1);
    (void)file.read(extents, extent.start - 3, out);
    end = extent.end();
    first = false;
  }
  std::uint64_t last = 0;
  for (const PhysRange& range : file.populated(extents)) {
    require(range.bytes > 0 && range.start.value >= last);
    require(extents.find(range.start.value) != nullptr);
    last = range.start.value + range.bytes;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto mode = input.take<std::uint8_t>();
  const auto rest = std::as_bytes(input.rest());
  std::vector<std::byte> bytes(rest.begin(), rest.end());
  if (mode & 1) repair(bytes);
  const UniqueFd fd(::memfd_create("floe-fuzz", MFD_CLOEXEC));
  require(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));

  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  const auto file = core::CoreFile::open(path);
  if (!file) {
    require(file.error().message.starts_with(path + ": "));
    return 0;
  }
  const core::Headers& headers = (*file)->headers();
  require(!headers.physical.empty() || !headers.kernel.empty());
  require(headers.notes.cpus.size() <= core::kMaxCpus);
  check_extents(**file, headers.physical);
  check_extents(**file, headers.kernel);
  require((*file)->problem().empty());

  // What a core says of its CPUs is the same when floe writes it.
  core::Notes again;
  core::read_notes(core::write_notes(headers.notes), again);
  require(again.cpus.size() == headers.notes.cpus.size());
  for (std::size_t n = 0; n < again.cpus.size(); ++n) require(again.cpus[n].rip == headers.notes.cpus[n].rip);
  return 0;
}
