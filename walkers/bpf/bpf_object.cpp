#include "walkers/bpf/bpf_object.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <tuple>

#include "walkers/bpf/cast_fields.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::size_t kMaxInstructions = 1 << 18;
constexpr std::size_t kMaxSections = 4096;
constexpr std::size_t kMaxSymbols = 1 << 17;
constexpr std::size_t kMaxReferences = 1 << 17;

struct ElfCloser {
  void operator()(Elf* elf) const { ::elf_end(elf); }
};

struct Section {
  GElf_Shdr header{};
  std::string name;
  std::span<const std::byte> bytes;
  std::optional<std::uint32_t> first;  // of its instructions in BpfObject::code
};

template <class T>
std::optional<T> value_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Puts one object together out of its sections.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> elf) : elf_bytes_(elf) {}

  Result<BpfObject> read() {
    if (auto opened = open(); !opened) return fail(opened.error());
    const Section* btf = section_named(".BTF");
    if (btf == nullptr) return fail("the BPF object has no BTF");
    auto types = render::TypeTable::parse(btf->bytes);
    if (!types) return fail(std::move(types.error()).within("BTF of the BPF object"));
    object_.types = *types;
    if (auto loaded = load_code(); !loaded) return fail(loaded.error());
    load_symbols();
    load_functions();
    index_variables();
    for (const Section& section : sections_) load_relocations(section);
    return std::move(object_);
  }

 private:
  Result<void> open() {
    ::elf_version(EV_CURRENT);
    // libelf takes a pointer to non-const; a handle made by elf_memory() only reads it.
    elf_.reset(::elf_memory(reinterpret_cast<char*>(const_cast<std::byte*>(elf_bytes_.data())), elf_bytes_.size()));
    GElf_Ehdr header{};
    if (!elf_ || ::gelf_getehdr(elf_.get(), &header) == nullptr || header.e_machine != EM_BPF) return fail("no BPF object");
    std::size_t names = 0;
    if (::elf_getshdrstrndx(elf_.get(), &names) != 0) return fail("the BPF object has no section names");
    for (Elf_Scn* scn = nullptr; (scn = ::elf_nextscn(elf_.get(), scn)) != nullptr;) {
      if (sections_.size() == kMaxSections) return fail("the BPF object has too many sections");
      sections_.resize(::elf_ndxscn(scn) + 1);
      Section& section = sections_.back();
      if (::gelf_getshdr(scn, &section.header) == nullptr) return fail("a section of the BPF object is malformed");
      if (const char* name = ::elf_strptr(elf_.get(), names, section.header.sh_name)) section.name = name;
      if (section.header.sh_type == SHT_NOBITS) continue;
      const Elf_Data* data = ::elf_rawdata(scn, nullptr);
      if (data != nullptr && data->d_buf != nullptr) section.bytes = {static_cast<const std::byte*>(data->d_buf), data->d_size};
    }
    return {};
  }

  const Section* section_named(std::string_view name) const {
    for (const Section& section : sections_)
      if (section.name == name) return &section;
    return nullptr;
  }

  Result<void> load_code() {
    for (Section& section : sections_) {
      if (section.header.sh_type != SHT_PROGBITS || (section.header.sh_flags & SHF_EXECINSTR) == 0) continue;
      const std::size_t count = section.bytes.size() / sizeof(Instruction);
      if (count > kMaxInstructions - object_.code.size()) return fail("the BPF object has too many instructions");
      section.first = static_cast<std::uint32_t>(object_.code.size());
      object_.code.resize(object_.code.size() + count);
      if (count != 0) std::memcpy(&object_.code[*section.first], section.bytes.data(), count * sizeof(Instruction));
    }
    return {};
  }

  void load_symbols() {
    for (const Section& section : sections_) {
      if (section.header.sh_type != SHT_SYMTAB) continue;
      const std::size_t count = std::min(section.bytes.size() / sizeof(Elf64_Sym), kMaxSymbols);
      symbols_.resize(count);
      if (count != 0) std::memcpy(symbols_.data(), section.bytes.data(), count * sizeof(Elf64_Sym));
      symbol_names_ = section.header.sh_link;
      return;
    }
  }

  std::string_view name_of(const Elf64_Sym& symbol) const {
    const char* name = ::elf_strptr(elf_.get(), symbol_names_, symbol.st_name);
    return name == nullptr ? std::string_view{} : std::string_view(name);
  }

  const Section* section_of(const Elf64_Sym& symbol) const {
    return symbol.st_shndx != SHN_UNDEF && symbol.st_shndx < sections_.size() ? &sections_[symbol.st_shndx] : nullptr;
  }

  // .BTF.ext: a header, then for each section of code its name and (byte offset, BTF_KIND_FUNC) of its functions.
  void load_functions() {
    const Section* ext = section_named(".BTF.ext");
    const auto header_bytes = ext == nullptr ? std::nullopt : value_at<std::uint32_t>(ext->bytes, 4);
    const auto offset = header_bytes ? value_at<std::uint32_t>(ext->bytes, 8) : std::nullopt;
    const auto bytes = header_bytes ? value_at<std::uint32_t>(ext->bytes, 12) : std::nullopt;
    if (!offset || !bytes) return;
    const std::uint64_t start = std::uint64_t{*header_bytes} + *offset;
    if (start > ext->bytes.size()) return;
    const auto info = ext->bytes.subspan(start, std::min<std::uint64_t>(*bytes, ext->bytes.size() - start));
    const auto record = value_at<std::uint32_t>(info, 0);
    if (!record || *record < 8 || *record > 4096) return;
    for (std::uint64_t at = 4; at + 8 <= info.size();) {
      const Section* section = section_named(object_.types->name(*value_at<std::uint32_t>(info, at)));
      const auto count = *value_at<std::uint32_t>(info, at + 4);
      at += 8;
      for (std::uint32_t i = 0; i < count && at + *record <= info.size(); ++i, at += *record)
        if (section != nullptr && section->first)
          add_function(*section, *value_at<std::uint32_t>(info, at), *value_at<std::uint32_t>(info, at + 4));
    }
    auto& functions = object_.functions;
    std::sort(functions.begin(), functions.end(), [](const Function& a, const Function& b) { return a.start < b.start; });
    for (std::size_t i = 0; i + 1 < functions.size(); ++i) functions[i].end = std::min(functions[i].end, functions[i + 1].start);
  }

  void add_function(const Section& section, std::uint32_t byte, std::uint32_t type_id) {
    const btf_type* type = object_.types->type(type_id);
    if (byte >= section.bytes.size() || type == nullptr || !btf_is_func(type)) return;
    const btf_type* prototype = object_.types->type(type->type);
    const auto end = static_cast<std::uint32_t>(*section.first + section.bytes.size() / sizeof(Instruction));
    object_.functions.push_back({.name = std::string(object_.types->name(type->name_off)),
                                 .start = static_cast<std::uint32_t>(*section.first + byte / sizeof(Instruction)),
                                 .end = end,
                                 .prototype = prototype != nullptr && btf_is_func_proto(prototype) ? type->type : 0});
  }

  // Variables get their place from the symbols: in an object the offsets in BTF_KIND_DATASEC are not filled in yet.
  void index_variables() {
    std::map<std::pair<std::string_view, std::string_view>, std::uint32_t> by_name;
    for (std::uint32_t id = object_.types->first_own(); id < object_.types->count(); ++id) {
      const btf_type* type = object_.types->type(id);
      if (!btf_is_datasec(type)) continue;
      for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
        const std::uint32_t variable = btf_var_secinfos(type)[i].type;
        by_name[{object_.types->name(type->name_off), object_.types->name_of(variable)}] = variable;
      }
    }
    for (const Elf64_Sym& symbol : symbols_) {
      const Section* section = section_of(symbol);
      if (section == nullptr || section->first || ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT) continue;
      const auto known = by_name.find({section->name, name_of(symbol)});
      if (known != by_name.end()) object_.variables.push_back({symbol.st_shndx, symbol.st_value, symbol.st_size, known->second});
    }
    std::sort(object_.variables.begin(), object_.variables.end(), [](const ObjectVariable& a, const ObjectVariable& b) {
      return std::tie(a.section, a.offset) < std::tie(b.section, b.offset);
    });
  }

  void load_relocations(const Section& relocations) {
    if (relocations.header.sh_type != SHT_REL || relocations.header.sh_info >= sections_.size()) return;
    const Section& target = sections_[relocations.header.sh_info];
    const bool ops = target.name == ".struct_ops" || target.name == ".struct_ops.link";
    if (!target.first && !ops) return;
    for (std::uint64_t at = 0; at + sizeof(Elf64_Rel) <= relocations.bytes.size(); at += sizeof(Elf64_Rel)) {
      const auto relocation = *value_at<Elf64_Rel>(relocations.bytes, at);
      const std::uint64_t index = ELF64_R_SYM(relocation.r_info);
      if (index >= symbols_.size()) continue;
      if (ops) {
        note_struct_ops(relocations.header.sh_info, relocation.r_offset, symbols_[index]);
      } else if (relocation.r_offset / 8 < target.bytes.size() / 8 && object_.references.size() < kMaxReferences) {
        refer(static_cast<std::uint32_t>(*target.first + relocation.r_offset / 8), symbols_[index]);
      }
    }
  }

  void refer(std::uint32_t at, const Elf64_Sym& symbol) {
    const Instruction& instruction = object_.code[at];
    const Section* section = section_of(symbol);
    Reference reference;
    if (instruction.code == (BPF_JMP | BPF_CALL)) {
      if (section == nullptr) {
        reference.kind = Reference::Kind::kfunc;
        reference.name = std::string(name_of(symbol));
        reference.index = prototype_of(*object_.types, reference.name);
      } else {
        if (!section->first) return;
        const Function* function = object_.function_at(
            static_cast<std::uint32_t>(*section->first + symbol.st_value / 8 + static_cast<std::int64_t>(instruction.imm) + 1));
        if (function == nullptr) return;
        reference.kind = Reference::Kind::function;
        reference.index = static_cast<std::uint32_t>(function - object_.functions.data());
      }
    } else if (instruction.code == (BPF_LD | BPF_IMM | BPF_DW) && section != nullptr && !section->first) {
      reference.index = symbol.st_shndx;
      reference.offset = static_cast<std::int64_t>(symbol.st_value + static_cast<std::uint64_t>(std::int64_t{instruction.imm}));
      if (section->name == ".maps") {
        const ObjectVariable* variable = object_.variable_at(reference.index, reference.offset);
        if (variable == nullptr) return;
        reference.kind = Reference::Kind::map;
        reference.index = map_index(variable->type_id);
      }
    } else {
      return;
    }
    object_.references.emplace(at, std::move(reference));
  }

  std::uint32_t map_index(std::uint32_t variable) {
    const auto [known, is_new] = map_indices_.try_emplace(variable, static_cast<std::uint32_t>(object_.maps.size()));
    if (is_new) object_.maps.push_back({.value = value_struct(variable)});
    return known->second;
  }

  // The struct that a map holds, from its BTF definition: __type(value, T) is a member `value` that points to T.
  std::uint32_t value_struct(std::uint32_t variable) const {
    const auto definition = object_.types->peel(variable);
    const btf_type* type = definition ? object_.types->type(*definition) : nullptr;
    if (type == nullptr || !btf_is_struct(type)) return 0;
    for (std::uint32_t i = 0; i < btf_vlen(type); ++i)
      if (object_.types->name(btf_members(type)[i].name_off) == "value")
        return CastFields(object_.types).pointee_struct(btf_members(type)[i].type).value_or(0);
    return 0;
  }

  // A program's address in a struct of operations: its context holds the parameters of that member.
  void note_struct_ops(std::uint32_t section_index, std::uint64_t offset, const Elf64_Sym& symbol) {
    const Section* section = section_of(symbol);
    const ObjectVariable* variable = object_.variable_at(section_index, static_cast<std::int64_t>(offset));
    if (section == nullptr || !section->first || variable == nullptr) return;
    const Function* function = object_.function_at(static_cast<std::uint32_t>(*section->first + symbol.st_value / 8));
    const auto struct_id = object_.types->peel(variable->type_id);
    const btf_type* type = struct_id ? object_.types->type(*struct_id) : nullptr;
    if (function == nullptr || type == nullptr || !btf_is_struct(type)) return;
    for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
      if (btf_member_bit_offset(type, i) != (offset - variable->offset) * 8) continue;
      object_.functions[static_cast<std::size_t>(function - object_.functions.data())].context =
          prototype_behind(*object_.types, btf_members(type)[i].type);
      return;
    }
  }

  std::span<const std::byte> elf_bytes_;
  std::unique_ptr<Elf, ElfCloser> elf_;
  std::vector<Section> sections_;
  std::vector<Elf64_Sym> symbols_;
  std::size_t symbol_names_ = 0;
  std::map<std::uint32_t, std::uint32_t> map_indices_;  // by BTF_KIND_VAR
  BpfObject object_;
};

}  // namespace

