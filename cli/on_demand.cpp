#include "cli/on_demand.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/file.hpp"
#include "cli/control.hpp"
#include "cli/json.hpp"
#include "freeze/dump/json.hpp"

namespace floe::cli {
namespace {

constexpr std::size_t kMostTag = 64;       // bytes, as from the guest
constexpr std::size_t kMostListed = 1000;  // in the manifest

std::string answer_of(const OnDemandCapture& capture) {
  if (!capture.ok) return refusal(capture.reason);
  return boost::json::serialize(
      boost::json::object{{"ok", true}, {"file", capture.file}, {"sequence", capture.sequence}, {"pause_us", capture.pause_us}});
}

}  // namespace

OnDemand::OnDemand(SnapshotSeries& series, freeze::BridgeCallbacks callbacks) : series_(series), bridge_(std::move(callbacks)) {}

engine::task<OnDemandCapture> OnDemand::capture(freeze::Cause cause, std::string tag, std::optional<PeriodicMoment> when) {
  auto made = co_await take(cause, std::move(tag), when, Keep::kAll);
  if (!made) co_return made.failure();
  count(*made);
  co_return std::move(*made);
}

engine::task<freeze::SharedReport> OnDemand::capture_for(freeze::Cause cause, std::string tag) {
  auto made = co_await take(cause, std::move(tag), std::nullopt, Keep::kPlaceholders);
  if (!made) co_return made.failure();
  count(*made);
  co_return std::move(made->report);
}

void OnDemand::count(const OnDemandCapture& made) {
  ++answered_;
  if (first_.size() == kMostListed) return;
  first_.push_back(made);
  first_.back().report.reset();
}

// The report of what could not be read is a placeholder: every section of it says why. It has the registers of the vCPUs that parked.
void OnDemand::keep(const OnDemandCapture& made, const freeze::Take& take, std::optional<std::uint16_t> step) {
  auto report = made.report;
  if (!report) {
    auto instead = freeze::dump::placeholder(made.reason);
    instead.vcpu_regs = freeze::dump::registers_at_gate(take);
    report = std::make_shared<const freeze::dump::Report>(std::move(instead));
  }
  freeze::CaptureFacts facts;
  facts.step_index = step;
  if (made.when) {
    facts.elapsed_ms = made.when->elapsed_ms;
    facts.boundary_offset_ms = made.when->boundary_offset_ms;
  }
  bridge_.store(made.tag, std::move(report), facts);
}

engine::task<OnDemandCapture> OnDemand::take(freeze::Cause cause, std::string tag, std::optional<PeriodicMoment> when, Keep which) {
  const auto step = step_;  // a later one may begin before all is done
  OnDemandCapture made;
  made.tag = std::move(tag);
  made.cause = cause;
  made.when = when;
  auto answer = co_await series_.coordinator().capture(cause);
  if (!answer) co_return answer.failure();
  made.reason = answer->reason();
  if (!answer->capture) {
    if (when) keep(made, {}, step);
    co_return std::move(made);
  }
  const freeze::Take& take = answer->capture->take;
  made.pause_us = take.meta.pause_us;
  made.degraded = answer->capture->degraded();
  std::shared_ptr<const std::string> file;
  if (made.degraded) {
    file = std::make_shared<const std::string>(freeze::dump::to_json(freeze::dump::degraded_report(*answer->capture)) + "\n");
  } else if (answer->taken()) {
    made.sequence = take.meta.sequence;
    auto rendered = co_await series_.render(answer->capture->view);
    if (rendered.is_cancelled()) co_return rendered.failure();
    if (rendered) {  // one for all whom this freeze answered; each has its file
      made.report = (*rendered)->report;
      file = {*rendered, &(*rendered)->file};
    } else {
      made.reason = "no report: " + rendered.error().message;
    }
  }
  const bool tells = answer->taken() || made.degraded || when;
  if (tells && (which == Keep::kAll || !made.report)) keep(made, take, step);
  if (!file) co_return std::move(made);
  made.file = freeze::dump::sibling_name(made.tag);
  const auto written = co_await series_.write(made.file, file);
  if (written.is_cancelled()) co_return written.failure();
  if (!written) made.reason = written.error().message;
  made.ok = made.report && written;
  co_return std::move(made);
}

engine::task<std::string> OnDemand::answer(std::string request) {
  boost::system::error_code malformed;
  const auto value = boost::json::parse(request, malformed);
  const auto* const name = !malformed && value.is_object() ? value.get_object().if_contains("snapshot") : nullptr;
  if (name == nullptr || !name->is_string()) co_return refusal("the request is not {\"snapshot\":\"NAME\"}");
  const std::string tag(name->get_string());
  if (tag.empty() || tag.size() > kMostTag) co_return refusal(fmt::format("a snapshot's name has 1 to {} bytes", kMostTag));
  auto made = co_await capture(freeze::Cause::kOperator, tag);
  if (!made) co_return refusal(made.is_error() ? made.error().message : "the run is ending");
  co_return answer_of(*made);
}

}  // namespace floe::cli
