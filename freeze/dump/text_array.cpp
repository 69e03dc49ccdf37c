#include "freeze/dump/text_array.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "freeze/dump/text_table.hpp"
#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {
namespace {

using namespace walkers::render;

constexpr std::size_t kTemplateRun = 3;     // as many neighbours or more become a template and a table
constexpr std::size_t kTemplateFields = 3;  // that differ, at most

// The byte that a character is, of whatever type.
std::optional<unsigned char> byte_of(const Value& value) {
  if (const auto* c = std::get_if<Char>(&value.v)) return c->value;
  if (const auto* i = std::get_if<Int>(&value.v); i != nullptr && i->bits == 8) return static_cast<unsigned char>(i->value);
  if (const auto* u = std::get_if<Uint>(&value.v); u != nullptr && u->bits == 8) return static_cast<unsigned char>(u->value);
  return std::nullopt;
}

std::string quoted(const Array& array, int depth) {
  std::string text;
  for (const Value& element : array.elements) {
    const auto byte = byte_of(element);
    if (!byte || *byte == 0) break;
    text += static_cast<char>(*byte);
  }
  if (text.find('\n') == std::string::npos) return '"' + text + '"';
  std::string out = "|";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += "\n" + indent(depth + 1) + text.substr(at, end - at);
    at = end + 1;
  }
  return out;
}

std::string element_text(const Value& value) {
  if (const auto* u = std::get_if<Uint>(&value.v); u != nullptr && u->bits >= 32) return fmt::format("{:#x}", u->value);
  return to_text(value);
}

// Pieces one behind the other, on further lines where one has no room.
class Wrapped {
 public:
  explicit Wrapped(int depth) : depth_(depth), column_(static_cast<std::size_t>(depth) * 2) {}
  void add(const std::string& piece, const std::string& separator) {
    const std::size_t width = display_width(piece);
    if (!empty_ && column_ + display_width(separator) + width > kLineWidth) {
      while (!text_.empty() && text_.back() == ' ') text_.pop_back();
      // A comma stays on the line that it ends.
      text_ += separator.front() == ',' ? "," : "";
      text_ += "\n" + indent(depth_ + 1);
      column_ = static_cast<std::size_t>(depth_ + 1) * 2;
    } else if (!empty_) {
      text_ += separator;
      column_ += display_width(separator);
    }
    text_ += piece;
    column_ += width;
    empty_ = false;
  }
  std::string take() { return std::move(text_); }

 private:
  int depth_;
  std::size_t column_;
  std::string text_;
  bool empty_ = true;
};

std::string scalars_text(const std::vector<Value>& elements, int depth) {
  Wrapped out(depth);
  const bool dense = std::none_of(elements.begin(), elements.end(), [](const Value& e) { return is_zero(e); });
  if (dense) {
    for (std::size_t i = 0; i < elements.size(); ++i)
      out.add(fmt::format("{}{}{}", i ? "" : "[", element_text(elements[i]), i + 1 == elements.size() ? "]" : ""), ", ");
    return out.take();
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (is_zero(elements[i])) continue;
    const std::size_t first = i;
    while (i + 1 < elements.size() && !is_zero(elements[i + 1])) ++i;
    if (first == i) {
      out.add(fmt::format("[{}]={}", i, element_text(elements[i])), "  ");
      continue;
    }
    for (std::size_t n = first; n <= i; ++n)
      out.add(fmt::format("{}{}{}", n == first ? fmt::format("[{}..{}]={{", first, i) : "", element_text(elements[n]), n == i ? "}" : ""),
              n == first ? "  " : ", ");
  }
  return out.take();
}

// Neighbours that are equal.
struct Run {
  std::size_t first = 0, last = 0;
  const Value* value = nullptr;
  std::string label() const { return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last); }
};

// Structs of one shape that differ in few of their numbers: those stand in a table below what they share.
class Template {
 public:
  explicit Template(const Run& first) : runs_{first}, struct_(std::get_if<Struct>(&first.value->v)) {
    if (struct_ != nullptr) members_ = all_members(*struct_);
    differs_.resize(members_.size());
  }

