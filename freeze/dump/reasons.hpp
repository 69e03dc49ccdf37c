// The words in which a dump says that something is missing. Readers search for them: they never change.
#pragma once

namespace floe::freeze::dump::reason {

inline constexpr const char* kRendezvousTimeout = "vCPU rendezvous timed out before parked acknowledgement";
inline constexpr const char* kKillDuringRendezvous = "vCPU rendezvous aborted by external kill before parked acknowledgement";

inline constexpr const char* kNoStructOps = "no struct_ops programs loaded";
inline constexpr const char* kNoProgAccessor = "prog accessor unavailable";
inline constexpr const char* kZeroTasks = "task walker yielded zero tasks";
inline constexpr const char* kNoTaskWalker = "no task walker available";
inline constexpr const char* kNoNuma = "no NUMA walker (host-side walker pending)";  // the kernel has no such counters

inline constexpr const char* kScxPartial = "scx walker partial: missing offset groups [";  // "a, b]"
inline constexpr const char* kScxRootNull = "scx_root is NULL (no scheduler attached)";
inline constexpr const char* kScxNoState = "scx walker reached no state";
inline constexpr const char* kNoScxWalker = "no scx walker capture";

inline constexpr const char* kSdtDeadline = "dump deadline exceeded before sdt_alloc pre-pass could run";
inline constexpr const char* kSdtUnaligned = "user_vm_start is not 4 GiB-aligned; low-32 keying disabled";
inline constexpr const char* kSdtNoBss = "no scheduler .bss map (or .bss has no program BTF)";
inline constexpr const char* kSdtNoArena = "no arena map captured (kern_vm_start unavailable)";
inline constexpr const char* kSdtNoType = "scheduler BTF does not declare struct scx_allocator";
inline constexpr const char* kSdtNoInstance = "no scx_allocator instance in .bss";

}  // namespace floe::freeze::dump::reason
