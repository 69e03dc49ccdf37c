// A file in the ring's own table: an operation on it spares the kernel the look-up of the descriptor and the count of its users, some 5 %
// of a small send or read.
//
//   auto console = fixed_file::add(fd);
//   if (!console) ...                                   // no place left, or a kernel that has no table: the descriptor serves as well
//   const auto sent = co_await send(*console, bytes);
#pragma once

#include <utility>

#include "base/result.hpp"
#include "engine/file_ref.hpp"

namespace floe::engine {

class loop;

class fixed_file {
 public:
  // On the loop's thread. The table holds the file by itself: the descriptor may be closed, and whoever is at the other end sees that only
  // once the fixed_file is gone too. ENFILE: the table's 256 places are taken.
  static Result<fixed_file> add(int fd);

  fixed_file(fixed_file&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), place_(other.place_) {}
  fixed_file& operator=(fixed_file&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(place_, other.place_);
    return *this;
  }
  // On the loop's thread, before the loop's end. Operations in flight keep the file until they have ended.
  ~fixed_file();

  operator file_ref() const { return file_ref::fixed(place_); }

 private:
  fixed_file(loop& owner, unsigned place) : owner_(&owner), place_(place) {}
  loop* owner_;
  unsigned place_;
};

}  // namespace floe::engine