  // False, and nothing changes, when the run does not fit in.
  bool extend(const Run& run) {
    const auto* other = std::get_if<Struct>(&run.value->v);
    if (struct_ == nullptr || other == nullptr || other->type_name != struct_->type_name || runs_.back().last + 1 != run.first)
      return false;
    const auto others = all_members(*other);
    if (others.size() != members_.size()) return false;
    std::vector<bool> differs = differs_;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (others[i]->name != members_[i]->name) return false;
      if (same(others[i]->value, members_[i]->value)) continue;
      if (!is_scalar(members_[i]->value) || !is_scalar(others[i]->value)) return false;
      differs[i] = true;
    }
    if (static_cast<std::size_t>(std::count(differs.begin(), differs.end(), true)) > kTemplateFields) return false;
    differs_ = std::move(differs);
    runs_.push_back(run);
    return true;
  }

  std::size_t size() const { return runs_.size(); }

  std::string text(int depth) const {
    auto shared = shown_members(*struct_);
    std::vector<std::string> header{"idx"}, before{""};
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (!differs_[i]) continue;
      std::erase(shared, members_[i]);
      header.push_back(clean(members_[i]->name));
      before.emplace_back(" | ");
    }
    TextTable table(std::move(header), std::move(before));
    for (const Run& run : runs_) {
      const auto others = all_members(std::get<Struct>(run.value->v));
      std::vector<std::string> row{run.label()};
      for (std::size_t i = 0; i < differs_.size(); ++i)
        if (differs_[i]) row.push_back(to_text(others[i]->value));
      table.add(std::move(row));
    }
    std::string text = fmt::format("[{}-{}] {}\n", runs_.front().first, runs_.back().last, struct_text(*struct_, shared, depth));
    text += table.text(static_cast<std::size_t>(depth + 1) * 2);
    text.pop_back();
    return text;
  }

 private:
  std::vector<Run> runs_;
  const Struct* struct_;
  std::vector<const NamedValue*> members_;
  std::vector<bool> differs_;
};

std::string compounds_text(const std::vector<Value>& elements, int depth) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (is_zero(elements[i])) continue;
    if (!runs.empty() && runs.back().last + 1 == i && same(*runs.back().value, elements[i]))
      runs.back().last = i;
    else
      runs.push_back({i, i, &elements[i]});
  }
  std::string out = fmt::format("[{}]:", elements.size());
  for (std::size_t n = 0; n < runs.size(); ++n) {
    Template common(runs[n]);
    while (n + common.size() < runs.size() && common.extend(runs[n + common.size()])) continue;
    out += "\n" + indent(depth + 1);
    if (common.size() >= kTemplateRun) {
      out += common.text(depth + 1);
      n += common.size() - 1;
    } else {
      out += fmt::format("[{}] {}", runs[n].label(), to_text(*runs[n].value, depth + 1));
    }
  }
  return out;
}

std::string elements_text(const Array& array, int depth) {
  const auto& elements = array.elements;
  if (elements.empty()) return "[]";
  if (is_text(array)) return quoted(array, depth);
  if (std::all_of(elements.begin(), elements.end(), [](const Value& e) { return is_zero(e); }))
    return fmt::format("[all {} zero]", elements.size());
  return has_compounds(array) ? compounds_text(elements, depth) : scalars_text(elements, depth);
}

}  // namespace

bool is_text(const Array& array) {
  if (array.elements.size() < 2 || byte_of(array.elements.front()).value_or(0) == 0) return false;
  return std::all_of(array.elements.begin(), array.elements.end(), [](const Value& element) {
    const auto byte = byte_of(element);
    return byte && (*byte == 0 || *byte == '\n' || (*byte >= 0x20 && *byte < 0x7f));
  });
}

bool has_compounds(const Array& array) {
  const auto& elements = array.elements;
  const auto all = [&elements](auto holds) { return std::all_of(elements.begin(), elements.end(), holds); };
  return !is_text(array) && !all([](const Value& e) { return is_scalar(e); }) && !all([](const Value& e) { return is_zero(e); });
}

std::string array_text(const Array& array, int depth) {
  std::string text = elements_text(array, depth);
  if (array.elements.size() < array.len) text += fmt::format(" /* {} of {} shown */", array.elements.size(), array.len);
  return text;
}

}  // namespace floe::freeze::dump
