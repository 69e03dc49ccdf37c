#include "walkers/rhashtable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "walkers/address_set.hpp"

namespace floe::walkers {
namespace {

constexpr std::uint64_t kWordsPerPage = kPageBytes / sizeof(std::uint64_t);
constexpr int kMaxTables = 64;  // in a chain of future_tbl; a table at most doubles, so there are never that many
constexpr std::uint64_t kMaxBuckets = std::uint64_t{1} << 31;

class HashWalk {
 public:
  HashWalk(const KernelMemory& memory, const RhashtableFields& fields, WalkBudget& budget, const std::function<bool(Kva)>& visit)
      : memory_(memory), fields_(fields), budget_(budget), visit_(visit) {}

  RhashtableWalk run(Kva hashtable) {
    walk_tables(hashtable);
    return std::move(walk_);
  }

 private:
  void walk_tables(Kva hashtable) {
    const auto first = memory_.get<std::uint64_t>(hashtable + fields_.table.offset);
    if (!first) return failed(fmt::format("the hash table at {:#x} is not readable", hashtable.value));
    std::uint64_t table = *first;
    for (int tables = 0; table != 0; ++tables) {
      if (tables == kMaxTables) return failed(fmt::format("the hash table at {:#x} has no last bucket table", hashtable.value));
      if (!tables_.insert(table)) return failed(fmt::format("the bucket table at {:#x} is its own successor", table));
      walk_table(Kva(table));
      table = fields_.future_table && !stopped_ ? memory_.get_number(Kva(table), *fields_.future_table).value_or(0) : 0;
    }
  }

  void failed(std::string why) {
    walk_.complete = false;
    if (walk_.problems.size() < RhashtableWalk::kMaxProblems) walk_.problems.push_back(std::move(why));
  }

  // Over budget: the walk is over.
  bool step(std::string_view where) {
    if (!stopped_ && budget_.step()) return true;
    if (!std::exchange(stopped_, true)) failed(fmt::format("{}: stopped: {}", where, budget_.reason()));
    return false;
  }

  void walk_table(Kva table) {
    const auto size = memory_.get_number(table, fields_.size);
    const auto nest = fields_.nest ? memory_.get_number(table, *fields_.nest) : std::optional<std::uint64_t>(0);
    if (!size || !nest) return failed(fmt::format("the bucket table is unreadable: {}", memory_.explain(table)));
    if (!std::has_single_bit(*size) || *size > kMaxBuckets) return failed(fmt::format("the bucket table has {} buckets", *size));
    if (*nest > 31 || *size >> *nest == 0) return failed(fmt::format("the bucket table of {} is nested by {}", *size, *nest));
    const Kva buckets = table + fields_.buckets.offset;
    if (*nest == 0) {
      walk_words(buckets, *size, [&](Kva at, std::uint64_t word) { walk_chain(at, word); });
      return;
    }
    // One pointer to the top page, which has 2^nest entries; the pages below have as many as fit, the last ones what is left.
    const auto top = memory_.get<std::uint64_t>(buckets);
    if (!top)
      failed(fmt::format("the bucket table at {:#x} is not readable", table.value));
    else
      walk_nested(*top, std::uint64_t{1} << *nest, *size >> *nest, 0);
  }

  void walk_nested(std::uint64_t page, std::uint64_t entries, std::uint64_t below, int depth) {
    if (page == 0) return;
    if (depth > 4) {
      failed("a nested bucket table is deeper than any can be");
      return;
    }
    walk_words(Kva(page), std::min(entries, kWordsPerPage), [&](Kva at, std::uint64_t word) {
      if (below == 0)
        walk_chain(at, word);
      else if (below > kWordsPerPage)
        walk_nested(word, kWordsPerPage, below / kWordsPerPage, depth + 1);
      else
        walk_nested(word, below, 0, depth + 1);
    });
  }

  // Calls each(address, word) for the words that are not zero, as far as they are readable and the budget goes.
  template <class Each>
  void walk_words(Kva start, std::uint64_t count, const Each& each) {
    std::array<std::uint64_t, 256> words;
    for (std::uint64_t done = 0; done < count;) {
      if (!step("a hash table's buckets")) return;
      const auto part = std::min<std::uint64_t>(words.size(), count - done);
      const auto bytes = std::as_writable_bytes(std::span(words)).first(static_cast<std::size_t>(part) * 8);
      const std::size_t good = memory_.read(start + 8 * done, bytes) / 8;
      for (std::size_t i = 0; i < good; ++i)
        if (words[i] != 0) each(start + 8 * (done + i), words[i]);
      if (good < part) {
        failed(fmt::format("a hash table's bucket at {:#x} is not readable", (start + 8 * (done + good)).value));
        return;
      }
      done += part;
    }
  }

  void walk_chain(Kva bucket, std::uint64_t word) {
    std::uint64_t next = word & ~std::uint64_t{1};  // the bucket's lock bit
    Kva from = bucket;
    while (next != 0 && (next & 1) == 0) {
      if (!step("a hash table's chain")) return;
      const auto after = next % 8 == 0 ? memory_.get_number(Kva(next), fields_.next) : std::nullopt;
      if (!after) {
        failed(fmt::format("a hash table's chain: {:#x} links to {:#x}, which is no element", from.value, next));
        return;
      }
      // Met before: a chain of the old table that leads on into the new one, or a loop.
      if (!elements_.insert(next)) return;
      if (!visit_(Kva(next))) {
        stopped_ = true;
        walk_.complete = false;
        return;
      }
      from = Kva(next);
      next = *after;
    }
  }

  const KernelMemory& memory_;
  const RhashtableFields& fields_;
  WalkBudget& budget_;
  const std::function<bool(Kva)>& visit_;
  AddressSet elements_;
  AddressSet tables_;
  bool stopped_ = false;
  RhashtableWalk walk_;
};

}  // namespace

Result<RhashtableFields> RhashtableFields::resolve(const Types& types) {
  RhashtableFields fields;
  const auto filled = types.fill({{"rhashtable.tbl", &fields.table},
                                  {"bucket_table.size", &fields.size},
                                  {"bucket_table.buckets", &fields.buckets},
                                  {"rhash_head.next", &fields.next}});
  if (!filled) return fail(filled.error());
  fields.nest = types.maybe_field("bucket_table.nest");
  fields.future_table = types.maybe_field("bucket_table.future_tbl");
  return fields;
}

RhashtableWalk walk_rhashtable(const KernelMemory& memory, const RhashtableFields& fields, Kva table, WalkBudget& budget,
                               const std::function<bool(Kva)>& visit) {
  return HashWalk(memory, fields, budget, visit).run(table);
}

}  // namespace floe::walkers
