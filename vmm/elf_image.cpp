#include "vmm/elf_image.hpp"

#include <elf.h>
#include <gelf.h>

#include <cstring>
#include <memory>
#include <string_view>

namespace floe::vmm {
namespace {

constexpr std::size_t kMaxHeaders = 65535;
constexpr std::size_t kMaxDynamic = 1U << 20;  // bytes of a dynamic section

struct ElfEnd {
  void operator()(Elf* elf) const { ::elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfEnd>;

tl::unexpected<Error> malformed(std::string_view what) {
  return fail("malformed ELF file: " + std::string(what));
}

class ElfReader {
 public:
  ElfReader(std::span<const std::byte> bytes, Elf* elf) : bytes_(bytes), elf_(elf) {}

  Result<ElfImage> read() {
    if (auto r = read_headers(); !r) return fail(std::move(r.error()));
    for (const auto& header : headers_) {
      if (header.p_type == PT_INTERP) {
        auto text = interpreter(header);
        if (!text) return fail(std::move(text.error()));
        image_.interpreter = std::move(*text);
      } else if (header.p_type == PT_DYNAMIC) {
        if (auto r = read_dynamic(header); !r) return fail(std::move(r.error()));
      }
    }
    return std::move(image_);
  }

 private:
  Result<> read_headers() {
    GElf_Ehdr header;
    if (::gelf_getehdr(elf_, &header) == nullptr) return malformed("no header");
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return fail("not a program or shared library");
    image_.shared_object = header.e_type == ET_DYN;
    std::size_t count = 0;
    if (::elf_getphdrnum(elf_, &count) != 0 || count > kMaxHeaders) return malformed("bad number of program headers");
    if (count == 0) return malformed("no program headers");
    for (std::size_t i = 0; i < count; ++i) {
      GElf_Phdr program_header;
      if (::gelf_getphdr(elf_, static_cast<int>(i), &program_header) == nullptr) return malformed("program headers outside of the file");
      headers_.push_back(program_header);
    }
    return {};
  }

  std::optional<std::span<const std::byte>> range(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return std::nullopt;
    return bytes_.subspan(offset, size);
  }

  // The bytes of the file from where `address` is loaded up to the end of that segment.
  std::optional<std::span<const std::byte>> loaded(std::uint64_t address) const {
    for (const auto& header : headers_) {
      if (header.p_type != PT_LOAD || address < header.p_vaddr || address - header.p_vaddr >= header.p_filesz) continue;
      const auto segment = range(header.p_offset, header.p_filesz);
      if (segment) return segment->subspan(address - header.p_vaddr);
    }
    return std::nullopt;
  }

  Result<std::string> interpreter(const GElf_Phdr& header) const {
    const auto bytes = range(header.p_offset, header.p_filesz);
    if (!bytes || bytes->empty() || bytes->size() > 4096 || bytes->back() != std::byte{0}) return malformed("bad interpreter name");
    std::string text(static_cast<const char*>(static_cast<const void*>(bytes->data())));
    if (text.empty() || text.front() != '/') return malformed("the interpreter's name is not an absolute path");
    return text;
  }

  Result<> read_dynamic(const GElf_Phdr& header) {
    const auto bytes = range(header.p_offset, header.p_filesz);
    if (!bytes) return malformed("the dynamic section is outside of the file");
    if (bytes->size() > kMaxDynamic) return malformed("oversize dynamic section");
    std::vector<Elf64_Dyn> entries(bytes->size() / sizeof(Elf64_Dyn));
    if (!entries.empty()) std::memcpy(entries.data(), bytes->data(), entries.size() * sizeof(Elf64_Dyn));
    std::optional<std::uint64_t> table;
    std::uint64_t table_size = 0;
    std::size_t count = 0;
    for (; count < entries.size() && entries[count].d_tag != DT_NULL; ++count) {
      if (entries[count].d_tag == DT_STRTAB) table = entries[count].d_un.d_ptr;
      if (entries[count].d_tag == DT_STRSZ) table_size = entries[count].d_un.d_val;
    }
    const auto strings = table ? loaded(*table) : std::nullopt;
    const auto bounded = strings ? strings->first(std::min<std::uint64_t>(strings->size(), table_size)) : std::span<const std::byte>();
    for (const auto& entry : std::span(entries).first(count)) {
      if (auto r = take(entry, bounded); !r) return r;
    }
    return {};
  }

  Result<> take(const Elf64_Dyn& entry, std::span<const std::byte> strings) {
    const auto tag = entry.d_tag;
    if (tag != DT_NEEDED && tag != DT_SONAME && tag != DT_RPATH && tag != DT_RUNPATH) return {};
    if (entry.d_un.d_val >= strings.size()) return malformed("a name in the dynamic section is outside of its string table");
    const auto rest = strings.subspan(entry.d_un.d_val);
    const auto* end = static_cast<const std::byte*>(std::memchr(rest.data(), 0, rest.size()));
    if (end == nullptr) return malformed("a name in the dynamic section has no end");
    std::string text(static_cast<const char*>(static_cast<const void*>(rest.data())), static_cast<std::size_t>(end - rest.data()));
    if (tag == DT_NEEDED && text.empty()) return malformed("an empty library name");
    if (tag == DT_NEEDED) image_.needed.push_back(std::move(text));
    if (tag == DT_SONAME) image_.soname = std::move(text);
    if (tag == DT_RPATH) image_.rpath = std::move(text);
    if (tag == DT_RUNPATH) image_.runpath = std::move(text);
    return {};
  }

  std::span<const std::byte> bytes_;
  Elf* elf_;
  std::vector<GElf_Phdr> headers_;
  ElfImage image_;
};

}  // namespace

bool is_elf(std::span<const std::byte> bytes) {
  return bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
}

bool is_x86_64(std::span<const std::byte> bytes) {
  Elf64_Ehdr header;
  if (!is_elf(bytes) || bytes.size() < sizeof header) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_machine == EM_X86_64;
}

Result<ElfImage> read_elf(std::span<const std::byte> bytes) {
  if (!is_elf(bytes)) return fail("not an ELF file");
  if (bytes.size() < sizeof(Elf64_Ehdr)) return malformed("shorter than its header");
  if (!is_x86_64(bytes)) return fail("not an ELF file for x86-64");
  ::elf_version(EV_CURRENT);
  // libelf takes a pointer to non-const; a handle made by elf_memory() only reads it.
  const ElfHandle elf(::elf_memory(static_cast<char*>(const_cast<void*>(static_cast<const void*>(bytes.data()))), bytes.size()));
  if (!elf) return malformed(::elf_errmsg(-1));
  return ElfReader(bytes, elf.get()).read();
}

}  // namespace floe::vmm
