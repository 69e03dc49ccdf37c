#include "walkers/task_names.hpp"

#include <fmt/format.h>

namespace floe::walkers {
namespace {

// include/linux/sched.h, unchanged through 6.1 .. 7.2. They are macros, so BTF does not have them.
constexpr std::uint32_t kPfWqWorker = 0x00000020;
constexpr std::uint32_t kPfKthread = 0x00200000;

constexpr std::size_t kShownBytes = 63;  // char tcomm[64] in proc_task_name()

}  // namespace

TaskNames::TaskNames(const Kernel& kernel) : memory_(kernel.memory()) {
  const auto field = [&](std::string_view path) {
    const auto found = kernel.types().field(path);
    return found ? std::optional(*found) : std::nullopt;
  };
  // Before format_worker_id() a worker's own comm was used, cut at 15 characters.
  formats_ids_ = kernel.symbols().find("format_worker_id").has_value();
  worker_private_ = field("task_struct.worker_private");
  full_name_ = field("kthread.full_name");
  data_ = field("kthread.data");
  current_work_ = field("worker.current_work");
  desc_ = field("worker.desc");
  pool_ = field("worker.pool");
  rescue_wq_ = field("worker.rescue_wq");
  worker_id_ = field("worker.id");
  wq_name_ = field("workqueue_struct.name");
  pool_cpu_ = field("worker_pool.cpu");
  pool_id_ = field("worker_pool.id");
  pool_attrs_ = field("worker_pool.attrs");
  attrs_nice_ = field("workqueue_attrs.nice");
}

std::optional<Kva> TaskNames::pointer(Kva object, const std::optional<Field>& field) const {
  return field ? memory_.get_pointer(object, *field) : std::nullopt;
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
  const auto description = memory_.get_string(*worker, *desc_);
  if (!description || description->empty()) return text;
  text += pointer(*worker, current_work_) ? '+' : '-';
  text += *description;
  return text.substr(0, kShownBytes);
}

std::string TaskNames::worker_id(Kva worker, Kva pool, const std::string& comm) const {
  if (!formats_ids_ || !rescue_wq_ || !worker_id_ || !wq_name_ || !pool_cpu_ || !pool_id_) return comm;
  if (const auto queue = pointer(worker, rescue_wq_)) {
    const auto name = memory_.get_string(*queue, *wq_name_);
    return name ? fmt::format("kworker/R-{}", *name) : comm;
  }
  if (!pool) return "kworker/dying";
  const auto number = [&](Kva object, Field field) {
    const auto value = memory_.get_number(object, field);
    return value ? std::optional(static_cast<std::int32_t>(*value)) : std::nullopt;
  };
  const auto cpu = number(pool, *pool_cpu_);
  const auto id = number(worker, *worker_id_);
  const auto pool_id = number(pool, *pool_id_);
  if (!cpu || !id || !pool_id) return comm;
  if (*cpu < 0) return fmt::format("kworker/u{}:{}", *pool_id, *id);
  const auto attrs = pointer(pool, pool_attrs_);
  const auto nice = attrs && attrs_nice_ ? number(*attrs, *attrs_nice_) : std::nullopt;
  return fmt::format("kworker/{}:{}{}", *cpu, *id, nice.value_or(0) < 0 ? "H" : "");
}

}  // namespace floe::walkers
