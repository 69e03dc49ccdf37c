#include "freeze/dump/text_value.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.hpp"
#include "freeze/dump/text_array.hpp"

namespace floe::freeze::dump {
namespace {

using namespace walkers::render;

using Members = std::vector<const NamedValue*>;

constexpr std::size_t kScalarsPerRow = 3;
constexpr std::size_t kNamesDiffer = 4;  // by as many characters or more: they are aligned
constexpr std::size_t kRowsToAlign = 3;

std::optional<std::string> inline_text(const Struct& value, const Members& members, int depth);

std::string type_name(const Struct& value) {
  return value.type_name && !value.type_name->empty() ? clean(*value.type_name) : "<anon>";
}

// What is said of a value that is to stand on one line and does not.
constexpr const char* kNeedsLines = "\n";

struct Text {
  int depth;
  // Only to see whether it fits on one line: what does not is given up at once. Rendering it all the same, at each level of a value only to
  // do it again over several lines, would double with every level.
  bool one_line = false;

  std::string operator()(const Int& v) const { return std::to_string(v.value); }
  std::string operator()(const Uint& v) const { return std::to_string(v.value); }
  std::string operator()(const Bool& v) const { return v.value ? "true" : "false"; }
  std::string operator()(const Char& v) const {
    return v.value >= 0x20 && v.value < 0x7f ? fmt::format("'{}'", static_cast<char>(v.value)) : fmt::format("0x{:02x}", v.value);
  }
  std::string operator()(const Float& v) const { return fmt::format("{}", v.value); }
  std::string operator()(const Enum& v) const {
    const std::string number = v.is_signed ? std::to_string(v.value) : std::to_string(static_cast<std::uint64_t>(v.value));
    return v.variant ? fmt::format("{} ({})", clean(*v.variant), number) : number;
  }
  std::string operator()(const Struct& v) const {
    const Members members = shown_members(v);
    return one_line ? inline_text(v, members, depth).value_or(kNeedsLines) : struct_text(v, members, depth);
  }
  std::string operator()(const Array& v) const { return one_line && has_compounds(v) ? kNeedsLines : array_text(v, depth); }
  std::string operator()(const CpuList& v) const { return "cpus=" + clean(v.cpus); }
  std::string operator()(const Ptr& v) const {
    std::string text = fmt::format("{:#x}", v.value);
    if (v.cast_annotation) text += fmt::format(" ({})", clean(*v.cast_annotation));
    if (v.deref)
      text += " → " + inner(*v.deref);
    else if (v.deref_skipped_reason)
      text += v.deref_skipped_reason->starts_with("cycle ") ? " [cycle]" : fmt::format(" [chase: {}]", clean(*v.deref_skipped_reason));
    return text;
  }
  std::string operator()(const Bytes& v) const {
    std::string text;
    for (const std::byte b : v.bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned>(b));
    return text;
  }
  std::string operator()(const Truncated& v) const {
    if (v.had == 0) return "";
    return fmt::format("<truncated needed={} had={}> {}", v.needed, v.had, v.partial ? inner(*v.partial) : "");
  }
  std::string operator()(const Unsupported& v) const { return fmt::format("<unsupported: {}>", clean(v.reason)); }

