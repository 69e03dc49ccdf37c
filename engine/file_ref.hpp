// Which file an operation works on: a descriptor, or a place in the ring's own table of files (fixed_file.hpp).
#pragma once

#include <string>

namespace floe::engine {

class file_ref {
 public:
  file_ref(int descriptor) : word_(descriptor) {}
  static file_ref fixed(unsigned place) { return file_ref(static_cast<int>(place) | kFixed); }

  bool is_fixed() const { return word_ >= kFixed; }
  int number() const { return is_fixed() ? word_ - kFixed : word_; }
  std::string name() const { return (is_fixed() ? "fixed file " : "fd ") + std::to_string(number()); }

 private:
  static constexpr int kFixed = 1 << 30;  // above every descriptor: the kernel's limit is below 2^30
  int word_;
};

}  // namespace floe::engine
