#include "freeze/dump/text_table.hpp"

#include <algorithm>

#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {

TextTable::TextTable(std::vector<std::string> header, std::vector<std::string> before)
    : before_(std::move(before)), widths_(header.size(), 0) {
  add(std::move(header));
}

void TextTable::add(std::vector<std::string> row) {
  for (std::size_t i = 0; i < widths_.size(); ++i) widths_[i] = std::max(widths_[i], display_width(row[i]));
  rows_.push_back(std::move(row));
}

void TextTable::widen(std::size_t column, std::size_t width) {
  widths_[column] = std::max(widths_[column], width);
}

std::string TextTable::text(std::size_t indent) const {
  std::string out;
  for (const auto& row : rows_) {
    out.append(indent, ' ');
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += before_[i];
      out.append(widths_[i] - display_width(row[i]), ' ');
      out += row[i];
    }
    out += '\n';
  }
  return out;
}

}  // namespace floe::freeze::dump
