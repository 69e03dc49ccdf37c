// The scenario reader over any text: a sound scenario, or an error that names a line and a column of the file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "freeze/scenario/run.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floe::freeze::scenario;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto scenario = parse_scenario(text, "f");
  if (scenario) {
    for (const Step& step : scenario->steps) {
      const auto* op = std::get_if<KernelOp>(&step.action);
      if (describe(step.action).empty() || step.deadline.count() <= 0 || (op != nullptr && !floe::vmm::wire::encode(op->request))) {
        std::fprintf(stderr, "scenario: a step that cannot be carried out\n");
        std::abort();
      }
    }
    return 0;
  }
  unsigned line = 0, column = 0;
  if (std::sscanf(scenario.error().message.c_str(), "f:%u:%u: ", &line, &column) != 2 || line == 0 || column == 0) {
    std::fprintf(stderr, "scenario: an error without its place: %s\n", scenario.error().message.c_str());
    std::abort();
  }
  return 0;
}
