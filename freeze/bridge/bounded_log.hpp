// A log that forgets its oldest entries: at most so many of them, and of so many bytes together. What it forgot is counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace floe::freeze {

template <class T>
class BoundedLog {
 public:
  BoundedLog(std::size_t most_entries, std::size_t most_bytes) : most_entries_(most_entries), most_bytes_(most_bytes) {}

  void push(T entry, std::size_t bytes) {
    entries_.push_back({std::move(entry), bytes});
    bytes_ += bytes;
    while (entries_.size() > most_entries_ || (bytes_ > most_bytes_ && entries_.size() > 1)) {
      bytes_ -= entries_.front().bytes;
      entries_.pop_front();
      ++dropped_;
    }
  }

  std::vector<T> drain() {
    std::vector<T> all;
    all.reserve(entries_.size());
    for (auto& one : entries_) all.push_back(std::move(one.entry));
    entries_.clear();
    bytes_ = 0;
    return all;
  }

  // The first entry for which `is` holds, oldest first; null when there is none.
  template <class Is>
  const T* find(const Is& is) const {
    for (const auto& one : entries_)
      if (is(one.entry)) return &one.entry;
    return nullptr;
  }

  std::size_t size() const { return entries_.size(); }
  std::uint64_t dropped() const { return dropped_; }  // since it was made

 private:
  struct Sized {
    T entry;
    std::size_t bytes = 0;
  };

  std::size_t most_entries_, most_bytes_;
  std::deque<Sized> entries_;
  std::size_t bytes_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace floe::freeze
