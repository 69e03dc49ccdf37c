#include "walkers/symbols.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/memory.hpp"
#include "tests/walkers/synthetic/symbols.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::bytes_of;
using synthetic::Symbol;

namespace {

// Kernel memory without page tables: virtual is physical.
class FlatMemory : public KernelMemory {
 public:
  std::size_t read(Kva kva, std::span<std::byte> out) const override { return bytes.read(Gpa(kva.value), out); }
  std::string explain(Kva kva) const override { return fmt::format("{:#x}: not mapped", kva.value); }
  synthetic::SparseMemory bytes;
};

constexpr std::uint64_t kText = 0xffffffff81000000;
constexpr std::uint64_t kOffsets = 0xffffffff82800000;
const SymbolTables kTables = {
    Kva(0xffffffff82000000), Kva(0xffffffff82100000), Kva(0xffffffff82600000), Kva(0xffffffff82700000), {}, {}, {}};
const std::vector<KnownSymbol> kKnown = {{"_stext", Kva(kText)}, {"init_uts_ns", Kva(kText + 0x2000)}};

std::vector<Symbol> some_symbols() {
  return {{'T', "_stext", kText},
          {'T', "schedule", kText + 0x100},
          {'t', "dup", kText + 0x200},
          {'t', "alias_a", kText + 0x300},
          {'t', "alias_b", kText + 0x300},
          {'t', "dup", kText + 0x400},
          {'T', "a_token_longer_than_a_word_twice_a_token_longer_than_a_word", kText + 0x500},
          {'T', std::string(400, 'x'), kText + 0x600},
          {'D', "init_uts_ns", kText + 0x2000},
          {'B', "_end", kText + 0x3000}};
}

// The tables of these symbols in memory, and where they are.
SymbolTables place(FlatMemory& memory, const synthetic::EncodedSymbols& encoded, SymbolLayout layout) {
  SymbolTables tables = kTables;
  memory.bytes.put(Gpa(tables.num_syms.value), encoded.count);
  const auto put = [&](Kva at, const auto& table) { memory.bytes.write(Gpa(at.value), std::as_bytes(std::span(table))); };
  put(tables.names, encoded.names);
  put(tables.token_table, encoded.token_table);
  put(tables.token_index, encoded.token_index);
  put(Kva(kOffsets), encoded.offsets);
  if (layout == SymbolLayout::absolute)
    tables.addresses = Kva(kOffsets);
  else
    tables.offsets = Kva(kOffsets);
  if (layout == SymbolLayout::base_or_percpu || layout == SymbolLayout::base_relative) {
    tables.relative_base = Kva(0xffffffff82000100);
    memory.bytes.put(Gpa(tables.relative_base->value), encoded.relative_base);
  }
  return tables;
}

SymbolTables place(FlatMemory& memory, const std::vector<Symbol>& symbols, SymbolLayout layout) {
  return place(memory, synthetic::encode(symbols, layout, kOffsets), layout);
}

std::string refusal(const FlatMemory& memory, const SymbolTables& tables, std::span<const KnownSymbol> known = kKnown) {
  const auto symbols = Symbols::decode(memory, tables, known);
  BOOST_REQUIRE(!symbols);
  return symbols.error().message;
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

constexpr auto kLayouts = {SymbolLayout::absolute, SymbolLayout::base_or_percpu, SymbolLayout::base_relative, SymbolLayout::place_relative};

}  // namespace

BOOST_AUTO_TEST_SUITE(symbols)

BOOST_AUTO_TEST_CASE(decodes_every_layout) {
  for (const auto layout : kLayouts) {
    BOOST_TEST_CONTEXT(to_string(layout)) {
      auto list = some_symbols();
      if (layout == SymbolLayout::base_or_percpu) list.insert(list.begin(), {'D', "runqueues", 0x35e80});
      FlatMemory memory;
      const auto tables = place(memory, list, layout);
      const auto symbols = Symbols::decode(memory, tables, kKnown);
      BOOST_REQUIRE_MESSAGE(symbols, symbols.error().message);
      BOOST_TEST((symbols->layout() == layout));
      BOOST_REQUIRE(symbols->size() == list.size());
      for (std::size_t i = 0; i < list.size(); ++i) {
        BOOST_TEST(symbols->name(i) == list[i].name);
        BOOST_TEST(symbols->type(i) == list[i].type);
        BOOST_TEST(symbols->address(i).value == list[i].address);
      }
      if (layout == SymbolLayout::base_or_percpu) BOOST_TEST(symbols->find("runqueues")->value == 0x35e80u);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_first_of_a_name_wins_and_all_can_be_had) {
  FlatMemory memory;
  const auto symbols = Symbols::decode(memory, place(memory, some_symbols(), SymbolLayout::place_relative), kKnown).value();
  BOOST_TEST(symbols.find("dup")->value == kText + 0x200);
  BOOST_TEST(symbols.find_all("dup").size() == 2u);
  BOOST_TEST(!symbols.find("du"));
  BOOST_TEST(!symbols.find("dupp"));
  BOOST_TEST(!symbols.find(""));
  BOOST_TEST(symbols.find_all("nothing").empty());
}

BOOST_AUTO_TEST_CASE(an_address_gives_the_symbol_it_lies_in) {
  FlatMemory memory;
  const auto symbols = Symbols::decode(memory, place(memory, some_symbols(), SymbolLayout::base_relative), kKnown).value();
  const auto at = [&](std::uint64_t address) { return symbols.at(Kva(address)); };
  BOOST_TEST(at(kText + 0x1ff)->name == "schedule");
  BOOST_TEST(at(kText + 0x1ff)->offset == 0xffu);
  BOOST_TEST(at(kText)->type == 'T');
  BOOST_TEST(at(kText + 0x310)->name == "alias_a");  // the first of two at one address
  BOOST_TEST(at(kText + 0x3000)->name == "_end");
  BOOST_TEST(!at(kText - 1));
  BOOST_TEST(!at(kText + 0x3001));
  BOOST_TEST(!at(0));
  BOOST_TEST(!at(~0ull));
}

BOOST_AUTO_TEST_CASE(the_gap_behind_the_per_cpu_symbols_belongs_to_none_of_them) {
  auto list = some_symbols();
  list.insert(list.begin(), {'D', "last_per_cpu", 0x40000});
  FlatMemory memory;
  const auto symbols = Symbols::decode(memory, place(memory, list, SymbolLayout::base_or_percpu), kKnown).value();
  BOOST_TEST(symbols.at(Kva(0x40010))->name == "last_per_cpu");
  BOOST_TEST(!symbols.at(Kva(0xffff888000000000)));
}

BOOST_AUTO_TEST_CASE(tables_out_of_address_order_are_searched_all_the_same) {
  auto list = some_symbols();
  std::swap(list[1], list[6]);
  FlatMemory memory;
  const auto symbols = Symbols::decode(memory, place(memory, list, SymbolLayout::place_relative), kKnown).value();
  BOOST_TEST(symbols.at(Kva(kText + 0x1ff))->name == "schedule");
  BOOST_TEST(symbols.at(Kva(kText + 0x310))->name == "alias_a");
}

BOOST_AUTO_TEST_CASE(a_layout_that_contradicts_vmcoreinfo_is_refused) {
  FlatMemory memory;
  const auto tables = place(memory, some_symbols(), SymbolLayout::place_relative);
  const std::vector<KnownSymbol> moved = {{"_stext", Kva(kText + 0x200000)}};
  BOOST_TEST(mentions(refusal(memory, tables, moved), "_stext comes out at 0xffffffff81000000 (place-relative), VMCOREINFO has it at"));
  BOOST_TEST(mentions(refusal(memory, tables, {}), "none of the symbols VMCOREINFO names"));
  // One that fits does not outvote one that does not.
  const std::vector<KnownSymbol> half = {{"_stext", Kva(kText)}, {"init_uts_ns", Kva(kText)}};
  BOOST_TEST(mentions(refusal(memory, tables, half), "init_uts_ns comes out"));
  // A kernel without data symbols still has its text.
  auto text_only = some_symbols();
  text_only.erase(text_only.begin() + 8);
  BOOST_TEST(Symbols::decode(memory, place(memory, text_only, SymbolLayout::place_relative), kKnown).has_value());
}

BOOST_AUTO_TEST_CASE(counts_no_kernel_has_are_refused_before_anything_is_allocated) {
  FlatMemory memory;
  const auto tables = place(memory, some_symbols(), SymbolLayout::place_relative);
  for (const std::uint32_t count : {0u, Symbols::kMaxSymbols + 1, 0xffffffffu}) {
    memory.bytes.put(Gpa(tables.num_syms.value), count);
    BOOST_TEST(mentions(refusal(memory, tables), fmt::format("kallsyms_num_syms is {}", count)));
  }
  memory.bytes.put(Gpa(tables.num_syms.value), std::uint32_t{1'000'000});
  BOOST_TEST(mentions(refusal(memory, tables), "cannot read kallsyms_offsets"));
  SymbolTables neither = tables;
  neither.offsets.reset();
  memory.bytes.put(Gpa(tables.num_syms.value), std::uint32_t{10});
  BOOST_TEST(mentions(refusal(memory, neither), "neither kallsyms_offsets nor kallsyms_addresses"));
}

BOOST_AUTO_TEST_CASE(names_of_0xff_and_of_nothing_are_refused) {
  FlatMemory memory;
  const auto tables = place(memory, some_symbols(), SymbolLayout::place_relative);
  memory.bytes.write(Gpa(tables.names.value), bytes_of(std::string(8192, '\xff')));
  BOOST_TEST(mentions(refusal(memory, tables), "kallsyms name 0 of 10: claims 32767 bytes"));
  memory.bytes.write(Gpa(tables.names.value), bytes_of(std::string(8192, '\0')));
  BOOST_TEST(mentions(refusal(memory, tables), "claims 0 bytes"));
  // A name of nothing but empty tokens.
  memory.bytes.write(Gpa(tables.names.value), bytes_of(std::string_view("\x02\0\0", 3)));
  BOOST_TEST(mentions(refusal(memory, tables), "is empty"));
}

BOOST_AUTO_TEST_CASE(names_that_run_out_of_memory_or_length_are_refused) {
  auto encoded = synthetic::encode(some_symbols(), SymbolLayout::place_relative, kOffsets);
  {
    FlatMemory memory;
    encoded.count = 12;
    encoded.offsets.resize(48);
    encoded.names.insert(encoded.names.end(), {0x40, 'T'});
    const auto tables = place(memory, encoded, SymbolLayout::place_relative);
    BOOST_TEST(mentions(refusal(memory, tables), "kallsyms name 11 of 12"));
  }
  {
    FlatMemory memory;
    encoded.names.assign({0x20});  // 32 times 26 characters
    encoded.names.insert(encoded.names.end(), 32, 0x80);
    const auto tables = place(memory, encoded, SymbolLayout::place_relative);
    BOOST_TEST(mentions(refusal(memory, tables), "longer than 512 characters"));
  }
}

BOOST_AUTO_TEST_CASE(tokens_outside_of_memory_or_without_end_are_refused) {
  {
    FlatMemory memory;
    const auto tables = place(memory, some_symbols(), SymbolLayout::place_relative);
    memory.bytes.write(Gpa(tables.token_index.value), bytes_of(std::string(512, '\xff')));
    BOOST_TEST(mentions(refusal(memory, tables), "cannot read kallsyms_token_table"));
    memory.bytes.erase_page(Gpa(tables.token_index.value));
    BOOST_TEST(mentions(refusal(memory, tables), "cannot read kallsyms_token_index"));
  }
  {
    FlatMemory memory;
    const auto tables = place(memory, some_symbols(), SymbolLayout::place_relative);
    memory.bytes.write(Gpa(tables.token_table.value), bytes_of(std::string(70'000, 'x')));
    BOOST_TEST(mentions(refusal(memory, tables), "kallsyms token 0 does not end"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
