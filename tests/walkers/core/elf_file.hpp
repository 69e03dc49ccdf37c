// Core files made by a test, header by header.
#pragma once

#include <elf.h>

#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "walkers/core/core_file.hpp"

namespace floe::walkers::core::test {

class ElfFile {
 public:
  ElfFile() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_CORE;
    header.e_machine = EM_X86_64;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
  }

  // A segment whose bytes are `bytes`; in memory as many as those when `memory_bytes` is 0.
  Elf64_Phdr& add(std::uint32_t type, std::span<const std::byte> bytes, std::uint64_t paddr, std::uint64_t vaddr = 0,
                  std::uint64_t memory_bytes = 0) {
    Elf64_Phdr segment{};
    segment.p_type = type;
    segment.p_paddr = paddr;
    segment.p_vaddr = vaddr;
    segment.p_offset = data_.size();  // made whole by bytes()
    segment.p_filesz = bytes.size();
    segment.p_memsz = memory_bytes == 0 ? bytes.size() : memory_bytes;
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    segments.push_back(segment);
    return segments.back();
  }
  Elf64_Phdr& load(char fill, std::size_t bytes, std::uint64_t paddr, std::uint64_t vaddr = 0, std::uint64_t memory_bytes = 0) {
    return add(PT_LOAD, std::vector(bytes, std::byte(fill)), paddr, vaddr, memory_bytes);
  }

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out;
    const auto append = [&out](const auto& value) {
      const auto raw = std::as_bytes(std::span(&value, 1));
      out.insert(out.end(), raw.begin(), raw.end());
    };
    Elf64_Ehdr whole = header;
    if (whole.e_phnum == 0) whole.e_phnum = static_cast<std::uint16_t>(segments.size());
    append(whole);
    for (Elf64_Phdr segment : segments) {
      segment.p_offset += sizeof header + segments.size() * sizeof segment;
      append(segment);
    }
    out.insert(out.end(), data_.begin(), data_.end());
    return out;
  }

  void write(const std::string& path) const {
    const auto all = bytes();
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(reinterpret_cast<const char*>(all.data()), static_cast<long>(all.size()));
  }

  Elf64_Ehdr header{};
  std::vector<Elf64_Phdr> segments;

 private:
  std::vector<std::byte> data_;
};

// What stands at [address, address + bytes) of `memory`, '.' for each byte from the first unreadable one on, '0' for zero.
inline std::string text_at(const Memory& memory, std::uint64_t address, std::size_t bytes) {
  std::string text(bytes, '.');
  const auto got = memory.read(Gpa(address), std::as_writable_bytes(std::span(text)));
  for (std::size_t n = 0; n < bytes; ++n) text[n] = n >= got ? '.' : text[n] == 0 ? '0' : text[n];
  return text;
}

}  // namespace floe::walkers::core::test