  std::string inner(const Value& value) const { return std::visit(*this, value.v); }
};

// bpf_printk() leaves its formats among the variables of .rodata: text that says nothing of the state.
bool is_format(const NamedValue& member) {
  const auto* array = std::get_if<Array>(&member.value.v);
  return member.name.find("___fmt") != std::string::npos && array != nullptr && is_text(*array);
}

void scalars_of(const Value& value, int depth, std::vector<const Value*>& scalars, bool& compound) {
  if (const auto* inner = std::get_if<Struct>(&value.v)) {
    for (const NamedValue& member : inner->members)
      if (depth > 0)
        scalars_of(member.value, depth - 1, scalars, compound);
      else
        compound = true;
  } else if (is_scalar(value)) {
    if (!is_zero(value)) scalars.push_back(&value);
  } else if (!is_zero(value)) {
    compound = true;
  }
}

bool same_number(const Value& a, const Value& b) {
  return to_text(a) == to_text(b);
}

// Another arm of a union that was shown already: each of its non-zero scalars is among those of the named members, or one level in them.
bool is_alias(const Struct& overlay, const Struct& parent) {
  std::vector<const Value*> own, others;
  bool compound = false, ignored = false;
  for (const NamedValue& member : overlay.members) scalars_of(member.value, 0, own, compound);
  if (compound || own.empty()) return false;
  for (const NamedValue& member : parent.members)
    if (!member.name.empty()) scalars_of(member.value, 1, others, ignored);
  return std::all_of(own.begin(), own.end(), [&](const Value* mine) {
    return std::any_of(others.begin(), others.end(), [&](const Value* other) { return same_number(*mine, *other); });
  });
}

template <class Keep>
void collect(const Struct& value, Members& members, int depth, Keep keep) {
  for (const NamedValue& member : value.members) {
    const auto* inner = std::get_if<Struct>(&member.value.v);
    if (!keep(value, member, inner)) continue;
    if (member.name.empty() && inner != nullptr && depth < 16)
      collect(*inner, members, depth + 1, keep);
    else
      members.push_back(&member);
  }
}

std::optional<std::string> inline_text(const Struct& value, const Members& members, int depth) {
  std::string text = type_name(value) + "{";
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::string shown = Text{depth, true}.inner(members[i]->value);
    if (shown.find('\n') != std::string::npos) return std::nullopt;
    text += fmt::format("{}{}={}", i ? ", " : "", clean(members[i]->name), shown);
    if (text.size() > 4 * kLineWidth) return std::nullopt;  // bytes: what follows need not be rendered to know
  }
  text += '}';
  if (display_width(text) > kLineWidth) return std::nullopt;
  return text;
}

// Scalars, three to a row.
std::string scalar_rows(const Members& scalars, int depth) {
  std::string out;
  const std::size_t rows = (scalars.size() + kScalarsPerRow - 1) / kScalarsPerRow;
  std::size_t shortest[kScalarsPerRow], longest[kScalarsPerRow] = {};
  std::fill(std::begin(shortest), std::end(shortest), kLineWidth);
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    const std::size_t width = display_width(clean(scalars[i]->name));
    shortest[i % kScalarsPerRow] = std::min(shortest[i % kScalarsPerRow], width);
    longest[i % kScalarsPerRow] = std::max(longest[i % kScalarsPerRow], width);
  }
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    const std::size_t column = i % kScalarsPerRow;
    const std::string name = clean(scalars[i]->name);
    out += column == 0 ? "\n" + indent(depth + 1) : "   ";
    const bool aligned = rows >= kRowsToAlign && longest[column] - shortest[column] >= kNamesDiffer;
    out += aligned ? name + std::string(longest[column] - display_width(name), ' ') + " = " : name + "=";
    out += to_text(scalars[i]->value, depth + 1);
  }
  return out;
}

}  // namespace

std::string to_text(const Value& value, int depth) {
  return std::visit(Text{depth}, value.v);
}

std::string indent(int depth) {
  return std::string(static_cast<std::size_t>(depth) * 2, ' ');
}

std::string clean(std::string_view guest_text) {
  std::string text;
  text.reserve(guest_text.size());
  while (!guest_text.empty()) {
    const std::size_t length = utf8_length(guest_text);
    const auto first = static_cast<unsigned char>(guest_text.front());
    // C1 controls (U+0080 to U+009F) steer terminals as those below a space do.
    const bool control =
        first < 0x20 || first == 0x7f || (first == 0xc2 && length == 2 && static_cast<unsigned char>(guest_text[1]) < 0xa0);
    if (length == 0)
      text += kReplacementCharacter;
    else if (control)
      text += '?';
    else
      text += guest_text.substr(0, length);
    guest_text.remove_prefix(length ? length : 1);
  }
  return text;
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::vector<const NamedValue*> shown_members(const Struct& value) {
  Members members;
  collect(value, members, 0, [](const Struct& parent, const NamedValue& member, const Struct* inner) {
    if (is_zero(member.value) || is_format(member)) return false;
    return !(member.name.empty() && inner != nullptr && is_alias(*inner, parent));
  });
  return members;
}

std::vector<const NamedValue*> all_members(const Struct& value) {
  Members members;
  collect(value, members, 0, [](const Struct&, const NamedValue&, const Struct*) { return true; });
  return members;
}

std::string struct_text(const Struct& value, const Members& members, int depth) {
  if (members.empty()) return type_name(value) + "{}";
  if (auto text = inline_text(value, members, depth)) return *text;
  Members scalars, compounds;
  for (const NamedValue* member : members) (is_scalar(member->value) ? scalars : compounds).push_back(member);
  std::string out = type_name(value) + ":" + scalar_rows(scalars, depth);
  for (const NamedValue* member : compounds)
    out += fmt::format("\n{}{} {}", indent(depth + 1), clean(member->name), to_text(member->value, depth + 1));
  return out;
}

}  // namespace floe::freeze::dump
