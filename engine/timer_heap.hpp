// Pending timers: a 4-ary heap with the keys inside the array and the position inside the node. Insert and remove cost 5-7 ns up to
// a thousand timers, the next deadline is there for free, and the order is exact (a wheel's is not). Equal times fire in the order
// they were set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/context.hpp"

namespace floe::engine::detail {

struct timer_node {
  using action = void (*)(timer_node&);
  explicit timer_node(action what) : fire(what) {}
  timer_node(const timer_node&) = delete;
  timer_node& operator=(const timer_node&) = delete;

  static constexpr std::uint32_t kOut = ~std::uint32_t{0};
  bool pending() const { return position != kOut; }

  action fire;
  std::uint32_t position = kOut;
  bool precise = false;  // park early and spin the rest
};

class timer_heap {
 public:
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  nanos next() const { return entries_.empty() ? kNever : entries_.front().at; }
  bool next_is_precise() const { return !entries_.empty() && entries_.front().node->precise; }

  void insert(timer_node& node, nanos at) {
    entries_.push_back({at, ++order_, &node});
    sift_up(entries_.size() - 1, entries_.back());
  }

  void remove(timer_node& node) {
    const std::size_t hole = node.position;
    node.position = timer_node::kOut;
    const entry last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return;
    if (hole > 0 && before(last, entries_[(hole - 1) / 4])) {
      sift_up(hole, last);
    } else {
      sift_down(hole, last);
    }
  }

  timer_node& pop() {
    timer_node& node = *entries_.front().node;
    remove(node);
    return node;
  }

 private:
  struct entry {
    nanos at;
    std::uint64_t order;
    timer_node* node;
  };
  static bool before(const entry& a, const entry& b) { return a.at != b.at ? a.at < b.at : a.order < b.order; }

  void place(std::size_t index, const entry& what) {
    entries_[index] = what;
    what.node->position = static_cast<std::uint32_t>(index);
  }
  void sift_up(std::size_t index, entry what) {
    while (index > 0) {
      const std::size_t parent = (index - 1) / 4;
      if (!before(what, entries_[parent])) break;
      place(index, entries_[parent]);
      index = parent;
    }
    place(index, what);
  }
  void sift_down(std::size_t index, entry what) {
    const std::size_t count = entries_.size();
    for (;;) {
      const std::size_t first = index * 4 + 1;
      if (first >= count) break;
      std::size_t least = first;
      for (std::size_t child = first + 1; child < count && child < first + 4; ++child) {
        if (before(entries_[child], entries_[least])) least = child;
      }
      if (!before(entries_[least], what)) break;
      place(index, entries_[least]);
      index = least;
    }
    place(index, what);
  }

  std::vector<entry> entries_;
  std::uint64_t order_ = 0;
};

}  // namespace floe::engine::detail
