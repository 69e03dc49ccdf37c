#include "cli/run_report.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "cli/json.hpp"
#include "cli/version.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

json::value outcome_code(const std::optional<vmm::wire::Outcome>& outcome) {
  if (!outcome) return nullptr;
  using Kind = vmm::wire::Outcome::Kind;
  switch (outcome->kind) {
    case Kind::kExited:
      return {{"kind", "exited"}, {"code", outcome->code}};
    case Kind::kSignalled:
      return {{"kind", "signalled"}, {"signal", outcome->code}};
    default:
      return {{"kind", "not-started"}, {"errno", outcome->code}};
  }
}

json::value scheduler_failure(const std::optional<freeze::SchedulerFailure>& failure) {
  if (!failure) return nullptr;
  return {{"stall", failure->stall},
          {"name", json_text(failure->name)},
          {"reason", json_text(failure->reason)},
          {"message", json_text(failure->message)},
          {"text", json_text(failure->describe())},
          {"last_in_charge", failure->before ? json::value(*failure->before) : json::value(nullptr)},
          {"shown_by", failure->shown_by}};
}

json::value capture(const OnDemandCapture& c) {
  return {{"tag", json_text(c.tag)},
          {"cause", freeze::to_text(c.cause)},
          {"ok", c.ok},
          {"reason", c.reason.empty() ? json::value(nullptr) : json::value(json_text(c.reason))},
          {"file", c.file.empty() ? json::value(nullptr) : json::value(c.file)},
          {"sequence", c.sequence},
          {"pause_us", c.pause_us},
          {"elapsed_ms", c.when ? json::value(c.when->elapsed_ms) : json::value(nullptr)},
          {"boundary_offset_ms", c.when ? json::value(c.when->boundary_offset_ms) : json::value(nullptr)}};
}

json::value captures(const RunReport& r) {
  json::array list, events;
  for (const auto& c : r.captures) list.push_back(capture(c));
  for (const auto& event : r.bridge_events) events.push_back(json::value(json_text(freeze::describe(event))));
  return {{"answered", r.captures_answered}, {"first", std::move(list)}, {"events", std::move(events)}};
}

json::value latch(const RunReport& r) {
  if (!r.latch) return nullptr;
  return {{"map", json_text(r.latch->map)},
          {"variable", json_text(r.latch->variable)},
          {"at_least", r.latch->at_least},
          {"state", r.latch->state},
          {"method", "polled"},
          {"problem", r.latch->problem.empty() ? json::value(nullptr) : json::value(json_text(r.latch->problem))}};
}

json::value periodic(const RunReport& r) {
  if (!r.periodic) return nullptr;
  return {{"asked", r.periodic->asked},
          {"captured", r.periodic->captured},
          {"degraded", r.periodic->degraded},
          {"suppressed", r.periodic->suppressed},
          {"reason", r.periodic->reason.empty() ? json::value(nullptr) : json::value(r.periodic->reason)}};
}

json::array watches(const RunReport& r) {
  json::array list;
  for (const auto& word : r.watched)
    list.push_back({{"symbol", json_text(word.symbol)},
                    {"method", word.method},
                    {"before", word.before},
                    {"after", word.after ? json::value(*word.after) : json::value(nullptr)}});
  return list;
}

json::value scenario(const RunReport& r) {
  if (!r.scenario) return nullptr;
  const auto ms = [](std::chrono::nanoseconds time) { return std::chrono::duration_cast<std::chrono::milliseconds>(time).count(); };
  json::array steps;
  for (const auto& step : r.scenario->steps)
    steps.push_back({{"what", json_text(step.what)}, {"began_ms", ms(step.began)}, {"took_ms", ms(step.took)}});
  return {{"file", json_text(r.scenario_file)},
          {"passed", r.scenario->passed()},
          {"reason", r.scenario->passed() ? json::value(nullptr) : json::value(json_text(r.scenario->reason))},
          {"steps", std::move(steps)}};
}

json::object spread(const std::vector<std::uint64_t>& values) {
  json::object o{{"p50", nullptr}, {"p99", nullptr}, {"max", nullptr}, {"count", values.size()}};
  if (values.empty()) return o;
  o["p50"] = percentile(values, 50);
  o["p99"] = percentile(values, 99);
  o["max"] = *std::max_element(values.begin(), values.end());
  return o;
}

json::object freeze_times(const RunReport& r) {
  json::object o = spread(r.pause_us);
  o["kick_to_park"] = spread(r.park_us);
  o["capture"] = spread(r.capture_us);
  o["thaw"] = spread(r.thaw_us);
  return o;
}

json::object guest(const RunReport& r) {
  json::object o{{"release", nullptr}, {"version", nullptr}, {"nodename", nullptr}, {"tasks", nullptr}};
  if (r.uts) {
    o["release"] = json_text(r.uts->release);
    o["version"] = json_text(r.uts->version);
    o["nodename"] = json_text(r.uts->nodename);
  }
  if (r.tasks) o["tasks"] = r.tasks->tasks.size();
  if (!r.walk_error.empty()) o["unavailable"] = r.walk_error;
  if (r.hello)
    o["hello"] = {{"release", json_text(r.hello->release)},
                  {"cpus", r.hello->cpus},
                  {"memory_kib", r.hello->memory_kib},
                  {"processes", r.hello->processes}};
  return o;
}

