// Types whose JSON has one shape whatever the bytes are: numbers, enums, and structs and short arrays of them. Worked out once, it is text
// with holes, and a value is written by copying the text and filling the holes: no call and no look at the type per member.
//
// A shape writes what the renderer would have written through JsonSink, byte for byte; what depends on more than the bytes of the value (a
// pointer, a CPU mask, a flexible array, an integer that may be a pointer) has none. Private to the renderer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json_writer.hpp"
#include "walkers/render/plan.hpp"

namespace floe::walkers::render {

class Shape {
 public:
  static constexpr std::size_t kMostText = 16 << 10;  // of one shape: what is larger pays for its calls
  static constexpr std::size_t kMostHoles = 256;

  // Null: the type has none. `max_elements` as the renderer shows of an array, 0 for all. What was worked out is taken from `text_left`,
  // also when nothing came of it: the BTF is the guest's.
  static std::shared_ptr<const Shape> of(Node& node, Plans& plans, std::uint64_t max_elements, std::size_t& text_left);

  std::uint64_t bytes() const { return bytes_; }  // that a value must have at least
  std::uint64_t cost() const { return cost_; }    // what rendering it spends
  int height() const { return height_; }          // of structs and arrays in one another

  // The next value of `json`.
  void write(const std::byte* bytes, JsonWriter& json) const;

 private:
  struct Hole {
    Op op = Op::kUint;
    bool is_signed = false;
    std::uint8_t shift = 0;
    std::uint8_t bytes = 0;
    std::uint16_t bits = 0;
    std::uint32_t names = 0;  // of an enum: index in names_
    std::uint32_t text = 0;   // bytes of text before the hole
    std::uint64_t offset = 0;
  };
  struct Names {
    const std::vector<Enumerator>* enumerators;
    std::vector<std::string> quoted;  // one each
  };
  class Builder;

  char* fill(const Hole& hole, const std::byte* bytes, char* out) const;

  std::string text_;  // of the holes in order, each piece padded to whole kPiece, then what follows the last one
  std::vector<Hole> holes_;
  std::vector<Names> names_;
  std::uint32_t tail_ = 0;
  std::size_t most_ = 0;  // bytes of JSON
  std::uint64_t bytes_ = 0;
  std::uint64_t cost_ = 0;
  int height_ = 0;
};

}  // namespace floe::walkers::render
