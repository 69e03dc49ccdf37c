// Which pages of a guest's RAM were written: what makes a snapshot cost what changed, not what exists.
//
// Three sources answer, behind one interface, and choose_dirty_source() takes the first that works here and proves it:
//   "kvm-dirty-log"  KVM's bitmap of pages that vCPUs wrote, plus GuestRam's bitmap of those that floe wrote (KVM does not see them);
//   "pagemap-scan"   asynchronous write protection of floe's own mapping (Linux 6.7): sees vCPU and VMM writes alike, at about twice the
//   cost of a
//                    guest's first write to a page;
//   "compare"        hashes of every populated page, 16-36 ms per 256 MiB inside the pause: the last resort, and exact only while the guest
//   stands still.
//
// The order that makes a copy right: collect() reports a page AND arms it again before the caller copies it. A write during the copy is
// then reported by the next collect(), so that a torn copy never stays the last word.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/ram.hpp"

namespace floe::freeze {

class DirtySource {
 public:
  virtual ~DirtySource() = default;

  // As it stands in the manifest (dirty_source).
  virtual const char* name() const = 0;

  // False: collect() may only be called while nobody writes to the RAM. A page that changes during collect() and changes back
  // afterwards would be missed, so there is no pre-copy with such a source.
  virtual bool live() const { return true; }

  // Starts tracking, or starts again: writes after arm() returned are reported, writes before it are not (or rarely).
  virtual Result<> arm() = 0;

  // ORs the pages written since they were last armed into `into` (one bit a page, by page index; at least (pages + 63) / 64 words) and arms
  // them again. May report a page that did not change; never one that has no memory behind it. Allocates nothing. After an error the source
  // is unusable, and whoever needs a whole image copies everything.
  virtual Result<> collect(std::span<std::uint64_t> into) = 0;
};

// Each create() says why it cannot work here. `ram` outlives the source; so does the VM.
//
// Needs memslot n == region n. The log stays switched on until the VM ends.
Result<std::unique_ptr<DirtySource>> create_kvm_dirty_log(vmm::GuestRam& ram, int kvm_fd, int vm_fd);
// Registers the RAM's mapping with a userfaultfd of its own; nobody else may have.
Result<std::unique_ptr<DirtySource>> create_pagemap_scan(vmm::GuestRam& ram);
std::unique_ptr<DirtySource> create_compare(vmm::GuestRam& ram);

struct DirtySourceOptions {
  int kvm_fd = -1;   // /dev/kvm, and
  int vm_fd = -1;    // the VM whose memory `ram` is: without them there is no dirty log
  std::string only = {};  // a name: that source or an error; empty: the first that works
};

struct ChosenDirtySource {
  std::unique_ptr<DirtySource> source;
  std::vector<std::string> refused;  // "name: reason" of those tried before
};

// Tries the sources in the order above. Each must first pass a test on memory of its own: a page that is written is reported, once, and
// reported again when written again. The source is not armed yet. Error: `only` names none, or one that does not work.
Result<ChosenDirtySource> choose_dirty_source(vmm::GuestRam& ram, const DirtySourceOptions& options);

}  // namespace floe::freeze
