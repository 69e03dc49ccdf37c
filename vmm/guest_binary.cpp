#include "vmm/guest_binary.hpp"

// FLOE_GUEST_INIT is the path of the built program; vmm/guest/CMakeLists.txt sets it, and has this file compiled again when the
// program changes. Both assemblers know .incbin.
asm(R"(
  .pushsection .rodata.floe_guest_init, "a", @progbits
  .balign 16
  .globl floe_guest_init_begin
  .hidden floe_guest_init_begin
floe_guest_init_begin:
  .incbin ")" FLOE_GUEST_INIT R"("
  .globl floe_guest_init_end
  .hidden floe_guest_init_end
floe_guest_init_end:
  .byte 0
  .popsection
)");

extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte floe_guest_init_begin[];
[[gnu::visibility("hidden")]] extern const std::byte floe_guest_init_end[];
}

namespace floe::vmm {

std::span<const std::byte> guest_init_binary() {
  return {floe_guest_init_begin, floe_guest_init_end};
}

}  // namespace floe::vmm
