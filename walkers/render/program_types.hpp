// The BTF of the guest's BPF programs and maps (struct btf { data, data_size, base_btf }), read out of guest memory once for each.
//
// One object for one instant of the guest: structs btf come and go, and addresses are used again. It may be asked from several threads;
// each passes the KernelMemory it reads through.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/field.hpp"
#include "walkers/kernel.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::render {

class ProgramTypes {
 public:
  // Takes the kernel's types along, for split BTF continues those of the guest's own kernel, whatever the host runs.
  explicit ProgramTypes(const Kernel& kernel);

  // The table of the struct btf at an address. A failure is remembered too. Errors say what is wrong with the BTF, and that the cache is
  // full: it holds 512 tables made of at most 128 MiB.
  Result<std::shared_ptr<const TypeTable>> at(const KernelMemory& memory, Kva btf);

  // The types of maps that name none.
  std::shared_ptr<const TypeTable> kernel() const { return kernel_; }

 private:
  // struct btf
  struct Layout {
    Field data, data_size;
    std::optional<Field> base_btf;  // since 5.11 (951bb64621b8)
    std::optional<Field> name;      // the same
  };
  Result<std::shared_ptr<const TypeTable>> read(const KernelMemory& memory, Kva btf);

  std::shared_ptr<const Types> types_;
  std::shared_ptr<const TypeTable> kernel_;
  Result<Layout> layout_;
  std::mutex mutex_;
  std::map<std::uint64_t, Result<std::shared_ptr<const TypeTable>>> tables_;
  std::size_t bytes_ = 0;  // of blobs
};

}  // namespace floe::walkers::render
