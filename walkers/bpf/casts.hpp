// Finds the pointers that a scheduler hides in integers.
//
// BPF programs keep the addresses of arena objects and of kernel structures in u64 members, for their types cannot express what they are.
// The instructions that store and use them tell. They are taken from the scheduler's executable, which carries its compiled BPF objects
// (in a section .bpf.objs, as a libbpf skeleton, or by being one), or, where there is no such file, from the kernel that runs them
// (loaded_object.hpp).
//
// A wrong finding shows garbage as if it were data, a missed one a number: where evidence conflicts, nothing is said. What is found is
// where a pointer may be and what to; whether it is one decides the renderer by the value it sees.
//
//   const auto casts = bpf::CastAnalysis::of_file(bytes_of_executable);
//   render::Renderer renderer(types, {.casts = casts.find(*types)});
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/budget.hpp"
#include "walkers/render/casts.hpp"
#include "walkers/render/pointers.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::bpf {

struct BpfObject;

// Of one object. Those that were found by the deadline.
render::Casts casts_of(const BpfObject& object, std::optional<WalkBudget::Clock::time_point> deadline = std::nullopt);

class CastAnalysis {
 public:
  CastAnalysis() = default;  // knows nothing

  // Of every BPF object in the file. A file without any, or with malformed ones, is no error: problems() tells. Never more than 64
  // objects of 256 Ki instructions.
  static CastAnalysis of_file(std::span<const std::byte> file);

  // The findings that hold for a program's types as they were read from the kernel: those of the object that was loaded from, recognised
  // by its structs. Null when none was. Lives as long as this object.
  const render::Casts* find(const render::TypeTable& program) const;

  // A complete struct or union of any of the objects, the first that has it.
  std::optional<render::TypeRef> complete_type(std::string_view name, bool is_union) const;

  struct Object {
    std::shared_ptr<const render::TypeTable> types;
    render::Casts casts;
  };
  const std::vector<Object>& objects() const { return objects_; }
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::vector<Object> objects_;
  std::vector<std::string> problems_;
};

}  // namespace floe::walkers::bpf
