// What a SnapshotBridge keeps: reports with the facts of their capture, and what happened to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

#include "freeze/dump/model.hpp"

namespace floe::freeze {

using SharedReport = std::shared_ptr<const dump::Report>;

// Why a report has no scheduler statistics beside it.
struct MissingStats {
  enum class Why : std::uint8_t {
    no_scheduler_binary,  // nobody to ask
    no_scheduler,         // `reason`: why none is attached
    during_freeze,        // it stood still
    cancelled,
    scheduler_error,   // it answered `error`; `reason`: what was asked
    missing_response,  // `reason`: what was asked
    request_too_large,
    response_too_large,
  };

  Why why = Why::no_scheduler_binary;
  std::string reason{};
  std::int32_t error = 0;
  std::uint64_t bytes = 0, limit = 0;  // of what was too large

  std::string describe() const;
  bool operator==(const MissingStats&) const = default;
};

// The scheduler's own words, as JSON.
using SchedulerStats = tl::expected<std::string, MissingStats>;

// What is known of a capture beside its report.
struct CaptureFacts {
  std::optional<SchedulerStats> stats = std::nullopt;
  std::optional<std::uint64_t> elapsed_ms = std::nullopt;          // of the workload, pauses left out
  std::optional<std::uint64_t> boundary_offset_ms = std::nullopt;  // of a periodic one: where its boundary lies from the anchor on
  std::optional<std::uint16_t> step_index = std::nullopt;          // of the scenario
};

struct DrainedReport {
  std::string tag;
  SharedReport report;
  SchedulerStats stats = tl::unexpected(MissingStats{});
  std::optional<std::uint64_t> elapsed_ms;
  std::optional<std::uint64_t> boundary_offset_ms;
  std::optional<std::uint16_t> step_index;
};

struct TaggedReport {
  std::string tag;
  SharedReport report;
};

// The processes of a cgroup at an instant. Without pids it existed and was empty.
struct CgroupProcs {
  std::string tag;
  std::string cgroup;
  std::vector<std::int32_t> pids;  // of thread-group leaders

  bool operator==(const CgroupProcs&) const = default;
};

// What happened in a bridge. The violations are our own mistakes, told instead of hidden.
struct CaptureUnavailable {
  std::string tag;
  bool operator==(const CaptureUnavailable&) const = default;
};
struct Overwrite {
  std::string tag;
  std::string prior_schema;
  bool operator==(const Overwrite&) const = default;
};
struct Eviction {
  std::string evicted_tag;
  std::string new_tag;
  std::size_t cap = 0;
  bool operator==(const Eviction&) const = default;
};
struct DrainOrderingInvariantViolation {
  std::string tag;  // of a report that the order did not have
  std::string_view drain_variant;
  bool operator==(const DrainOrderingInvariantViolation&) const = default;
};
struct CapInvariantViolation {
  std::size_t reports_len = 0;
  std::size_t cap = 0;
  bool operator==(const CapInvariantViolation&) const = default;
};
struct EventLogTruncated {
  std::uint64_t dropped_count = 0;
  bool operator==(const EventLogTruncated&) const = default;
};
using BridgeEvent =
    std::variant<CaptureUnavailable, Overwrite, Eviction, DrainOrderingInvariantViolation, CapInvariantViolation, EventLogTruncated>;

// "snapshot b has replaced the single report of that tag", for logs.
std::string describe(const BridgeEvent& event);

}  // namespace floe::freeze
