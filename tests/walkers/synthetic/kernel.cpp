#include "tests/walkers/synthetic/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace floe::walkers::synthetic {
namespace {

constexpr std::uint64_t kLinkText = kKernelMap + 0x1000000;
constexpr std::uint64_t kHeapStart = 0xff11000010000000;   // what 5-level kernels use for the direct map
constexpr std::uint64_t kHeapStart4 = 0xffff888010000000;  // and 4-level ones
constexpr std::uint64_t kImageBytes = 0x60000;

// Where things lie in the image.
enum Place : std::uint64_t {
  kUts = 0x1000,
  kRoot = 0x2000,  // and the page behind it free, as for page-table isolation
  kInitTask = 0x4000,
  kRunQueues = 0x5000,
  kNrCpus = 0x6000,
  kPerCpuOffset = 0x6100,
  kPossibleMask = 0x6f00,
  kNumSyms = 0x8000,
  kTokenTable = 0x8100,
  kTokenIndex = 0x9000,
  kRelativeBase = 0x9800,
  kNames = 0xa000,
  kOffsets = 0xe000,
  kBtf = 0x20000,
  kFree = 0x40000,
};
static_assert(kFree + SyntheticKernel::kFreeBytes == kImageBytes);

Gpa image_gpa(const KernelSpec& spec, std::uint64_t place) {
  return Gpa(kLinkText - kKernelMap + spec.kernel_offset + static_cast<std::uint64_t>(spec.phys_base) + place);
}

}  // namespace

SyntheticKernel::SyntheticKernel(KernelSpec spec)
    : spec_(std::move(spec)),
      tables_(memory, image_gpa(spec_, kRoot), spec_.five_levels, Gpa(0x06000000)),
      image_(kLinkText + spec_.kernel_offset),
      heap_(spec_.five_levels ? kHeapStart : kHeapStart4) {
  build_types();
  build_image();

  init_task = image_ + kInitTask;
  put_string(init_task + offset("task_struct.comm"), "swapper/0");
  const auto tasks = init_task + offset("task_struct.tasks");
  put(tasks, tasks.value);
  put(tasks + 8, tasks.value);
  const auto put_name = [this](const char* field, std::string_view text) {
    put_string(image_ + kUts + offset(fmt::format("uts_namespace.name.{}", field)), text);
  };
  put_name("sysname", "Linux");
  put_name("nodename", "synthetic");
  put_name("release", spec_.release);
  put_name("version", "#1 SMP");
  put_name("machine", "x86_64");

  put(image_ + kNrCpus, spec_.cpus);
  for (std::uint32_t cpu = 0; cpu < spec_.cpus; ++cpu) {
    if (spec_.possible_mask && (*spec_.possible_mask >> cpu & 1) == 0) continue;
    const Kva area = allocate(kPageBytes);
    put(image_ + kPerCpuOffset + 8 * cpu, area.value - symbol("runqueues").value);
    Kva idle = init_task;
    if (cpu > 0) {
      idle = allocate(kPageBytes);
      put_string(idle + offset("task_struct.comm"), fmt::format("swapper/{}", cpu));
    }
    put(area + offset("rq.idle"), idle.value);
  }
  write_note();
}

