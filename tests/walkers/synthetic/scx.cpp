#include "tests/walkers/synthetic/scx.hpp"

#include <array>

namespace floe::walkers::synthetic {
namespace {

using Generation = ScxSpec::Generation;

constexpr std::uint32_t bits(std::uint32_t bytes) {
  return 8 * bytes;
}

// The scheduling parts of a kernel. Of two structs with one name the larger counts, so these take the place of the small ones.
void add_types(TypeWriter& w, const ScxSpec& spec) {
  const int chars16 = w.array(w.character, 16);
  const int thread_info = w.add_struct("thread_info", 16, {{"flags", w.u64, 0}, {"cpu", w.u32, 64}});
  const int list_node = w.add_struct("scx_dsq_list_node", 24, {{"node", w.list_head, 0}, {"flags", w.u32, bits(16)}});
  const int entity = w.add_struct("sched_ext_entity", 112,
                                  {{"dsq", w.pointer, 0},
                                   {"ops_state", w.u64, bits(8)},
                                   {"dsq_list", list_node, bits(16)},
                                   {"flags", w.u32, bits(48)},
                                   {"weight", w.u32, bits(52)},
                                   {"runnable_node", w.list_head, bits(56)},
                                   {"runnable_at", w.u64, bits(72)},
                                   {"slice", w.u64, bits(80)},
                                   {"dsq_vtime", w.u64, bits(88)},
                                   {"tasks_node", w.list_head, bits(96)}});
  const int se = w.add_struct("sched_entity", 8, {{"sum_exec_runtime", w.u64, 0}});
  w.add_struct("task_struct", 512,
               {{"thread_info", thread_info, 0},
                {"__state", w.u32, bits(16)},
                {"flags", w.u32, bits(20)},
                {"on_cpu", w.u8, bits(24)},
                {"tasks", w.list_head, bits(32)},
                {"real_parent", w.pointer, bits(48)},
                {"signal", w.pointer, bits(56)},
                {"thread_node", w.list_head, bits(64)},
                {"pid", w.s32, bits(80)},
                {"tgid", w.s32, bits(84)},
                {"comm", chars16, bits(88)},
                {"worker_private", w.pointer, bits(104)},
                {"exit_state", w.s32, bits(112)},
                {"scx", entity, bits(256)},
                {"prio", w.s32, bits(400)},
                {"static_prio", w.s32, bits(404)},
                {"normal_prio", w.s32, bits(408)},
                {"rt_priority", w.u32, bits(412)},
                {"sched_class", w.pointer, bits(416)},
                {"group_leader", w.pointer, bits(424)},
                {"nvcsw", w.u64, bits(432)},
                {"nivcsw", w.u64, bits(440)},
                {"utime", w.u64, bits(448)},
                {"stime", w.u64, bits(456)},
                {"se", se, bits(464)},
                {"core_cookie", w.u64, bits(472)},
                {"thread_pid", w.pointer, bits(480)},
                {"policy", w.u32, bits(488)}});
  const int pids = w.array(w.pointer, 4);
  w.add_struct("signal_struct", 96,
               {{"nr_threads", w.s32, 0},
                {"thread_head", w.list_head, bits(8)},
                {"pids", pids, bits(24)},
                {"nvcsw", w.u64, bits(56)},
                {"nivcsw", w.u64, bits(64)},
                {"utime", w.u64, bits(72)},
                {"stime", w.u64, bits(80)}});
  const int upid = w.add_struct("upid", 16, {{"nr", w.s32, 0}, {"ns", w.pointer, bits(8)}});
  const int numbers = w.array(upid, 0);
  w.add_struct("pid", 16, {{"count", w.u32, 0}, {"level", w.u32, bits(4)}, {"numbers", numbers, bits(16)}});
  const int hash_node = w.add_struct("rhash_head", 8, {{"next", w.pointer, 0}});
  const int dsq = spec.dsq_groups ? w.add_struct("scx_dispatch_q", 48,
                                                 {{"lock", w.u32, 0},
                                                  {"list", w.list_head, bits(8)},
                                                  {"nr", w.u32, bits(24)},
                                                  {"seq", w.u32, bits(28)},
                                                  {"id", w.u64, bits(32)},
                                                  {"hash_node", hash_node, bits(40)}})
                                  : w.add_struct("scx_dispatch_q", 48, {{"lock", w.u32, 0}});
  const int scx_rq = w.add_struct("scx_rq", 104,
                                  {{"local_dsq", dsq, 0},
                                   {"runnable_list", w.list_head, bits(48)},
                                   {"nr_running", w.u32, bits(64)},
                                   {"flags", w.u32, bits(68)},
                                   {"cpu_released", w.u8, bits(72)},
                                   {"kick_sync", w.u64, bits(80)},
                                   {"nr_immed", w.u32, bits(88)},
                                   {"clock", w.u64, bits(96)}});
  w.add_struct("rq", 256, {{"curr", w.pointer, 0}, {"idle", w.pointer, bits(32)}, {"__lock", w.u32, bits(40)}, {"scx", scx_rq, bits(48)}});
  const int table = w.add_struct("rhashtable", 16, {{"tbl", w.pointer, 0}, {"nelems", w.u32, bits(8)}});
  const int buckets = w.array(w.pointer, 0);
  w.add_struct("bucket_table", 16,
               {{"size", w.u32, 0}, {"nest", w.u32, bits(4)}, {"future_tbl", w.pointer, bits(8)}, {"buckets", buckets, bits(16)}});
  const int chars128 = w.array(w.character, 128);
  const int ops = w.add_struct("sched_ext_ops", 128, {{"name", chars128, 0}});
  w.add_struct("scx_exit_info", 56,
               {{"kind", w.u32, 0},
                {"exit_code", w.u64, bits(8)},
                {"reason", w.pointer, bits(16)},
                {"bt", w.pointer, bits(24)},
                {"bt_len", w.u32, bits(32)},
                {"msg", w.pointer, bits(40)},
                {"dump", w.pointer, bits(48)}});
  const int stats = w.add_struct("scx_event_stats", 24,
                                 {{"SCX_EV_SELECT_CPU_FALLBACK", w.u64, 0},
                                  {"SCX_EV_DISPATCH_KEEP_LAST", w.u64, bits(8)},
                                  {"SCX_EV_REFILL_SLICE_DFL", w.u64, bits(16)}});
  std::vector<MemberSpec> sched = {
      {"ops", ops, 0}, {"dsq_hash", table, bits(128)}, {"exit_kind", w.u32, bits(224)}, {"exit_info", w.pointer, bits(232)}};
  if (spec.generation == Generation::sched) {
    sched.push_back({"global_dsqs", w.pointer, bits(144)});
    sched.push_back({"event_stats_cpu", w.pointer, bits(152)});
  }
  if (spec.generation == Generation::tree) {
    w.add_struct("scx_sched_pnode", 48, {{"global_dsq", dsq, 0}});
    w.add_struct("scx_sched_pcpu", 80, {{"event_stats", stats, 0}, {"bypass_dsq", dsq, bits(24)}});
    const int ancestors = w.array(w.pointer, 0);
    for (const MemberSpec& member : std::initializer_list<MemberSpec>{{"pnode", w.pointer, bits(144)},
                                                                      {"pcpu", w.pointer, bits(152)},
                                                                      {"bypass_depth", w.s32, bits(160)},
                                                                      {"aborting", w.u8, bits(164)},
                                                                      {"level", w.s32, bits(168)},
                                                                      {"children", w.list_head, bits(176)},
                                                                      {"sibling", w.list_head, bits(192)},
                                                                      {"cgrp_path", w.pointer, bits(208)},
                                                                      {"watchdog_timeout", w.u64, bits(216)},
                                                                      {"ancestors", ancestors, bits(240)}})
      sched.push_back(member);
  }
  if (spec.generation != Generation::variables) w.add_struct("scx_sched", 240, sched);
  const bool renamed = spec.generation == Generation::tree;
  const std::string prefix = renamed ? "SCX_" : "SCX_OPS_";
  w.add_enum(renamed ? "scx_enable_state" : "scx_ops_enable_state",
             {{prefix + "ENABLING", 0}, {prefix + "ENABLED", 1}, {prefix + "DISABLING", 2}, {prefix + "DISABLED", 3}});
  w.add_struct("clocksource", 8, {{"mult", w.u32, 0}, {"shift", w.u32, bits(4)}});
}

}  // namespace

KernelSpec ScxGuest::needs(const ScxSpec& spec) {
  KernelSpec needs;
  needs.add_types = [spec](TypeWriter& w) {
    add_types(w, spec);
    if (spec.more.add_types) spec.more.add_types(w);
  };
  needs.symbols = {{"scx_tasks", 0x10, 'D'},
                   {"jiffies_64", 0x20, 'D'},
                   {"scx_watchdog_timestamp", 0x28, 'D'},
                   {"nr_node_ids", 0x40, 'D'},
                   {"clocksource_jiffies", 0x48, 'D'},
                   {"ext_sched_class", 0x100, 'R'},
                   {"fair_sched_class", 0x110, 'R'},
                   {"rt_sched_class", 0x120, 'R'},
                   {"native_queued_spin_lock_slowpath", 0x1000},
                   {"osq_lock", 0x1100},
                   {"rwsem_down_read_slowpath.constprop.0", 0x1200},
                   {"up_read", 0x1300}};
  const auto add = [&](const char* name, std::uint64_t place) { needs.symbols.push_back({name, place, 'D'}); };
  if (spec.generation != Generation::variables) add("scx_root", 0x0);
  if (spec.generation != Generation::tree) {
    add("scx_watchdog_timeout", 0x30);
    add("scx_ops_enable_state_var", 0x38);
    add("scx_ops_bypass_depth", 0x60);
  } else {
    add("scx_enable_state_var", 0x38);
  }
  if (spec.generation == Generation::variables) {
    add("scx_ops", 0x200);
    add("scx_exit_kind", 0x280);
    add("scx_exit_info", 0x288);
    add("dsq_hash", 0x290);
    add("global_dsqs", 0x2a0);
  }
  needs.symbols.insert(needs.symbols.end(), spec.more.symbols.begin(), spec.more.symbols.end());
  return needs;
}

ScxGuest::ScxGuest(ScxSpec spec) : guest(needs(spec)), spec_(spec) {
  init_list(guest.symbol("scx_tasks"));
  guest.put(guest.symbol("jiffies_64"), kNow);
  guest.put(guest.symbol("scx_watchdog_timestamp"), kNow - 10);
  guest.put(guest.symbol("nr_node_ids"), spec.nodes);
  guest.put(guest.symbol("clocksource_jiffies"), std::uint32_t{4'000'000u << 8});  // 250 Hz
  guest.put(guest.symbol("clocksource_jiffies") + 4, std::uint32_t{8});
  enable_state(3);
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    const Kva scx = rq(cpu) + guest.offset("rq.scx");
    init_list(scx + guest.offset("scx_rq.runnable_list"));
    guest.put(rq(cpu) + guest.offset("rq.curr"), get(rq(cpu) + guest.offset("rq.idle")));
    if (!spec.dsq_groups) continue;
    init_list(local_dsq(cpu) + guest.offset("scx_dispatch_q.list"));
    guest.put(local_dsq(cpu) + guest.offset("scx_dispatch_q.id"), std::uint64_t{0x8000000000000002});
    guest.map(per_cpu(at(kPerCpu), cpu));
  }
}

