#include "walkers/psi.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::KernelSpec;
using synthetic::SyntheticKernel;
using synthetic::TypeWriter;

namespace {

// As pahole writes two-dimensional arrays: nested, or (in 6.12) as one of their product.
struct PsiSpec {
  bool nested = true;
  bool irq = true;
};

class PsiGuest {
 public:
  explicit PsiGuest(PsiSpec spec = {}) : guest(needs(spec)), root(guest.symbol("cgrp_dfl_root") + guest.offset("cgroup_root.cgrp")) {
    init(root);
  }

  Kva add(Kva parent, const std::string& name, std::uint64_t base, bool with_psi = true) {
    const Kva cgroup = guest.allocate(kPageBytes);
    init(cgroup);
    const Kva node = guest.allocate(kPageBytes);
    guest.put(cgroup + guest.offset("cgroup.kn"), node.value);
    guest.put(node + guest.offset("kernfs_node.name"), (node + 64).value);
    guest.put_string(node + 64, name);
    if (with_psi) {
      const Kva psi = guest.allocate(kPageBytes);
      guest.put(cgroup + guest.offset("cgroup.psi"), psi.value);
      for (std::uint64_t i = 0; i < 14; ++i) guest.put(psi + 8 + 8 * i, base + i);                     // total[2][7]
      for (std::uint64_t i = 0; i < 21; ++i) guest.put(psi + 8 + 8 * 14 + 8 * i, 2 * base + 100 * i);  // avg[7][3]
    }
    link(children(parent), sibling(cgroup));
    return cgroup;
  }

  Kva children(Kva cgroup) const { return cgroup + guest.offset("cgroup.self") + guest.offset("cgroup_subsys_state.children"); }
  Kva sibling(Kva cgroup) const { return cgroup + guest.offset("cgroup.self") + guest.offset("cgroup_subsys_state.sibling"); }

  Result<CgroupPsiTable> read(std::string_view path, WalkBudget budget = WalkBudget(1000)) const {
    const auto kernel = Kernel::open(guest.memory);
    BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
    return cgroup_psi(*kernel, path, budget);
  }

  SyntheticKernel guest;
  Kva root;

 private:
  static KernelSpec needs(PsiSpec spec) {
    KernelSpec needs;
    needs.add_types = [spec](TypeWriter& w) {
      const int css =
          w.add_struct("cgroup_subsys_state", 48, {{"cgroup", w.pointer, 0}, {"sibling", w.list_head, 64}, {"children", w.list_head, 192}});
      const int cgroup = w.add_struct("cgroup", 72, {{"self", css, 0}, {"kn", w.pointer, 8 * 48}, {"psi", w.pointer, 8 * 56}});
      w.add_struct("cgroup_root", 128, {{"kf_root", w.pointer, 0}, {"cgrp", cgroup, 64}});
      w.add_struct("kernfs_node", 16, {{"name", w.pointer, 64}});
      const int total = spec.nested ? w.array(w.array(w.u64, 7), 2) : w.array(w.u64, 14);
      const int avg = spec.nested ? w.array(w.array(w.u64, 3), 7) : w.array(w.u64, 21);
      w.add_struct("psi_group", 8 + 8 * 35, {{"parent", w.pointer, 0}, {"total", total, 64}, {"avg", avg, 64 * 15}});
      w.add_enum("psi_states", {{"PSI_IO_SOME", 0},
                                {"PSI_IO_FULL", 1},
                                {"PSI_MEM_SOME", 2},
                                {"PSI_MEM_FULL", 3},
                                {"PSI_CPU_SOME", 4},
                                {"PSI_CPU_FULL", 5},
                                {spec.irq ? "PSI_IRQ_FULL" : "PSI_SOMETHING", 6},
                                {"PSI_NONIDLE", 7},
                                {"NR_PSI_STATES", 8}});
    };
    needs.symbols = {{"cgrp_dfl_root", 0, 'D'}};
    return needs;
  }

  void init(Kva cgroup) {
    guest.put(children(cgroup), children(cgroup).value);
    guest.put(children(cgroup) + 8, children(cgroup).value);
  }

