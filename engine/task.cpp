#include "engine/task.hpp"

#include <exception>

namespace floe::engine::detail {

Error error_from_current_exception() {
  try {
    throw;
  } catch (const std::exception& caught) {
    return Error(std::string("an exception left a task: ") + caught.what());
  } catch (...) {
    return Error("an exception of unknown type left a task");
  }
}

}  // namespace floe::engine::detail
