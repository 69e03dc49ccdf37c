#include "engine/outcome.hpp"

namespace floe::engine {

void failure_t::forget(Error* error) {
  delete error;
}

}  // namespace floe::engine
