// ELF files of nothing but headers and a dynamic section, and a folder to put them in.
#pragma once

#include <elf.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace checks {

struct ElfBuilder {
  std::string interpreter;                                  // empty: none
  std::vector<std::pair<std::int64_t, std::string>> names;  // DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH
  std::uint16_t type = ET_DYN;
  std::uint16_t machine = EM_X86_64;

  ElfBuilder& name(std::int64_t tag, std::string text) {
    names.emplace_back(tag, std::move(text));
    return *this;
  }

  std::vector<std::byte> build() const {
    std::string strings(1, '\0');
    std::vector<Elf64_Dyn> dynamic;
    for (const auto& [tag, text] : names) {
      dynamic.push_back(entry(tag, strings.size()));
      strings += text + '\0';
    }
    const std::size_t headers = interpreter.empty() ? 2 : 3;
    const std::size_t interpreter_at = sizeof(Elf64_Ehdr) + headers * sizeof(Elf64_Phdr);
    const std::size_t dynamic_at = (interpreter_at + interpreter.size() + 1 + 7) / 8 * 8;
    const std::size_t strings_at = dynamic_at + (dynamic.size() + 3) * sizeof(Elf64_Dyn);
    dynamic.push_back(entry(DT_STRTAB, kBase + strings_at));
    dynamic.push_back(entry(DT_STRSZ, strings.size()));
    dynamic.push_back(entry(DT_NULL, 0));

    std::vector<std::byte> out(strings_at + strings.size());
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = type;
    header.e_machine = machine;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof header;
    header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(headers);
    std::memcpy(out.data(), &header, sizeof header);
    std::vector<Elf64_Phdr> segments{segment(PT_LOAD, 0, out.size()), segment(PT_DYNAMIC, dynamic_at, strings_at - dynamic_at)};
    if (!interpreter.empty()) segments.push_back(segment(PT_INTERP, interpreter_at, interpreter.size() + 1));
    std::memcpy(out.data() + sizeof header, segments.data(), segments.size() * sizeof(Elf64_Phdr));
    std::memcpy(out.data() + interpreter_at, interpreter.c_str(), interpreter.size() + 1);
    std::memcpy(out.data() + dynamic_at, dynamic.data(), dynamic.size() * sizeof(Elf64_Dyn));
    std::memcpy(out.data() + strings_at, strings.data(), strings.size());
    return out;
  }

 private:
  static constexpr std::uint64_t kBase = 0x400000;  // addresses are not offsets

  static Elf64_Dyn entry(std::int64_t tag, std::uint64_t value) {
    Elf64_Dyn e{};
    e.d_tag = tag;
    e.d_un.d_val = value;
    return e;
  }
  static Elf64_Phdr segment(std::uint32_t kind, std::uint64_t offset, std::uint64_t size) {
    Elf64_Phdr s{};
    s.p_type = kind;
    s.p_offset = offset;
    s.p_vaddr = kBase + offset;
    s.p_filesz = size;
    s.p_memsz = size;
    return s;
  }
};

// A folder of its own, by its canonical path, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "floe-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = std::filesystem::canonical(name).string();
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string write(const std::string& name, std::span<const std::byte> bytes, mode_t mode = 0755) const {
    const std::string file = path_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    ::chmod(file.c_str(), mode);
    return file;
  }
  std::string write(const std::string& name, std::string_view text, mode_t mode = 0755) const {
    return write(name, std::as_bytes(std::span(text)), mode);
  }
  std::string write(const std::string& name, const char* text, mode_t mode = 0755) const {
    return write(name, std::string_view(text), mode);
  }
  std::string write(const std::string& name, const ElfBuilder& elf) const { return write(name, elf.build()); }

 private:
  std::string path_;
};

}  // namespace checks