Result<BpfObject> BpfObject::parse(std::span<const std::byte> elf) {
  return Reader(elf).read();
}

std::uint32_t prototype_behind(const render::TypeTable& types, std::uint32_t pointer) {
  const auto peeled = types.peel(pointer);
  const btf_type* type = peeled ? types.type(*peeled) : nullptr;
  if (type == nullptr || !btf_is_ptr(type)) return 0;
  const auto prototype = types.peel(type->type);
  return prototype && btf_is_func_proto(types.type(*prototype)) ? *prototype : 0;
}

std::uint32_t prototype_of(const render::TypeTable& types, const std::string& function) {
  const std::int32_t id = btf__find_by_name_kind(types.raw(), function.c_str(), BTF_KIND_FUNC);
  const btf_type* type = id > 0 ? types.type(static_cast<std::uint32_t>(id)) : nullptr;
  return type != nullptr ? type->type : 0;
}

const ObjectVariable* BpfObject::variable_at(std::uint32_t section, std::int64_t offset) const {
  if (offset < 0) return nullptr;
  const auto wanted = static_cast<std::uint64_t>(offset);
  auto at =
      std::upper_bound(variables.begin(), variables.end(), std::pair(section, wanted), [](const auto& key, const ObjectVariable& variable) {
        return std::tie(key.first, key.second) < std::tie(variable.section, variable.offset);
      });
  if (at == variables.begin()) return nullptr;
  --at;
  return at->section == section && wanted - at->offset < at->bytes ? &*at : nullptr;
}

const Function* BpfObject::function_at(std::uint32_t instruction) const {
  const auto at = std::lower_bound(functions.begin(), functions.end(), instruction,
                                   [](const Function& function, std::uint32_t start) { return function.start < start; });
  return at != functions.end() && at->start == instruction ? &*at : nullptr;
}

}  // namespace floe::walkers::bpf
