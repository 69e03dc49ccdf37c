#include "walkers/render/shape.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/decimal.hpp"
#include "walkers/render/bits.hpp"

namespace floe::walkers::render {
namespace {

constexpr std::size_t kPiece = 32;  // text is copied in pieces of that many bytes
constexpr int kMostHeight = 32;
constexpr std::string_view kVariant = R"(,"variant":)";

std::size_t padded(std::size_t bytes) {
  return (bytes + kPiece - 1) / kPiece * kPiece;
}

std::string quoted(std::string_view text) {
  JsonWriter json;
  json.string(text);
  return std::move(json).take();
}

bool is_composite(Op op) {
  return op == Op::kStruct || op == Op::kArray;
}

}  // namespace

class Shape::Builder {
 public:
  Builder(Plans& plans, std::uint64_t max_elements, std::size_t text_left)
      : plans_(plans), max_elements_(max_elements), most_text_(std::min(kMostText, text_left)) {}

  bool whole(Node& node) {
    plans_.prepare(node);
    shape_.bytes_ = node.bytes;
    if (!value(node, 0, node.bytes, 0)) return false;
    shape_.cost_ += kValueCost;
    shape_.tail_ = static_cast<std::uint32_t>(piece_.size());
    finish_piece();
    shape_.most_ += kPiece;  // the last copy is of a whole piece
    return true;
  }

  Shape take() { return std::move(shape_); }
  std::size_t text() const { return text_; }

 private:
  bool add(std::string_view text) {
    text_ += text.size();
    piece_ += text;
    return text_ <= most_text_;
  }

  void finish_piece() {
    shape_.most_ += piece_.size();
    piece_.resize(padded(piece_.size()));
    shape_.text_ += piece_;
    piece_.clear();
  }

  bool hole(const Node& node, std::uint64_t offset, std::size_t most) {
    if (shape_.holes_.size() == kMostHoles) return false;
    shape_.holes_.push_back({.op = node.op,
                             .is_signed = node.is_signed,
                             .shift = node.shift,
                             .bytes = static_cast<std::uint8_t>(node.bytes),
                             .bits = node.bits,
                             .names = static_cast<std::uint32_t>(shape_.names_.size()),
                             .text = static_cast<std::uint32_t>(piece_.size()),
                             .offset = offset});
    shape_.most_ += most;
    finish_piece();
    return true;
  }

  bool value(Node& node, std::uint64_t offset, std::uint64_t room, int height) {
    if (room < node.bytes) return false;  // shown as far as it goes
    switch (node.op) {
      case Op::kUint:
        return add(fmt::format(R"({{"kind":"uint","bits":{},"value":)", node.bits)) && hole(node, offset, kMostDigits) && add("}");
      case Op::kInt:
        return add(fmt::format(R"({{"kind":"int","bits":{},"value":)", node.bits)) && hole(node, offset, kMostDigits + 1) && add("}");
      case Op::kBool:
        return node.bytes <= 8 && add(R"({"kind":"bool","value":)") && hole(node, offset, 5) && add("}");
      case Op::kChar:
        return add(R"({"kind":"char","value":)") && hole(node, offset, 3) && add("}");
      case Op::kEnum:
        return enumeration(node, offset);
      case Op::kStruct:
        return structure(node, offset, height + 1);
      case Op::kArray:
        return array(node, offset, height + 1);
      default:
        return false;
    }
  }

  bool enumeration(const Node& node, std::uint64_t offset) {
    if (!add(fmt::format(R"({{"kind":"enum","bits":{},"value":)", node.bits))) return false;
    Names names{&node.enumerators, {}};
    std::size_t longest = std::string_view("null").size();
    for (const Enumerator& one : node.enumerators) {
      names.quoted.push_back(quoted(one.name));
      longest = std::max(longest, names.quoted.back().size());
      text_ += names.quoted.back().size();
      if (text_ > most_text_) return false;
    }
    if (!hole(node, offset, kMostDigits + 1 + kVariant.size() + longest)) return false;
    shape_.names_.push_back(std::move(names));
    return add(node.is_signed ? R"(,"is_signed":true})" : R"(,"is_signed":false})");
  }

