// `floe ctl`: ask a run that is under way.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/command.hpp"
#include "cli/control.hpp"
#include "cli/flags.hpp"
#include "cli/json.hpp"

namespace floe::cli {
namespace {

constexpr auto kAnswerLimit = std::chrono::seconds(60);

std::string text_of(const boost::json::object& object, const char* key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return "";
  return value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
}

Verdict ctl(std::vector<std::string> words) {
  std::string folder, verb, name;
  bool as_json = false;
  Flags flags("Asks a run that is under way. Its guest stands still for well under a millisecond; the report is written beside the others.",
              "floe ctl");
  flags.add("RUNDIR", folder, "the run's folder").required();
  flags.add("VERB", verb, "snapshot: take one now, and write its failure dump").required().one_of({"snapshot"});
  flags.add("NAME", name, "of the snapshot; the dump is RUNDIR/run.snapshot.NAME.json").required();
  flags.add("--json", as_json, "the answer as it comes");
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  const auto answer = ask_run(folder, request_for_snapshot(name), kAnswerLimit);
  if (!answer) return {Exit::kUsage, answer.error().message};
  boost::system::error_code malformed;
  const auto value = boost::json::parse(*answer, malformed);
  if (malformed || !value.is_object()) return {Exit::kBug, fmt::format("{}: not an answer: {}", folder, printable(*answer))};
  const auto& object = value.get_object();
  if (as_json) fmt::print("{}\n", *answer);
  const auto* const ok = object.if_contains("ok");
  if (ok == nullptr || !ok->is_bool() || !ok->get_bool())
    return {Exit::kCheckFailed, "no snapshot: " + printable(text_of(object, "error"))};
  if (!as_json)
    fmt::print("{}/{}: snapshot {}, the guest stood still for {} us\n", folder, printable(text_of(object, "file")),
               text_of(object, "sequence"), text_of(object, "pause_us"));
  return {};
}

const bool registered = register_command({"ctl", "ask a run that is under way for a snapshot", ctl});

}  // namespace
}  // namespace floe::cli