void SyntheticKernel::build_types() {
  TypeWriter w;
  const int chars16 = w.array(w.character, 16);
  const int chars32 = w.array(w.character, 32);
  const int chars65 = w.array(w.character, 65);
  const int thread_info = spec_.cpu_in_thread_info ? w.add_struct("thread_info", 16, {{"flags", w.u64, 0}, {"cpu", w.u32, 64}})
                                                   : w.add_struct("thread_info", 16, {{"flags", w.u64, 0}});
  const int thread = w.add_struct("thread_struct", 8, {{"sp", w.u64, 0}});
  const int ids = w.add_struct("", 8, {{"pid", w.s32, 0}, {"tgid", w.s32, 32}});
  std::vector<MemberSpec> task = {{"thread_info", thread_info, 0},
                                  {"__state", w.u32, 8 * 16},
                                  {"flags", w.u32, 8 * 20},
                                  {"on_cpu", spec_.on_cpu_bytes == 1 ? w.u8 : w.s32, 8 * 24},
                                  {"tasks", w.list_head, 8 * 32},
                                  {"real_parent", w.pointer, 8 * 48},
                                  {"signal", w.pointer, 8 * 56},
                                  {spec_.thread_head ? "thread_node" : "thread_group", w.list_head, 8 * 64},
                                  {nullptr, ids, 8 * 80},
                                  {"comm", chars16, 8 * 88},
                                  {"worker_private", w.pointer, 8 * 104},
                                  {"exit_state", w.s32, 8 * 112},
                                  {"stack", w.pointer, 8 * 120},
                                  {"thread", thread, 8 * 128}};
  if (!spec_.cpu_in_thread_info) task.push_back({"cpu", w.u32, 8 * 116});
  w.add_struct("task_struct", 136, task);
  if (spec_.thread_head) w.add_struct("signal_struct", 32, {{"nr_threads", w.s32, 0}, {"thread_head", w.list_head, 64}});
  w.add_struct("kthread", 24, {{"data", w.pointer, 64}, {"full_name", w.pointer, 128}});
  w.add_struct(
      "worker", 64,
      {{"current_work", w.pointer, 0}, {"pool", w.pointer, 64}, {"id", w.s32, 128}, {"desc", chars32, 192}, {"rescue_wq", w.pointer, 448}});
  w.add_struct("worker_pool", 32, {{"cpu", w.s32, 32}, {"id", w.s32, 96}, {"attrs", w.pointer, 128}});
  w.add_struct("workqueue_attrs", 8, {{"nice", w.s32, 0}});
  w.add_struct("workqueue_struct", 64, {{"name", chars32, 64}});
  w.add_struct("rq", 8, {{"idle", w.pointer, 0}});  // some driver's own
  w.add_struct("rq", 64, {{"curr", w.pointer, 0}, {"idle", w.pointer, 256}});
  std::vector<MemberSpec> name;
  for (const char* field : {"sysname", "nodename", "release", "version", "machine"})
    name.push_back({field, chars65, static_cast<std::uint32_t>(name.size() * 65 * 8)});
  const int utsname = w.add_struct("new_utsname", 5 * 65, name);
  w.add_struct("uts_namespace", 5 * 65, {{"name", utsname, 0}});
  if (spec_.add_types) spec_.add_types(w);
  btf_ = w.bytes();
  types_ = parsed(btf_);
}

void SyntheticKernel::build_image() {
  if (kBtf + btf_.size() > kFree) throw std::logic_error("the synthetic image is too small for its BTF");
  // 2 MiB pages, like the real image; 2 MiB alignment is what KASLR gives it.
  const Gpa at = image_gpa(spec_, 0);
  tables_.map(image_, at, kLargePage);
  for (std::uint64_t page = 0; page < kImageBytes; page += kPageBytes)
    if (page != kRoot) memory.write(at + page, std::array<std::byte, kPageBytes>{});

  const bool zero_based = spec_.layout == SymbolLayout::base_or_percpu;
  const auto add = [&](char type, const char* name, std::uint64_t address) { symbols_.push_back({type, name, address}); };
  if (zero_based) add('D', "runqueues", 0x5000);
  add('T', "_stext", image_.value);
  add('t', "format_worker_id", image_.value + 0x10);
  add('D', "init_uts_ns", image_.value + kUts);
  add('D', "init_task", image_.value + kInitTask);
  if (!zero_based) add('D', "runqueues", image_.value + kRunQueues);
  add('D', "nr_cpu_ids", image_.value + kNrCpus);
  add('D', "__per_cpu_offset", image_.value + kPerCpuOffset);
  if (spec_.possible_mask) {
    add('D', "__cpu_possible_mask", image_.value + kPossibleMask);
    put(image_ + kPossibleMask, *spec_.possible_mask);
  }
  add('R', "__start_BTF", image_.value + kBtf);
  add('R', "__stop_BTF", image_.value + kBtf + btf_.size());
  for (const auto& extra : spec_.symbols) {
    const std::uint64_t address = (free_image() + extra.place).value;
    const auto behind = std::find_if(symbols_.begin(), symbols_.end(), [&](const Symbol& symbol) { return symbol.address > address; });
    symbols_.insert(behind, {extra.type, extra.name, address});
  }
  const auto encoded = encode(symbols_, spec_.layout, image_.value + kOffsets);
  put(image_ + kNumSyms, encoded.count);
  write(image_ + kTokenTable, std::as_bytes(std::span(encoded.token_table)));
  write(image_ + kTokenIndex, std::as_bytes(std::span(encoded.token_index)));
  put(image_ + kRelativeBase, encoded.relative_base);
  write(image_ + kNames, std::as_bytes(std::span(encoded.names)));
  write(image_ + kOffsets, std::as_bytes(std::span(encoded.offsets)));
  write(image_ + kBtf, btf_);
}

