#include "engine/stop.hpp"

#include "engine/loop.hpp"
#include "engine/scope.hpp"

namespace floe::engine {

detail::stop_state::stop_state(loop& loop_of) : note(&stop_state::deliver), bell(loop_of.doorbell()), owner(&loop_of) {
  links.close();
}

void detail::stop_state::fire_all() {
  for (link* at = links.after; at != &links; at = at->after) static_cast<token_link*>(at)->target->request_stop();
}

void detail::stop_state::deliver(note& what) {
  auto& self = static_cast<stop_state&>(what);
  const auto alive = std::move(self.in_flight);
  self.fire_all();
}

stop_source::stop_source() : stop_source(loop::current()) {}
stop_source::stop_source(loop& owner) : state_(std::make_shared<detail::stop_state>(owner)) {}

void stop_source::request_stop() {
  if (state_->requested.exchange(true, std::memory_order_acq_rel)) return;
  if (loop::running_here() == state_->owner) return state_->fire_all();
  if (state_->bell->closed()) return;  // the loop is gone, and its tasks with it
  state_->in_flight = state_;
  state_->bell->post(*state_);
}

}  // namespace floe::engine