json::value or_null(const std::optional<std::uint64_t>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}

json::object ring(const RunReport& r) {
  const auto& parts = r.ring_parts;
  return {{"bytes", parts.sum()},
          {"limit", r.ring_bytes_limit},
          {"parts",
           {{"raw_pages", parts.raw_pages},
            {"compressed_pages", parts.compressed_pages},
            {"page_index", parts.page_index},
            {"page_tables", parts.page_tables},
            {"change_lists", parts.change_lists},
            {"machine_states", parts.machine_states}}},
          {"peak_bytes", r.ring_peak_bytes},
          {"largest_delta_bytes", r.ring_largest_delta},
          {"pinned_bytes", r.ring_pinned_bytes},
          {"arena_bytes", r.arena_bytes},
          {"would_fit_bytes", or_null(r.ring_would_fit)}};
}

}  // namespace

std::uint64_t percentile(std::vector<std::uint64_t> values, double p) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::clamp<std::size_t>(rank, 1, values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

std::string to_json(const RunReport& r, bool pretty) {
  json::object counters;
  for (const auto& [name, value] : r.vcpu_counters) counters[name] = value;
  const json::object manifest{
      {"schema", "floe-manifest/1"},
      {"floe", {{"version", kVersion}}},
      {"exit", {{"code", static_cast<int>(r.verdict.code)}, {"reason", json_text(r.verdict.reason)}, {"phase", r.phase}}},
      {"guest_exit", r.command_outcome && r.command_outcome->kind == vmm::wire::Outcome::Kind::kExited
                         ? json::value(r.command_outcome->code)
                         : json::value(nullptr)},
      {"command", {{"argv", json::value_from(r.command)}, {"outcome", outcome_code(r.command_outcome)}}},
      {"scheduler",
       {{"argv", json::value_from(r.scheduler)},
        {"outcome", outcome_code(r.scheduler_outcome)},
        {"failure", scheduler_failure(r.scheduler_failure)},
        {"watched", r.exit_kind_method.empty() ? json::value(nullptr) : json::value(r.exit_kind_method)},
        {"latch", latch(r)},
        {"stuck", r.stuck.empty() ? json::value(nullptr) : json::value(json_text(r.stuck))}}},
      {"captures", captures(r)},
      {"periodic", periodic(r)},
      {"watches", watches(r)},
      {"scenario", scenario(r)},
      {"kernel", {{"path", r.kernel_path}, {"xxh3_128", r.kernel_hash}, {"command_line", r.command_line}}},
      {"machine", {{"cpus", r.cpus}, {"memory_mib", r.memory_mib}, {"populated_bytes", r.populated_bytes}}},
      {"host", {{"mode", r.host_mode}, {"retries", r.host_retries}}},
      {"times_ms", {{"hello", or_null(r.hello_ms)}, {"ended", or_null(r.ended_ms)}}},
      {"guest", guest(r)},
      {"panic", r.panic.empty() ? json::value(nullptr) : json::value(json_text(r.panic))},
      {"dirty_source", r.dirty_source},
      {"snapshots",
       {{"taken", r.snapshots.taken},
        {"skipped", r.snapshots.skipped},
        {"kept", r.snapshots.kept},
        {"evicted", r.snapshots.evicted},
        {"missed_ticks", r.snapshots.missed_ticks},
        {"rendezvous_timeouts", r.snapshots.rendezvous_timeouts},
        {"did_not_fit", r.snapshots.did_not_fit},
        {"partial", r.snapshots.partial},
        {"written", r.snapshots.written},
        {"write_error", r.snapshots.write_error.empty() ? json::value(nullptr) : json::value(r.snapshots.write_error)}}},
      {"freeze_us", freeze_times(r)},
      {"precopy_us", spread(r.precopy_us)},
      {"residual_pages", spread(r.residual_pages)},
      {"ring", ring(r)},
      {"walks", {{"done", r.walks}, {"skipped", r.walks_skipped}, {"missed_reads", r.missed_reads}}},
      {"wire",
       {{"notify", r.wire_notify.empty() ? json::value(nullptr) : json::value(r.wire_notify)},
        {"frames", r.wire.frames},
        {"garbage_bytes", r.wire.garbage_bytes},
        {"bad_headers", r.wire.bad_headers},
        {"bad_payloads", r.wire.bad_payloads},
        {"oversize", r.wire.oversize},
        {"missing_frames", r.wire.missing_frames},
        {"unknown_frames", r.wire_unknown_frames}}},
      {"console", {{"bytes", r.console_bytes}, {"lost", r.console_bytes_lost}}},
      {"vcpus", counters},
      {"notes", json::value_from(r.notes)},
  };
  return pretty ? pretty_json(manifest) : json::serialize(manifest);
}

}  // namespace floe::cli
