#include "base/result.hpp"

#include <system_error>

namespace floe {

tl::unexpected<Error> fail_errno(int errno_value, std::string_view context) {
  return fail(Error(errno_value, std::string(context) + ": " + std::generic_category().message(errno_value)));
}

}  // namespace floe