std::string ScxGuest::state_name() const {
  return spec_.generation == Generation::tree ? "scx_enable_state_var" : "scx_ops_enable_state_var";
}

std::uint64_t ScxGuest::get(Kva kva) const {
  std::uint64_t value = 0;
  guest.memory.read(guest.physical(kva), std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

void ScxGuest::init_list(Kva head) {
  guest.put(head, head.value);
  guest.put(head + 8, head.value);
}

void ScxGuest::link_before(Kva head, Kva node) {
  const std::uint64_t last = get(head + 8);
  guest.put(node, head.value);
  guest.put(node + 8, last);
  guest.put(Kva(last), node.value);
  guest.put(head + 8, node.value);
}

Kva ScxGuest::per_cpu(Kva variable, std::uint32_t cpu) const {
  return variable + get(guest.symbol("__per_cpu_offset") + 8 * cpu);
}

Kva ScxGuest::rq(std::uint32_t cpu) const {
  return per_cpu(guest.symbol("runqueues"), cpu);
}

Kva ScxGuest::local_dsq(std::uint32_t cpu) const {
  return rq(cpu) + guest.offset("rq.scx") + guest.offset("scx_rq.local_dsq");
}

Kva ScxGuest::bypass_dsq(std::uint32_t cpu) {
  return per_cpu(at(kPerCpu), cpu) + guest.offset("scx_sched_pcpu.bypass_dsq");
}

Kva ScxGuest::add_task(std::int32_t pid, const std::string& comm) {
  const Kva task = guest.add_process(pid, comm);
  guest.put(task + guest.offset("task_struct.group_leader"), task.value);
  guest.put(task + guest.offset("task_struct.sched_class"), guest.symbol("ext_sched_class").value);
  guest.put(scx(task) + guest.offset("sched_ext_entity.weight"), std::uint32_t{100});
  guest.put(scx(task) + guest.offset("sched_ext_entity.flags"), std::uint32_t{4});  // its stamp is stale
  link_before(guest.symbol("scx_tasks"), scx(task) + guest.offset("sched_ext_entity.tasks_node"));
  return task;
}

void ScxGuest::make_runnable(Kva task, std::uint32_t cpu, std::uint64_t age) {
  guest.put(task + guest.offset("task_struct.__state"), std::uint32_t{0});
  guest.put(scx(task) + guest.offset("sched_ext_entity.flags"), std::uint32_t{1});
  waited(task, age);
  const Kva list = rq(cpu) + guest.offset("rq.scx") + guest.offset("scx_rq.runnable_list");
  link_before(list, scx(task) + guest.offset("sched_ext_entity.runnable_node"));
}

void ScxGuest::waited(Kva task, std::uint64_t age) {
  guest.put(scx(task) + guest.offset("sched_ext_entity.runnable_at"), kNow - age);
}

void ScxGuest::enqueue(Kva task, Kva dsq) {
  guest.put(scx(task) + guest.offset("sched_ext_entity.dsq"), dsq.value);
  link_before(dsq + guest.offset("scx_dispatch_q.list"), scx(task) + guest.offset("sched_ext_entity.dsq_list"));
  guest.put(dsq + guest.offset("scx_dispatch_q.nr"), static_cast<std::uint32_t>(get(dsq + guest.offset("scx_dispatch_q.nr")) + 1));
}

Kva ScxGuest::add_cursor(Kva dsq) {
  const Kva cursor = guest.allocate(kPageBytes) + 0x800;  // on some stack
  guest.put(cursor + guest.offset("scx_dsq_list_node.flags"), std::uint32_t{1});
  link_before(dsq + guest.offset("scx_dispatch_q.list"), cursor + guest.offset("scx_dsq_list_node.node"));
  return cursor;
}

Kva ScxGuest::new_dsq(std::uint64_t id) {
  const Kva dsq = guest.allocate(kPageBytes);
  init_list(dsq + guest.offset("scx_dispatch_q.list"));
  guest.put(dsq + guest.offset("scx_dispatch_q.id"), id);
  return dsq;
}

void ScxGuest::make_table(Kva table, std::uint32_t buckets) {
  guest.put(table + guest.offset("bucket_table.size"), buckets);
}

Kva ScxGuest::make_sched(const std::string& name) {
  const Kva made = guest.allocate(kPageBytes);
  guest.put_string(made + guest.offset("scx_sched.ops.name"), name);
  const Kva info = guest.allocate(kPageBytes);
  guest.put(made + guest.offset("scx_sched.exit_info"), info.value);
  const Kva nodes = guest.allocate(kPageBytes);
  const bool tree = spec_.generation == Generation::tree;
  guest.put(made + guest.offset(tree ? "scx_sched.pnode" : "scx_sched.global_dsqs"), nodes.value);
  for (std::uint32_t node = 0; node < spec_.nodes; ++node) {
    globals_.push_back(new_dsq(0x8000000000000001));
    guest.put(nodes + 8 * node, globals_.back().value);
  }
  guest.put(made + guest.offset(tree ? "scx_sched.pcpu" : "scx_sched.event_stats_cpu"), at(kPerCpu).value);
  if (!tree) return made;
  guest.put(made + guest.offset("scx_sched.watchdog_timeout"), kTimeout);
  init_list(made + guest.offset("scx_sched.children"));
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    init_list(bypass_dsq(cpu) + guest.offset("scx_dispatch_q.list"));
    guest.put(bypass_dsq(cpu) + guest.offset("scx_dispatch_q.id"), std::uint64_t{0x8000000000000003});
  }
  return made;
}

void ScxGuest::attach(const std::string& name) {
  enable_state(1);
  bucket_table = guest.allocate(kPageBytes);
  make_table(bucket_table, kBuckets);
  if (spec_.generation == Generation::variables) {
    guest.put_string(guest.symbol("scx_ops"), name);
    dsq_hash = guest.symbol("dsq_hash");
    const Kva nodes = guest.allocate(kPageBytes);
    guest.put(guest.symbol("global_dsqs"), nodes.value);
    for (std::uint32_t node = 0; node < spec_.nodes; ++node) {
      globals_.push_back(new_dsq(0x8000000000000001));
      guest.put(nodes + 8 * node, globals_.back().value);
    }
  } else {
    sched = make_sched(name);
    guest.put(guest.symbol("scx_root"), sched.value);
    dsq_hash = sched + guest.offset("scx_sched.dsq_hash");
  }
  if (spec_.generation != Generation::tree) guest.put(guest.symbol("scx_watchdog_timeout"), kTimeout);
  guest.put(dsq_hash, bucket_table.value);
}

Kva ScxGuest::add_child(Kva parent, std::int32_t level, const std::string& name, const std::string& path) {
  const Kva child = make_sched(name);
  guest.put(child + guest.offset("scx_sched.level"), level);
  put_text(child + guest.offset("scx_sched.cgrp_path"), path);
  guest.put(child + guest.offset("scx_sched.dsq_hash"), guest.allocate(kPageBytes).value);
  make_table(Kva(get(child + guest.offset("scx_sched.dsq_hash"))), 1);
  link_before(parent + guest.offset("scx_sched.children"), child + guest.offset("scx_sched.sibling"));
  return child;
}

void ScxGuest::put_text(Kva pointer, const std::string& text) {
  const Kva bytes = guest.allocate(text.size() + 1);
  guest.put_string(bytes, text);
  guest.put(pointer, bytes.value);
}

void ScxGuest::exit_kind(std::uint32_t kind) {
  guest.put(spec_.generation == Generation::variables ? guest.symbol("scx_exit_kind") : sched + guest.offset("scx_sched.exit_kind"), kind);
}

void ScxGuest::exit(std::uint32_t kind, const std::string& reason, const std::string& msg, const std::string& dump) {
  exit_kind(1);  // done: what it was stands in the info
  enable_state(2);
  Kva info;
  if (spec_.generation == Generation::variables) {
    info = guest.allocate(kPageBytes);
    guest.put(guest.symbol("scx_exit_info"), info.value);
  } else {
    info = Kva(get(sched + guest.offset("scx_sched.exit_info")));
  }
  guest.put(info + guest.offset("scx_exit_info.kind"), kind);
  put_text(info + guest.offset("scx_exit_info.reason"), reason);
  put_text(info + guest.offset("scx_exit_info.msg"), msg);
  put_text(info + guest.offset("scx_exit_info.dump"), dump);
  const Kva trace = guest.allocate(kPageBytes);
  guest.put(trace, (guest.symbol("osq_lock") + 0x12).value);
  guest.put(info + guest.offset("scx_exit_info.bt"), trace.value);
  guest.put(info + guest.offset("scx_exit_info.bt_len"), std::uint32_t{1});
}

void ScxGuest::detach() {
  enable_state(3);
  if (spec_.generation != Generation::variables) guest.put(guest.symbol("scx_root"), std::uint64_t{0});
}

void ScxGuest::put_in(Kva table, std::uint32_t bucket, Kva dsq) {
  const Kva slot = table + guest.offset("bucket_table.buckets") + 8 * bucket;
  const Kva node = dsq + guest.offset("scx_dispatch_q.hash_node");
  const std::uint64_t first = get(slot) & ~std::uint64_t{1};
  guest.put(node, first != 0 ? first : (slot.value >> 1 | 1));
  guest.put(slot, node.value | 1);  // the bucket's lock is held
}

Kva ScxGuest::add_user_dsq(std::uint64_t id, std::uint32_t bucket) {
  const Kva dsq = new_dsq(id);
  put_in(bucket_table, bucket, dsq);
  return dsq;
}

Kva ScxGuest::add_future_table(std::uint32_t buckets) {
  const Kva table = guest.allocate(kPageBytes);
  make_table(table, buckets);
  guest.put(bucket_table + guest.offset("bucket_table.future_tbl"), table.value);
  return table;
}

void ScxGuest::add_event(std::uint32_t cpu, const std::string& name, std::int64_t value) {
  guest.put(per_cpu(at(kPerCpu), cpu) + guest.offset("scx_event_stats." + name), value);
}

}  // namespace floe::walkers::synthetic
