// Where is the kernel? VMCOREINFO is the note a Linux kernel writes for crash tools at boot: plain text with its release, its
// KASLR offsets, the root of its page tables and the addresses of its symbol tables. It is the one thing in guest RAM that can
// be found knowing nothing else, so reading a kernel starts with it.
//
// The kernel keeps two copies, each at the start of a page (kernel/vmcore_info.c, crash_core.c before 6.8): the bare text
// (`vmcoreinfo_data`) and the same text inside an ELF note (`vmcoreinfo_note`). Only starts of pages are looked at, and only
// pages that Memory calls populated. RAM that survived a reboot can hold the text of an earlier kernel as well, so the scan
// returns every candidate and leaves the choice to whoever can test one (kernel.hpp).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/memory.hpp"

namespace floe::walkers {

// The link address of the kernel image on x86-64 (__START_KERNEL_map): `phys = va - kKernelMap + phys_base`.
inline constexpr std::uint64_t kKernelMap = 0xffffffff80000000;

class VmCoreInfo {
 public:
  // Parses the text of one note. Errors: a required field is missing or malformed (named in the message). Text behind the
  // first NUL or after kMaxText bytes is not looked at. `found_at` is kept for messages.
  static constexpr std::size_t kMaxText = 2 * kPageBytes;
  static constexpr std::size_t kMaxFields = 512;  // 7.2 writes 150; lines behind that many are not looked at
  static Result<VmCoreInfo> parse(std::string_view text, Gpa found_at = {});

  const std::string& release() const { return release_; }         // OSRELEASE, as uname -r
  const std::string& build_id() const { return build_id_; }       // BUILD-ID in hex
  std::uint64_t kernel_offset() const { return kernel_offset_; }  // KERNELOFFSET: how far KASLR moved the image, virtual
  std::int64_t phys_base() const { return phys_base_; }           // NUMBER(phys_base): may be negative
  bool five_levels() const { return five_levels_; }               // NUMBER(pgtable_l5_enabled)

  // Where the root of the kernel's page tables (init_top_pgt) is, by the image formula, which needs no page tables.
  Gpa page_table_root() const { return image_gpa(root_); }
  Gpa image_gpa(Kva image_address) const { return Gpa(image_address.value - kKernelMap + static_cast<std::uint64_t>(phys_base_)); }

  std::optional<Kva> symbol(std::string_view name) const;             // SYMBOL(name)=hex
  std::optional<std::int64_t> number(std::string_view name) const;    // NUMBER(name)=decimal, or hex after 0x
  std::optional<std::uint64_t> offset(std::string_view name) const;   // OFFSET(struct.member)=decimal, in bytes
  std::optional<std::uint64_t> size(std::string_view name) const;     // SIZE(type)=decimal, in bytes
  std::optional<std::string_view> field(std::string_view key) const;  // any line by its whole key; valid as long as *this

  const std::string& text() const { return text_; }
  Gpa found_at() const { return found_at_; }  // page it was found in; 0 for parsed text

 private:
  std::string text_;
  std::map<std::string, std::string, std::less<>> fields_;
  std::string release_;
  std::string build_id_;
  std::uint64_t kernel_offset_ = 0;
  std::int64_t phys_base_ = 0;
  bool five_levels_ = false;
  Kva root_;
  Gpa found_at_;
};

struct VmCoreInfoScan {
  std::vector<VmCoreInfo> candidates;  // in address order; a second copy of the same text is left out
  std::vector<std::string> rejected;   // pages that began like one, each with its reason
  std::uint64_t pages = 0;             // looked at
  bool truncated = false;              // more look-alikes than kMaxTexts: the rest of RAM was not looked at
};

// A guest's own processes can fill pages with look-alikes; the real one is lost only behind more than this many of them.
inline constexpr std::size_t kMaxTexts = 256;

VmCoreInfoScan scan_vmcoreinfo(const Memory& memory);

// The text or note that starts at this page; for whoever found it there before. Error: there is none, or it is malformed.
Result<VmCoreInfo> read_vmcoreinfo(const Memory& memory, Gpa page);

}  // namespace floe::walkers
