// `floe get DUMP PATH`: one value of a failure dump.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/flags.hpp"
#include "cli/report_of.hpp"
#include "freeze/dump/path.hpp"

namespace floe::cli {
namespace {

Verdict get(std::vector<std::string> words) {
  std::string file, path;
  bool as_json = false;
  Flags flags("Prints one value of a failure dump.", "floe get");
  flags.add("DUMP", file, "the failure dump (run.failure-dump.json)").required();
  flags.add("PATH", path, "dotted: scx_sched_state.exit_kind, dsq_states.0.nr, maps.my_sched.bss.value.counter").required();
  flags.add("--json", as_json, "as it stands in the dump");
  if (const auto ended = flags.parse(std::move(words))) return *ended;
  const auto text = read_dump(file);
  if (!text) return {Exit::kUsage, text.error().message};
  const auto found = freeze::dump::find(*text, path);
  if (!found) return {Exit::kUsage, file + ": " + found.error().message};
  fmt::print("{}\n", as_json ? found->json : found->text);
  return {};
}

const bool registered = register_command({"get", "one value of a failure dump", get});

}  // namespace
}  // namespace floe::cli
