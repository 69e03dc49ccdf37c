#include "walkers/uts.hpp"

#include <fmt/format.h>

#include <algorithm>
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
    const auto offset = kernel.types().offset(path);
    if (!offset) return fail(offset.error());
    const auto size = kernel.types().size(path);
    if (!size) return fail(size.error());
    // 65 bytes in every kernel (__NEW_UTS_LEN + 1); a BTF that says otherwise is not taken at its word.
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(*size, 256));
    auto value = kernel.memory().get_string(*place + *offset, bytes);
    if (!value) return kernel.memory().unreadable(*place + *offset, bytes, path);
    *text = std::move(*value);
  }
  return result;
}

}  // namespace floe::walkers
