// Finds BPF objects in an executable.
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "walkers/bpf/bpf_object.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::size_t kMaxObjects = 64;
constexpr std::uint32_t kMaxSections = 4096;

template <class T>
std::optional<T> at(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::optional<Elf64_Ehdr> elf_header(std::span<const std::byte> bytes) {
  const auto header = at<Elf64_Ehdr>(bytes, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
      header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shnum > kMaxSections)
    return std::nullopt;
  return header;
}

std::optional<Elf64_Shdr> section(std::span<const std::byte> elf, const Elf64_Ehdr& header, std::uint32_t index) {
  if (index >= header.e_shnum || header.e_shoff > elf.size()) return std::nullopt;
  return at<Elf64_Shdr>(elf, header.e_shoff + std::uint64_t{index} * sizeof(Elf64_Shdr));
}

// How many of the bytes are the object that begins them; 0 when none does.
std::size_t object_bytes(std::span<const std::byte> bytes) {
  const auto header = elf_header(bytes);
  if (!header || header->e_machine != EM_BPF || header->e_shoff > bytes.size()) return 0;
  std::uint64_t end = header->e_shoff + std::uint64_t{header->e_shnum} * sizeof(Elf64_Shdr);
  for (std::uint32_t i = 0; i < header->e_shnum; ++i) {
    const auto one = section(bytes, *header, i);
    if (!one) return 0;
    if (one->sh_type == SHT_NOBITS) continue;
    if (one->sh_offset > bytes.size() || one->sh_size > bytes.size() - one->sh_offset) return 0;
    end = std::max(end, one->sh_offset + one->sh_size);
  }
  return end <= bytes.size() ? end : 0;
}

// The section .bpf.objs; empty where there is none.
std::span<const std::byte> objects_section(std::span<const std::byte> file) {
  const auto header = elf_header(file);
  const auto names = header ? section(file, *header, header->e_shstrndx) : std::nullopt;
  if (!names) return {};
  constexpr std::string_view kName{".bpf.objs", 10};  // with its NUL
  for (std::uint32_t i = 0; i < header->e_shnum; ++i) {
    const auto one = section(file, *header, i);
    if (!one || one->sh_type != SHT_PROGBITS || one->sh_offset > file.size() || one->sh_size > file.size() - one->sh_offset) continue;
    const std::uint64_t name = names->sh_offset + one->sh_name;
    if (name < file.size() && file.size() - name >= kName.size() && std::memcmp(file.data() + name, kName.data(), kName.size()) == 0)
      return file.subspan(one->sh_offset, one->sh_size);
  }
  return {};
}

}  // namespace

std::vector<std::span<const std::byte>> embedded_objects(std::span<const std::byte> file) {
  if (const std::size_t bytes = object_bytes(file)) return {file.first(bytes)};
  const auto objects = objects_section(file);
  const auto haystack = objects.empty() ? file : objects;
  constexpr std::byte kMagic[] = {std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}, std::byte{'F'}};
  std::vector<std::span<const std::byte>> found;
  for (auto from = haystack.begin(); found.size() < kMaxObjects;) {
    from = std::search(from, haystack.end(), std::begin(kMagic), std::end(kMagic));
    if (from == haystack.end()) break;
    const auto rest = haystack.subspan(static_cast<std::size_t>(from - haystack.begin()));
    const std::size_t bytes = object_bytes(rest);
    if (bytes != 0) found.push_back(rest.first(bytes));
    from += static_cast<std::ptrdiff_t>(std::max<std::size_t>(bytes, 4));
  }
  return found;
}

}  // namespace floe::walkers::bpf
