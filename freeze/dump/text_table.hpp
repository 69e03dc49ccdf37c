// Rows of right-aligned cells.
#pragma once

#include <string>
#include <vector>

namespace floe::freeze::dump {

class TextTable {
 public:
  // `before[i]`: what separates column i from the one before it.
  TextTable(std::vector<std::string> header, std::vector<std::string> before);
  void add(std::vector<std::string> row);  // as many cells as the header has
  void widen(std::size_t column, std::size_t width);

  // The header and every row, each behind `indent` spaces and ended by a newline.
  std::string text(std::size_t indent) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> before_;
  std::vector<std::size_t> widths_;
};

}  // namespace floe::freeze::dump
