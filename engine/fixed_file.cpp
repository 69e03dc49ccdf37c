#include "engine/fixed_file.hpp"

#include "engine/loop.hpp"
#include "engine/ring.hpp"

namespace floe::engine {

Result<fixed_file> fixed_file::add(int fd) {
  loop& owner = loop::current();
  const Result<unsigned> place = owner.ring().add_file(fd);
  if (!place) return fail(place.error());
  return fixed_file(owner, *place);
}

fixed_file::~fixed_file() {
  if (owner_ != nullptr) owner_->ring().remove_file(place_);
}

}  // namespace floe::engine
