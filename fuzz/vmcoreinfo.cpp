// Pages that may hold VMCOREINFO, as text or as note.
#include <cstdlib>

#include "fuzz/pages.hpp"
#include "walkers/vmcoreinfo.hpp"

using namespace floe;
using namespace floe::walkers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Pages memory(std::span(data, size));
  const auto scan = scan_vmcoreinfo(memory);
  for (const auto& info : scan.candidates) {
    if (info.release().empty() || info.build_id().empty() || info.text().size() > VmCoreInfo::kMaxText) std::abort();
    const auto again = read_vmcoreinfo(memory, info.found_at());
    if (!again || again->text() != info.text()) std::abort();
    (void)info.page_table_root();
    (void)info.symbol("_stext");
    (void)info.number("phys_base");
    (void)info.offset("list_head.next");
    (void)info.size("page");
  }
  (void)VmCoreInfo::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
