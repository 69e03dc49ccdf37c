#include "walkers/tick_rate.hpp"

namespace floe::walkers {

std::optional<std::uint32_t> tick_rate(const Kernel& kernel) {
  const auto clock = kernel.symbols().find("clocksource_jiffies");
  const auto mult_at = kernel.types().field("clocksource.mult");
  const auto shift_at = kernel.types().field("clocksource.shift");
  if (!clock || !mult_at || !shift_at) return std::nullopt;
  const auto mult = kernel.memory().get_number(*clock, *mult_at);
  const auto shift = kernel.memory().get_number(*clock, *shift_at);
  if (!mult || !shift || *shift > 31) return std::nullopt;
  const std::uint64_t nanoseconds = *mult >> *shift;
  if (nanoseconds < 100'000 || nanoseconds > 100'000'000) return std::nullopt;  // HZ is 24 to 1200 on every architecture
  return static_cast<std::uint32_t>((1'000'000'000 + nanoseconds / 2) / nanoseconds);
}

}  // namespace floe::walkers
