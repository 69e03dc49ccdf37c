// One program in two roles: /init of the guest, and floe-guest for everybody in it, so that the guest's memory holds one of them.
#include <unistd.h>

#include <string_view>

#include "vmm/guest/floe_guest.hpp"
#include "vmm/guest/init.hpp"

int main(int argc, char** argv) {
  if (::getpid() == 1) floe::vmm::guest::run_init();
  const std::string_view name = argc > 0 ? argv[0] : "";
  if (name.substr(name.rfind('/') + 1) == "floe-guest") return floe::vmm::guest::floe_guest(argc, argv);
  static constexpr char kText[] =
      "floe-guest-init is the first program of a floe guest; elsewhere it answers to the name floe-guest alone\n";
  [[maybe_unused]] const auto written = ::write(2, kText, sizeof kText - 1);
  return 2;
}
