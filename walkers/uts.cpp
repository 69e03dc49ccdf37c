#include "walkers/uts.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace floe::walkers {

Result<Uts> uts(const Kernel& kernel) {
  const auto place = kernel.symbol("init_uts_ns");
  if (!place) return fail(place.error());
  Uts result;
  const std::array<std::pair<const char*, std::string*>, 5> fields = {{{"sysname", &result.sysname},
                                                                       {"nodename", &result.nodename},
                                                                       {"release", &result.release},
                                                                       {"version", &result.version},
                                                                       {"machine", &result.machine}}};
  for (const auto& [name, text] : fields) {
    const auto path = fmt::format("uts_namespace.name.{}", name);
    const auto field = kernel.types().field(path);
    if (!field) return fail(field.error());
    auto value = kernel.memory().get_string(*place, *field);
    if (!value) return kernel.memory().unreadable(*place + field->offset, 1, path);
    *text = std::move(*value);
  }
  return result;
}

}  // namespace floe::walkers