  bool structure(Node& node, std::uint64_t offset, int height) {
    if (!enter(height)) return false;
    if (!add(fmt::format(R"({{"kind":"struct","type_name":{},"members":[)", node.name.empty() ? "null" : quoted(node.name)))) return false;
    for (std::size_t i = 0; i < node.members.size(); ++i) {
      const MemberPlan& member = node.members[i];
      if (member.cast != nullptr || member.offset > node.bytes) return false;
      if (!add(fmt::format(R"({}"name":{},"value":)", i == 0 ? "{" : ",{", quoted(member.name)))) return false;
      shape_.cost_ += kValueCost + member.name.size();
      if (!part(*member.node, offset + member.offset, std::min(member.room, node.bytes - member.offset), height) || !add("}")) return false;
    }
    return add("]}");
  }

  bool array(Node& node, std::uint64_t offset, int height) {
    const std::uint64_t each = node.bytes / node.len;
    const std::uint64_t shown = max_elements_ == 0 ? node.len : std::min(node.len, max_elements_);
    if (!enter(height) || each == 0 || shown > kMostHoles) return false;
    if (!add(fmt::format(R"({{"kind":"array","len":{},"elements":[)", node.len))) return false;
    for (std::uint64_t i = 0; i < shown; ++i) {
      shape_.cost_ += kValueCost;
      if ((i > 0 && !add(",")) || !part(*node.element, offset + i * each, each, height)) return false;
    }
    return add("]}");
  }

  // A member or an element.
  bool part(Node& node, std::uint64_t offset, std::uint64_t room, int height) {
    plans_.prepare(node);
    if (is_composite(node.op)) shape_.cost_ += kValueCost;
    return value(node, offset, room, height);
  }

  bool enter(int height) {
    shape_.height_ = std::max(shape_.height_, height);
    return height <= kMostHeight;
  }

  Plans& plans_;
  std::uint64_t max_elements_;
  std::size_t most_text_;
  std::size_t text_ = 0;
  std::string piece_;
  Shape shape_;
};

std::shared_ptr<const Shape> Shape::of(Node& node, Plans& plans, std::uint64_t max_elements, std::size_t& text_left) {
  Builder builder(plans, max_elements, text_left);
  const bool made = builder.whole(node);
  text_left -= std::min(text_left, builder.text());
  return made ? std::make_shared<const Shape>(builder.take()) : nullptr;
}

char* Shape::fill(const Hole& hole, const std::byte* bytes, char* out) const {
  const std::byte* at = bytes + hole.offset;
  switch (hole.op) {
    case Op::kUint:
      return write_decimal(out, load_bits(at, hole.bytes, hole.shift, hole.bits));
    case Op::kInt:
      return write_decimal(out, sign_extend(load_bits(at, hole.bytes, hole.shift, hole.bits), hole.bits));
    case Op::kChar:
      return write_decimal(out, load(at, 1));
    case Op::kBool: {
      const std::string_view text = load(at, hole.bytes) != 0 ? "true" : "false";
      return std::copy(text.begin(), text.end(), out);
    }
    default: {
      const std::uint64_t value = load(at, hole.bytes);
      const auto& [enumerators, names] = names_[hole.names];
      out = write_decimal(out, hole.is_signed ? sign_extend(value, hole.bits) : static_cast<std::int64_t>(value));
      out = std::copy(kVariant.begin(), kVariant.end(), out);
      const std::size_t found = find_enumerator(*enumerators, value);
      const std::string_view name = found < names.size() ? std::string_view(names[found]) : "null";
      return std::copy(name.begin(), name.end(), out);
    }
  }
}

void Shape::write(const std::byte* bytes, JsonWriter& json) const {
  json.begin_value(most_);
  char* out = json.end();
  const char* text = text_.data();
  const auto copy = [&](std::size_t count) {
    for (std::size_t done = 0; done < count; done += kPiece) std::memcpy(out + done, text + done, kPiece);
    out += count;
    text += padded(count);
  };
  for (const Hole& hole : holes_) {
    copy(hole.text);
    out = fill(hole, bytes, out);
  }
  copy(tail_);
  json.set_end(out);
  json.end_value();
}

}  // namespace floe::walkers::render
