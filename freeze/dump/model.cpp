#include "freeze/dump/model.hpp"

namespace floe::freeze::dump {

Report placeholder(const std::string& reason) {
  Report report;
  report.prog_runtime_stats_unavailable = reason;
  report.per_node_numa_unavailable = reason;
  report.task_enrichments_unavailable = reason;
  report.scx_walker_unavailable = reason;
  report.sdt_alloc_unavailable = reason;
  report.is_placeholder = true;
  return report;
}

}  // namespace floe::freeze::dump
