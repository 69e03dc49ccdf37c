#include "walkers/task_names.hpp"

#include <fmt/format.h>

namespace floe::walkers {
namespace {

// include/linux/sched.h, unchanged through 6.1 .. 7.2. They are macros, so BTF does not have them.
constexpr std::uint32_t kPfWqWorker = 0x00000020;
constexpr std::uint32_t kPfKthread = 0x00200000;

constexpr std::size_t kShownBytes = 63;        // char tcomm[64] in proc_task_name()
constexpr std::size_t kDescriptionBytes = 32;  // WORKER_DESC_LEN
constexpr std::size_t kQueueNameBytes = 32;    // WQ_NAME_LEN

}  // namespace

TaskNames::TaskNames(const Kernel& kernel) : memory_(kernel.memory()) {
  const auto offset = [&](std::string_view path) {
    const auto found = kernel.types().offset(path);
    return found ? std::optional(*found) : std::nullopt;
  };
  // Before format_worker_id() a worker's own comm was used, cut at 15 characters.
  formats_ids_ = kernel.symbols().find("format_worker_id").has_value();
  worker_private_ = offset("task_struct.worker_private");
  full_name_ = offset("kthread.full_name");
  data_ = offset("kthread.data");
  current_work_ = offset("worker.current_work");
  desc_ = offset("worker.desc");
  pool_ = offset("worker.pool");
  rescue_wq_ = offset("worker.rescue_wq");
  worker_id_ = offset("worker.id");
  wq_name_ = offset("workqueue_struct.name");
  pool_cpu_ = offset("worker_pool.cpu");
  pool_id_ = offset("worker_pool.id");
  pool_attrs_ = offset("worker_pool.attrs");
  attrs_nice_ = offset("workqueue_attrs.nice");
}

// Null pointers are as absent as unreadable ones.
std::optional<Kva> TaskNames::pointer(Kva from, const std::optional<std::uint32_t>& offset) const {
  const auto value = offset ? memory_.get<std::uint64_t>(from + *offset) : std::nullopt;
  if (!value || *value == 0) return std::nullopt;
  return Kva(*value);
}

std::string TaskNames::name(Kva task, std::uint32_t flags, std::string comm) const {
  if ((flags & (kPfWqWorker | kPfKthread)) == 0) return comm;
  const auto kthread = pointer(task, worker_private_);
  if (!kthread) return comm;
  if (flags & kPfWqWorker) return worker_name(*kthread, std::move(comm));
  const auto full_name = pointer(*kthread, full_name_);
  if (!full_name) return comm;
  return memory_.get_string(*full_name, kShownBytes).value_or(std::move(comm));
}

std::string TaskNames::worker_name(Kva kthread, std::string comm) const {
  const auto worker = pointer(kthread, data_);
  if (!worker) return comm;
  const auto pool = pointer(*worker, pool_);
  std::string text = worker_id(*worker, pool.value_or(Kva()), comm);
  if (!pool || !desc_ || !current_work_) return text;
  const auto description = memory_.get_string(*worker + *desc_, kDescriptionBytes);
  if (!description || description->empty()) return text;
  text += pointer(*worker, current_work_) ? '+' : '-';
  text += *description;
  return text.substr(0, kShownBytes);
}

std::string TaskNames::worker_id(Kva worker, Kva pool, const std::string& comm) const {
  if (!formats_ids_ || !rescue_wq_ || !worker_id_ || !wq_name_ || !pool_cpu_ || !pool_id_) return comm;
  if (const auto queue = pointer(worker, rescue_wq_)) {
    const auto name = memory_.get_string(*queue + *wq_name_, kQueueNameBytes);
    return name ? fmt::format("kworker/R-{}", *name) : comm;
  }
  if (!pool) return "kworker/dying";
  const auto cpu = memory_.get<std::int32_t>(pool + *pool_cpu_);
  const auto id = memory_.get<std::int32_t>(worker + *worker_id_);
  const auto pool_id = memory_.get<std::int32_t>(pool + *pool_id_);
  if (!cpu || !id || !pool_id) return comm;
  if (*cpu < 0) return fmt::format("kworker/u{}:{}", *pool_id, *id);
  const auto attrs = pointer(pool, pool_attrs_);
  const auto nice = attrs && attrs_nice_ ? memory_.get<std::int32_t>(*attrs + *attrs_nice_) : std::nullopt;
  return fmt::format("kworker/{}:{}{}", *cpu, *id, nice.value_or(0) < 0 ? "H" : "");
}

}  // namespace floe::walkers
