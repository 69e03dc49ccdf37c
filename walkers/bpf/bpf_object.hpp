// A compiled BPF object (ELF, e_machine EM_BPF) as the cast analysis needs it: instructions, what their relocations name, functions with
// their prototypes, variables of the data sections, and the types of it all. The bytes come from a file that somebody may have made to
// harm: everything is bounded, and what is malformed is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::bpf {

// struct bpf_insn
struct Instruction {
  std::uint8_t code = 0;
  std::uint8_t registers = 0;  // destination in the low four bits
  std::int16_t off = 0;
  std::int32_t imm = 0;

  unsigned dst() const { return registers & 15; }
  unsigned src() const { return registers >> 4; }
};
static_assert(sizeof(Instruction) == 8);

struct Function {
  std::string name;
  std::uint32_t start = 0;      // index of its first instruction
  std::uint32_t end = 0;        // of the one behind its last
  std::uint32_t prototype = 0;  // BTF_KIND_FUNC_PROTO; 0: not known
  std::uint32_t context = 0;    // FUNC_PROTO of the struct_ops member it is, whose parameters its context holds; 0: none
};

// What the relocation of an instruction leads to.
struct Reference {
  enum class Kind : std::uint8_t { data, map, function, kfunc };
  Kind kind = Kind::data;
  std::uint32_t index = 0;  // of the section; of BpfObject::functions; the BTF_KIND_VAR of a map; the FUNC_PROTO of a kfunc, or 0
  std::int64_t offset = 0;  // into the section
  std::string name{};       // of a kfunc
};

// A variable of a data section, by its place.
struct ObjectVariable {
  std::uint32_t section = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint32_t type_id = 0;  // BTF_KIND_VAR
};

struct BpfObject {
  std::shared_ptr<const render::TypeTable> types;
  std::vector<Instruction> code;                  // of all executable sections, one after the other
  std::vector<Function> functions;                // by start
  std::map<std::uint32_t, Reference> references;  // by instruction
  std::vector<ObjectVariable> variables;          // by section and offset

  static Result<BpfObject> parse(std::span<const std::byte> elf);

  const ObjectVariable* variable_at(std::uint32_t section, std::int64_t offset) const;
  const Function* function_at(std::uint32_t instruction) const;  // that starts there
};

// The BPF objects in a file: the file itself; or those in the section .bpf.objs of an executable; or those anywhere in it, as skeletons
// of libbpf leave them. At most 64.
std::vector<std::span<const std::byte>> embedded_objects(std::span<const std::byte> file);

}  // namespace floe::walkers::bpf
