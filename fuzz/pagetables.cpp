// Page tables of any shape: [five levels u8][root page u8][6 addresses u64], then RAM. What the cached reads see has to be what
// the uncached walk says.
#include <array>
#include <cstdlib>

#include "fuzz/input.hpp"
#include "fuzz/pages.hpp"
#include "walkers/kernel_memory.hpp"

using namespace floe;
using namespace floe::walkers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const bool five_levels = (input.take<std::uint8_t>() & 1) != 0;
  const Gpa root(std::uint64_t{input.take<std::uint8_t>()} * kPageBytes);
  std::array<std::uint64_t, 6> addresses;
  for (auto& address : addresses) address = input.take<std::uint64_t>();

  const fuzz::Pages ram(input.rest());
  const PageTables tables(ram, root, five_levels);
  const PagedMemory memory(ram, tables);
  for (int round = 0; round < 2; ++round) {  // the second from the cache
    for (const std::uint64_t address : addresses) {
      const Kva kva(address);
      std::array<std::byte, 3 * kPageBytes / 2> out;
      const std::size_t got = memory.read(kva, out);
      const auto walked = tables.translate(kva);
      if (walked != std::nullopt && memory.translate(kva) != walked->gpa) std::abort();
      if (!walked && (got != 0 || memory.translate(kva))) std::abort();
      for (std::size_t i = 0; i < got; i += 509) {
        const auto byte = tables.translate(kva + i);
        std::byte expected;
        if (!byte || ram.read(byte->gpa, std::span(&expected, 1)) != 1 || expected != out[i]) std::abort();
      }
      if (tables.explain(kva).empty()) std::abort();
      (void)memory.load<std::uint64_t>(kva, "a value");
      (void)memory.get_string(kva, 64);
    }
  }
  return 0;
}
