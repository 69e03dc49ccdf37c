// kallsyms tables of any shape: [layout u8][count u32][_stext u64][base u64][names bytes u16][token text bytes u16], then the
// names, the token text, 512 bytes of token index and the offsets.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "fuzz/input.hpp"
#include "walkers/symbols.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

class Tables : public KernelMemory {
 public:
  static constexpr std::uint64_t kStride = 0x10000000;

  Kva add(std::span<const std::uint8_t> bytes) {
    regions_[count_] = bytes;
    return Kva(kKernelStart + kStride * count_++);
  }
  std::size_t read(Kva kva, std::span<std::byte> out) const override {
    const std::uint64_t at = kva.value - kKernelStart;
    if (at / kStride >= count_) return 0;
    const auto region = regions_[at / kStride];
    if (at % kStride >= region.size()) return 0;
    const auto piece = region.subspan(at % kStride).first(std::min(out.size(), region.size() - at % kStride));
    std::memcpy(out.data(), piece.data(), piece.size());
    return piece.size();
  }
  std::string explain(Kva kva) const override { return fmt::format("{:#x}: not mapped", kva.value); }

 private:
  static constexpr std::uint64_t kKernelStart = 0xffffffff80000000;
  std::array<std::span<const std::uint8_t>, 8> regions_;
  std::size_t count_ = 0;
};

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto layout = input.take<std::uint8_t>() % 3;
  const auto count = input.take_bytes(4);
  const Kva stext(input.take<std::uint64_t>());
  const auto base = input.take_bytes(8);
  const auto names_bytes = input.take<std::uint16_t>();
  const auto token_bytes = input.take<std::uint16_t>();

  Tables memory;
  SymbolTables tables;
  tables.num_syms = memory.add(count);
  const Kva relative_base = memory.add(base);
  tables.names = memory.add(input.take_bytes(names_bytes));
  tables.token_table = memory.add(input.take_bytes(token_bytes));
  tables.token_index = memory.add(input.take_bytes(512));
  const Kva offsets = memory.add(input.rest());
  if (layout == 0) tables.addresses = offsets;
  if (layout != 0) tables.offsets = offsets;
  if (layout == 1) tables.relative_base = relative_base;

  const std::array<KnownSymbol, 1> known = {{{"_stext", stext}}};
  const auto symbols = Symbols::decode(memory, tables, known);
  if (!symbols) {
    require(!symbols.error().message.empty());
    return 0;
  }
  require(symbols->find("_stext") == stext);
  for (std::size_t i = 0; i < symbols->size(); ++i) {
    const auto name = symbols->name(i);
    require(name.size() < Symbols::kMaxName);
    require(symbols->find(name).has_value());
    if (const auto at = symbols->at(symbols->address(i))) require(at->offset == 0);
    (void)symbols->at(symbols->address(i) + 1);
    (void)symbols->type(i);
  }
  require(!symbols->find_all("_stext").empty());
  return 0;
}
