#include "freeze/bridge/records.hpp"

#include <fmt/format.h>

#include <system_error>

namespace floe::freeze {
namespace {

struct Describe {
  std::string operator()(const CaptureUnavailable& event) const { return fmt::format("snapshot {} could not be captured", event.tag); }
  std::string operator()(const Overwrite& event) const {
    return fmt::format("snapshot {} replaces a {} report of that tag", event.tag, event.prior_schema);
  }
  std::string operator()(const Eviction& event) const {
    return fmt::format("snapshot {} was dropped for {}: at most {} are kept", event.evicted_tag, event.new_tag, event.cap);
  }
  std::string operator()(const DrainOrderingInvariantViolation& event) const {
    return fmt::format("snapshot {} was in no order, found by {}", event.tag, event.drain_variant);
  }
  std::string operator()(const CapInvariantViolation& event) const {
    return fmt::format("{} snapshots of at most {} were in no order and are dropped", event.reports_len, event.cap);
  }
  std::string operator()(const EventLogTruncated& event) const {
    return fmt::format("{} events before these were dropped", event.dropped_count);
  }
};

}  // namespace

std::string MissingStats::describe() const {
  switch (why) {
    case Why::no_scheduler_binary:
      return "no scheduler was started that could be asked";
    case Why::no_scheduler:
      return fmt::format("no scheduler: {}", reason);
    case Why::during_freeze:
      return "the guest stood still";
    case Why::cancelled:
      return "the request was cancelled";
    case Why::scheduler_error:
      return fmt::format("the scheduler answered {} with {}", reason, std::generic_category().message(error));
    case Why::missing_response:
      return fmt::format("the scheduler's answer to {} has nothing in it", reason);
    case Why::request_too_large:
      return fmt::format("the request has {} bytes, at most {} are sent", bytes, limit);
    case Why::response_too_large:
      return fmt::format("the answer has {} bytes, at most {} are read", bytes, limit);
  }
  return {};
}

std::string describe(const BridgeEvent& event) {
  return std::visit(Describe{}, event);
}

}  // namespace floe::freeze