void SyntheticKernel::write_note() {
  auto& text = vmcoreinfo_text;
  text = fmt::format("OSRELEASE={}\nBUILD-ID={}\nPAGESIZE=4096\n", spec_.release, spec_.build_id);
  const auto add = [&](const char* name, std::uint64_t place) { text += fmt::format("SYMBOL({})={:x}\n", name, image_.value + place); };
  add("init_uts_ns", kUts);
  add("swapper_pg_dir", kRoot);
  add("_stext", 0);
  add("kallsyms_names", kNames);
  add("kallsyms_num_syms", kNumSyms);
  add("kallsyms_token_table", kTokenTable);
  add("kallsyms_token_index", kTokenIndex);
  add(spec_.layout == SymbolLayout::absolute ? "kallsyms_addresses" : "kallsyms_offsets", kOffsets);
  if (spec_.layout == SymbolLayout::base_relative || spec_.layout == SymbolLayout::base_or_percpu)
    add("kallsyms_relative_base", kRelativeBase);
  text += fmt::format("NUMBER(phys_base)={}\nNUMBER(pgtable_l5_enabled)={}\nKERNELOFFSET={:x}\nSIZE(page)=64\n", spec_.phys_base,
                      spec_.five_levels ? 1 : 0, spec_.kernel_offset);

  std::string page = text;
  page.resize(kPageBytes);
  if (spec_.raw_copy) memory.write(kRawPage, bytes_of(page));
  if (!spec_.note_copy) return;
  memory.write(kNotePage, std::array<std::byte, kPageBytes>{});
  memory.put(kNotePage, std::uint32_t{11});
  memory.put(kNotePage + 4, static_cast<std::uint32_t>(text.size()));
  memory.write(kNotePage + 12, bytes_of(std::string_view("VMCOREINFO\0", 12)));
  memory.write(kNotePage + 24, bytes_of(text));
}

Kva SyntheticKernel::symbol(const std::string& name) const {
  const auto found = std::find_if(symbols_.begin(), symbols_.end(), [&](const auto& symbol) { return symbol.name == name; });
  if (found == symbols_.end()) throw std::logic_error("no synthetic symbol " + name);
  return Kva(found->address);
}

Kva SyntheticKernel::free_image() const {
  return image_ + kFree;
}

Kva SyntheticKernel::allocate(std::uint64_t bytes) {
  const Kva start = heap_;
  for (; heap_ - start < bytes; heap_ = heap_ + kPageBytes) map(heap_);
  return start;
}

void SyntheticKernel::map(Kva kva) {
  tables_.map(Kva(page_floor(kva.value)), heap_gpa_);
  memory.write(heap_gpa_, std::array<std::byte, kPageBytes>{});
  heap_gpa_ = heap_gpa_ + 2 * kPageBytes;  // neighbours in virtual memory are none in RAM
}

void SyntheticKernel::write(Kva kva, std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const Kva at = kva + done;
    const std::size_t chunk = std::min<std::size_t>(bytes.size() - done, kPageBytes - at.value % kPageBytes);
    memory.write(physical(at), bytes.subspan(done, chunk));
    done += chunk;
  }
}

void SyntheticKernel::put_string(Kva kva, std::string_view text) {
  write(kva, bytes_of(text));
  put(kva + text.size(), '\0');
}

