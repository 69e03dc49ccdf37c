#include "walkers/render/program_types.hpp"

#include <fmt/format.h>

#include <vector>

namespace floe::walkers::render {
namespace {

constexpr std::size_t kMaxTables = 512;
constexpr std::size_t kMaxTotalBytes = std::size_t{128} << 20;

}  // namespace

ProgramTypes::ProgramTypes(const Kernel& kernel)
    : types_(kernel.shared_types()), kernel_(TypeTable::of_kernel(types_)), layout_([this]() -> Result<Layout> {
        Layout layout;
        const auto filled = types_->fill({{"btf.data", &layout.data}, {"btf.data_size", &layout.data_size}});
        if (!filled) return fail(filled.error());
        layout.base_btf = types_->maybe_field("btf.base_btf");
        layout.name = types_->maybe_field("btf.name");
        return layout;
      }()) {}

Result<std::shared_ptr<const TypeTable>> ProgramTypes::at(const KernelMemory& memory, Kva btf) {
  const std::lock_guard lock(mutex_);
  if (const auto known = tables_.find(btf.value); known != tables_.end()) return known->second;
  if (tables_.size() == kMaxTables) return fail(fmt::format("more than {} BTF objects", kMaxTables));
  return tables_.emplace(btf.value, read(memory, btf)).first->second;
}

Result<std::shared_ptr<const TypeTable>> ProgramTypes::read(const KernelMemory& memory, Kva btf) {
  if (!layout_) return fail(layout_.error());
  const auto within = [btf](const Error& error) { return fail(Error(error).within(fmt::format("struct btf at {:#x}", btf.value))); };

  const auto data = memory.get_pointer(btf, layout_->data);
  const auto size = memory.get_number(btf, layout_->data_size);
  if (!data || !size) return within(Error("data or data_size cannot be read"));
  if (*size == 0 || *size > TypeTable::kMaxBytes) return within(Error(fmt::format("data_size is {}", *size)));
  if (bytes_ + *size > kMaxTotalBytes) return within(Error(fmt::format("all BTF together exceeds {} MiB", kMaxTotalBytes >> 20)));

  std::shared_ptr<const Types> base;
  if (layout_->base_btf) {
    const auto base_btf = memory.get_number(btf, *layout_->base_btf);
    if (!base_btf) return within(Error("base_btf cannot be read"));
    if (*base_btf != 0) {
      // Only vmlinux serves as a base; the split BTF of a module would continue something else.
      const auto name = layout_->name ? memory.get_string(Kva{*base_btf}, *layout_->name) : std::nullopt;
      if (layout_->name && name != "vmlinux") return within(Error("its base is not the kernel's BTF"));
      base = types_;
    }
  }

  std::vector<std::byte> blob(*size);
  if (!memory.read_all(*data, blob)) return within(memory.unreadable(*data, blob.size(), "its data").value());
  bytes_ += blob.size();
  auto table = TypeTable::parse(blob, std::move(base));
  if (!table) return within(table.error());
  return table;
}

}  // namespace floe::walkers::render
