// floe-guest: how a program in the guest asks floe for something. See kUsage in floe_guest.cpp.
#pragma once

namespace floe::vmm::guest {

// 0: done. 1: not, and stderr has the reason. 2: asked wrongly.
int floe_guest(int argc, char** argv);

}  // namespace floe::vmm::guest
