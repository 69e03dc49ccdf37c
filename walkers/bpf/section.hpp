// A data section of a BPF program (its .bss map) with the types of its variables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/render/type_table.hpp"

namespace floe::walkers::bpf {

struct Section {
  std::vector<std::byte> bytes;
  std::shared_ptr<const render::TypeTable> types;
  std::uint32_t type_id = 0;  // of the BTF_KIND_DATASEC
};

struct Variable {
  std::string name;
  std::uint64_t offset = 0;                         // in the section
  std::optional<std::span<const std::byte>> bytes;  // absent: BTF puts it outside of the section
};

// The variables whose type, behind typedefs and qualifiers, is the struct of that name.
std::vector<Variable> variables_of(const Section& section, std::string_view struct_name);

// Where in a section, a BTF_KIND_DATASEC, the variable of that name lies.
std::optional<std::uint64_t> variable_offset(const render::TypeTable& types, std::uint32_t section_id, std::string_view variable);

// Bytes from the start of a struct, or union, to a member, which may stand in an anonymous struct of it. Nothing for a bit-field.
std::optional<std::uint32_t> member_offset(const render::TypeTable& types, std::uint32_t struct_id, std::string_view member);

// The same by the name of the struct.
std::optional<std::uint32_t> member_offset(const render::TypeTable& types, std::string_view struct_name, std::string_view member);

// Where in a value of that type the first pointer to a struct sdt_data stands, which may be declared only; through typedefs, and in
// structs that stand in the value.
std::optional<std::uint64_t> sdt_data_member(const render::TypeTable& types, std::uint32_t type_id);

}  // namespace floe::walkers::bpf
