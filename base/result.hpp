// Expected failures are values. An Error says what happened in words the operator can act on; `code` is the errno behind it,
// or 0 where there was none. Cancellation is not an error: coroutines report it as its own outcome (engine/outcome.hpp).
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace floe {

struct [[nodiscard]] Error {
  int code = 0;  // errno, or 0
  std::string message;

  Error() = default;
  explicit Error(std::string text) : message(std::move(text)) {}
  Error(int errno_value, std::string text) : code(errno_value), message(std::move(text)) {}

  // Prepends what was being done, so that a printed error reads as a short path: "context: message".
  Error within(std::string_view context) && {
    message.insert(0, ": ").insert(0, context);
    return std::move(*this);
  }
};

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string text) {
  return tl::unexpected<Error>(Error(std::move(text)));
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

// `context: strerror(errno_value)`. Call with the errno of the failing call.
tl::unexpected<Error> fail_errno(int errno_value, std::string_view context);

}  // namespace floe
