// A guest with sched_ext made by a test: tasks on run queues and dispatch queues, a scheduler in any of the generations of kernels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/walkers/synthetic/kernel.hpp"

namespace floe::walkers::synthetic {

struct ScxSpec {
  enum class Generation { variables, sched, tree };  // 6.12, 6.16, 7.2
  Generation generation = Generation::tree;
  std::uint32_t nodes = 1;
  bool dsq_groups = true;  // false: BTF has a scx_dispatch_q of which nothing is known
  KernelSpec more = {};    // types and symbols beside these
};

class ScxGuest {
 public:
  static constexpr std::uint64_t kNow = 4'294'900'000;  // jiffies
  static constexpr std::uint64_t kTimeout = 1250;

  explicit ScxGuest(ScxSpec spec = {});

  // A process that sched_ext knows; it sleeps.
  Kva add_task(std::int32_t pid, const std::string& comm);
  // Puts it on a CPU's runnable list, queued `age` jiffies ago.
  void make_runnable(Kva task, std::uint32_t cpu, std::uint64_t age);
  void waited(Kva task, std::uint64_t age);  // it was queued so long ago
  void enqueue(Kva task, Kva dsq);           // at the end of the list
  Kva add_cursor(Kva dsq);                   // an iterator that stands there

  // The scheduler `name` attached and enabled.
  void attach(const std::string& name);
  Kva add_child(Kva parent, std::int32_t level, const std::string& name, const std::string& path);
  void enable_state(std::int32_t value) { guest.put(guest.symbol(state_name()), value); }
  void exit(std::uint32_t kind, const std::string& reason, const std::string& msg, const std::string& dump);
  void exit_kind(std::uint32_t kind);
  void detach();

  Kva local_dsq(std::uint32_t cpu) const;
  Kva bypass_dsq(std::uint32_t cpu);
  Kva global_dsq(std::uint32_t node) const { return globals_[node]; }
  Kva add_user_dsq(std::uint64_t id, std::uint32_t bucket);
  // As the kernel's resizing does: a second table that dsq_hash's table leads to.
  Kva add_future_table(std::uint32_t buckets);
  void put_in(Kva table, std::uint32_t bucket, Kva dsq);

  Kva rq(std::uint32_t cpu) const;
  Kva scx(Kva task) const { return task + guest.offset("task_struct.scx"); }
  Kva at(std::uint64_t place) const { return guest.free_image() + place; }
  Kva new_dsq(std::uint64_t id);
  std::uint64_t get(Kva kva) const;
  void add_event(std::uint32_t cpu, const std::string& name, std::int64_t value);

  SyntheticKernel guest;
  Kva sched;         // of the root; null in the generation without
  Kva dsq_hash;      // struct rhashtable
  Kva bucket_table;  // of it, kBuckets long
  static constexpr std::uint32_t kBuckets = 4;

 private:
  static KernelSpec needs(const ScxSpec& spec);
  std::string state_name() const;
  void init_list(Kva head);
  void link_before(Kva head, Kva node);
  Kva make_sched(const std::string& name);
  void make_table(Kva table, std::uint32_t buckets);
  Kva per_cpu(Kva variable, std::uint32_t cpu) const;
  void put_text(Kva pointer, const std::string& text);

  ScxSpec spec_;
  std::vector<Kva> globals_;
  static constexpr std::uint64_t kPerCpu = 0x8000;  // in the free part: what a per-cpu allocation is called
};

}  // namespace floe::walkers::synthetic
