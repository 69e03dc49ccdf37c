// A BPF object as the cast analysis needs it: instructions, what they refer to, functions with their prototypes, variables of the data
// sections, and the types of it all. Of a compiled one (ELF, e_machine EM_BPF) relocations tell what is referred to; of one that a kernel
// runs see loaded_object.hpp. The bytes come from a file that somebody may have made to harm: everything is bounded, and what is malformed
// is an error.
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

// What an instruction refers to.
struct Reference {
  enum class Kind : std::uint8_t { data, map, function, kfunc, helper };
  Kind kind = Kind::data;
  std::uint32_t index = 0;  // of the section; of BpfObject::maps or ::functions; the FUNC_PROTO of a kfunc, or 0; a helper's number
  std::int64_t offset = 0;  // into the section; of a helper not 0: it gives the element that the value lies in (MapUse::in_element)
  std::string name{};       // of a kfunc
};

// A map that the code names.
struct MapUse {
  std::uint32_t value = 0;      // the struct that it holds; 0: none, or not known
  std::int32_t in_element = 0;  // of a hash: bytes from its element to the value
  std::int32_t in_map = 0;      // of an array: bytes from its struct bpf_array to the values
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
  std::vector<MapUse> maps;
  std::vector<ObjectVariable> variables;  // by section and offset

  // Of code as a kernel runs it, behind its verifier, which rewrites some of it: that kernel's types. Null: as it was compiled.
  std::shared_ptr<const render::TypeTable> kernel;

  static Result<BpfObject> parse(std::span<const std::byte> elf);

  const ObjectVariable* variable_at(std::uint32_t section, std::int64_t offset) const;
  const Function* function_at(std::uint32_t instruction) const;  // that starts there
};

// The FUNC_PROTO that a pointer leads to, and that of a function by its name; 0: none.
std::uint32_t prototype_behind(const render::TypeTable& types, std::uint32_t pointer);
std::uint32_t prototype_of(const render::TypeTable& types, const std::string& function);

// The BPF objects in a file: the file itself; or those in the section .bpf.objs of an executable; or those anywhere in it, as skeletons
// of libbpf leave them. At most 64.
std::vector<std::span<const std::byte>> embedded_objects(std::span<const std::byte> file);

}  // namespace floe::walkers::bpf