// list_add_tail()
void SyntheticKernel::link(Kva head, Kva node) {
  std::uint64_t last = 0;
  memory.read(physical(head + 8), std::as_writable_bytes(std::span(&last, 1)));
  put(node, head.value);
  put(node + 8, last);
  put(Kva(last), node.value);
  put(head + 8, node.value);
}

Kva SyntheticKernel::add_process(std::int32_t pid, const std::string& comm, std::uint32_t state, std::uint32_t exit_state) {
  const Kva task = allocate(kPageBytes);
  put(task + offset("task_struct.pid"), pid);
  put(task + offset("task_struct.tgid"), pid);
  put(task + offset("task_struct.__state"), state);
  put(task + offset("task_struct.exit_state"), exit_state);
  put(task + offset("task_struct.real_parent"), init_task.value);
  write(task + offset("task_struct.comm"), bytes_of(std::string_view(comm).substr(0, 15)));
  link(init_task + offset("task_struct.tasks"), task + offset("task_struct.tasks"));
  if (spec_.thread_head) {
    const Kva signal = allocate(kPageBytes);
    const Kva head = signal + offset("signal_struct.thread_head");
    put(task + offset("task_struct.signal"), signal.value);
    put(head, head.value);
    put(head + 8, head.value);
    link(head, task + offset("task_struct.thread_node"));
  } else {
    const Kva ring = task + offset("task_struct.thread_group");
    put(ring, ring.value);
    put(ring + 8, ring.value);
  }
  return task;
}

Kva SyntheticKernel::add_thread(Kva leader, std::int32_t pid, const std::string& comm) {
  const Kva task = allocate(kPageBytes);
  std::array<std::byte, 4> tgid;
  memory.read(physical(leader + offset("task_struct.tgid")), tgid);
  put(task + offset("task_struct.pid"), pid);
  write(task + offset("task_struct.tgid"), tgid);
  put(task + offset("task_struct.__state"), std::uint32_t{1});
  put(task + offset("task_struct.real_parent"), init_task.value);
  put_string(task + offset("task_struct.comm"), comm);
  if (spec_.thread_head) {
    std::uint64_t signal = 0;
    memory.read(physical(leader + offset("task_struct.signal")), std::as_writable_bytes(std::span(&signal, 1)));
    put(task + offset("task_struct.signal"), signal);
    link(Kva(signal) + offset("signal_struct.thread_head"), task + offset("task_struct.thread_node"));
  } else {
    link(leader + offset("task_struct.thread_group"), task + offset("task_struct.thread_group"));
  }
  return task;
}

void SyntheticKernel::make_kernel_thread(Kva task, const std::string& full_name) {
  const Kva kthread = allocate(kPageBytes);
  const Kva name = allocate(kPageBytes);
  put_string(name, full_name);
  put(kthread + offset("kthread.full_name"), name.value);
  put(task + offset("task_struct.worker_private"), kthread.value);
  put(task + offset("task_struct.flags"), std::uint32_t{0x00200000});
}

void SyntheticKernel::make_worker(Kva task, const Worker& worker) {
  const Kva kthread = allocate(kPageBytes);
  const Kva own = allocate(kPageBytes);
  const Kva pool = allocate(kPageBytes);
  const Kva attrs = allocate(kPageBytes);
  put(task + offset("task_struct.worker_private"), kthread.value);
  put(task + offset("task_struct.flags"), std::uint32_t{0x00200020});
  put(kthread + offset("kthread.data"), own.value);
  put(own + offset("worker.pool"), pool.value);
  put(own + offset("worker.id"), worker.id);
  put_string(own + offset("worker.desc"), worker.description);
  if (worker.busy) put(own + offset("worker.current_work"), own.value);
  put(pool + offset("worker_pool.cpu"), worker.pool_cpu);
  put(pool + offset("worker_pool.id"), worker.pool_id);
  put(pool + offset("worker_pool.attrs"), attrs.value);
  put(attrs + offset("workqueue_attrs.nice"), worker.nice);
  if (!worker.rescues) return;
  const Kva queue = allocate(kPageBytes);
  put_string(queue + offset("workqueue_struct.name"), *worker.rescues);
  put(own + offset("worker.rescue_wq"), queue.value);
}

}  // namespace floe::walkers::synthetic