  void link(Kva head, Kva node) {
    std::uint64_t last = 0;
    guest.memory.read(guest.physical(head + 8), std::as_writable_bytes(std::span(&last, 1)));
    guest.put(node, head.value);
    guest.put(node + 8, last);
    guest.put(Kva(last), node.value);
    guest.put(head + 8, node.value);
  }
};

std::vector<std::string> paths(const CgroupPsiTable& table) {
  std::vector<std::string> list;
  for (const auto& cgroup : table.cgroups) list.push_back(cgroup.path);
  return list;
}

using Paths = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(psi)

BOOST_AUTO_TEST_CASE(leaves_are_listed_depth_first_with_their_pressure) {
  for (const bool nested : {true, false}) {
    PsiGuest guest({.nested = nested});
    const Kva jobs = guest.add(guest.root, "jobs", 10);
    guest.add(guest.root, "idle", 20);
    guest.add(jobs, "a", 1000);
    guest.add(jobs, "b", 2000);
    const auto table = guest.read("/");
    BOOST_REQUIRE_MESSAGE(table, table.error().message);
    BOOST_TEST(table->problems.empty());
    BOOST_TEST(paths(*table) == (Paths{"/jobs/a", "/jobs/b", "/idle"}), boost::test_tools::per_element());
    const auto& leaf = table->cgroups[0];
    BOOST_TEST(leaf.io_some->total_ns == 1000u);
    BOOST_TEST(leaf.memory_full->total_ns == 1003u);
    BOOST_TEST(leaf.cpu_some->total_ns == 1004u);
    BOOST_TEST(leaf.cpu_some->avg10_raw == 2000u + 1200u);
    BOOST_TEST(leaf.total_ns.value() == 1006u);  // of interrupts
    BOOST_TEST(leaf.avg10_raw.value() == 2000u + 1800u);
    const auto part = guest.read("jobs/");
    BOOST_TEST(paths(*part) == (Paths{"jobs/a", "jobs/b"}), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(the_root_is_no_leaf_and_a_path_may_not_exist) {
  PsiGuest guest;
  BOOST_TEST(guest.read("/")->cgroups.empty());
  guest.add(guest.root, "jobs", 10);
  BOOST_TEST(guest.read("/jobs")->cgroups.empty());
  const auto missing = guest.read("/jobs/none");
  BOOST_REQUIRE(!missing);
  BOOST_TEST(missing.error().message.find("none") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_not_accounted_is_absent) {
  PsiGuest guest({.irq = false});
  guest.add(guest.root, "jobs", 10);
  guest.add(guest.root, "without", 10, false);
  const auto table = guest.read("/");
  BOOST_REQUIRE(table->cgroups.size() == 1u);
  BOOST_TEST(!table->cgroups[0].total_ns);
  BOOST_TEST(table->cgroups[0].cpu_full->total_ns == 15u);
}

BOOST_AUTO_TEST_CASE(a_cgroup_that_is_its_own_descendant_ends) {
  PsiGuest guest;
  const Kva jobs = guest.add(guest.root, "jobs", 10);
  guest.guest.put(guest.children(jobs), guest.sibling(jobs).value);
  const auto table = guest.read("/");
  BOOST_TEST(table->cgroups.empty());
  BOOST_TEST(table->problems.size() == 1u);
}

BOOST_AUTO_TEST_CASE(an_unreadable_list_of_children_makes_no_leaf) {
  PsiGuest guest;
  const Kva jobs = guest.add(guest.root, "jobs", 10);
  guest.guest.put(guest.children(jobs), std::uint64_t{0xdead000000000100});
  const auto table = guest.read("/");
  BOOST_TEST(table->cgroups.empty());
  BOOST_TEST(table->problems.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_budget_ends_the_walk) {
  PsiGuest guest;
  for (int i = 0; i < 30; ++i) guest.add(guest.root, "many", 10);
  const auto table = guest.read("/", WalkBudget(10));
  BOOST_TEST(table->cgroups.size() == 10u);
  BOOST_TEST(!table->problems.empty());
}

BOOST_AUTO_TEST_SUITE_END()
