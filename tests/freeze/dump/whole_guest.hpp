// A guest with sched_ext that has what every phase of a dump reads, and a memory that does something when a page of it is read.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "tests/walkers/synthetic/printk_ring.hpp"
#include "tests/walkers/synthetic/scx.hpp"

namespace floe::walkers::synthetic {

inline constexpr std::uint64_t kPerCpuPlace = 0xb000;

// What phases ask for that the parts of a guest with sched_ext do not have: a log, the counters of CPUs, nodes and cgroups.
inline ScxSpec with_everything() {
  KernelSpec more = PrintkRing::needs();
  more.symbols.front().place = 0x2000;
  more.symbols.push_back({"node_data", 0x3000, 'D'});
  more.symbols.push_back({"cgrp_dfl_root", 0x4000, 'D'});
  more.symbols.push_back({"kernel_cpustat", kPerCpuPlace, 'D'});
  more.add_types = [before = more.add_types](TypeWriter& w) {
    before(w);
    w.add_struct("kernel_cpustat", 80, {{"cpustat", w.array(w.u64, 10), 0}});
    const int zone = w.add_struct("zone", 64, {{"present_pages", w.u64, 0}, {"vm_numa_event", w.array(w.u64, 6), 64}});
    w.add_struct("pglist_data", 64, {{"node_zones", w.array(zone, 1), 0}});
    const int css =
        w.add_struct("cgroup_subsys_state", 48, {{"cgroup", w.pointer, 0}, {"sibling", w.list_head, 64}, {"children", w.list_head, 192}});
    const int cgroup = w.add_struct("cgroup", 72, {{"self", css, 0}, {"kn", w.pointer, 8 * 48}, {"psi", w.pointer, 8 * 56}});
    w.add_struct("cgroup_root", 128, {{"kf_root", w.pointer, 0}, {"cgrp", cgroup, 64}});
    w.add_struct("kernfs_node", 16, {{"name", w.pointer, 64}});
    w.add_struct("psi_group", 64, {{"total", w.array(w.u64, 4), 0}, {"avg", w.array(w.u64, 4), 256}});
    w.add_enum("psi_states", {{"PSI_CPU_SOME", 0}, {"PSI_CPU_FULL", 1}, {"NR_PSI_STATES", 3}});
  };
  return {.more = std::move(more)};
}

// A scheduler in charge of three tasks, one of which waits on one of its DSQs.
struct Everything : ScxGuest {
  PrintkRing ring;
  Kva node, cgroup, waiting, signal, psi;

  Everything() : ScxGuest(with_everything()), ring(guest) {
    attach("mine");
    signal = Kva(get(add_task(11, "first") + guest.offset("task_struct.signal")));
    add_task(12, "second");
    waiting = add_task(13, "waiting");
    make_runnable(waiting, 1, 900);
    enqueue(waiting, add_user_dsq(0x100, 0));
    add_event(0, "SCX_EV_DISPATCH_KEEP_LAST", 5);
    for (const char* line : {"one", "two", "three"}) ring.add(line);
    for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
      const Kva counters(guest.symbol("kernel_cpustat").value + get(guest.symbol("__per_cpu_offset") + 8 * cpu));
      guest.map(counters);
      guest.put(counters, std::uint64_t{1000});
    }
    node = guest.allocate(kPageBytes);
    guest.put(guest.symbol("node_data"), node.value);
    guest.put(node, std::uint64_t{500});
    guest.put(node + 8, std::uint64_t{77});
    const Kva root = guest.symbol("cgrp_dfl_root") + guest.offset("cgroup_root.cgrp");
    cgroup = guest.allocate(kPageBytes);
    psi = guest.allocate(kPageBytes);
    guest.put(cgroup + guest.offset("cgroup.psi"), psi.value);
    empty_list(children(cgroup));
    const Kva sibling = cgroup + guest.offset("cgroup.self") + guest.offset("cgroup_subsys_state.sibling");
    for (const Kva end : {children(root), children(root) + 8}) guest.put(end, sibling.value);
    for (const Kva end : {sibling, sibling + 8}) guest.put(end, children(root).value);
  }

  Kva children(Kva of) const { return of + guest.offset("cgroup.self") + guest.offset("cgroup_subsys_state.children"); }
  void empty_list(Kva head) {
    guest.put(head, head.value);
    guest.put(head + 8, head.value);
  }
};

// Something happens whenever one page is read, once the kernel has been opened.
class Watched : public Memory {
 public:
  explicit Watched(const SyntheticKernel& guest) : guest_(guest) {}

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    if (then_ && gpa.value < page_ + kPageBytes && page_ < gpa.value + out.size()) then_();
    return guest_.memory.read(gpa, out);
  }
  std::vector<PhysRange> populated() const override { return guest_.memory.populated(); }

  void on_read(Kva kva, std::function<void()> then) {
    page_ = page_floor(guest_.physical(kva).value);
    then_ = std::move(then);
  }

 private:
  const SyntheticKernel& guest_;
  std::uint64_t page_ = 0;
  std::function<void()> then_;
};

}  // namespace floe::walkers::synthetic
