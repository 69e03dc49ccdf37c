#include "freeze/racing_copy.hpp"

#include <cstring>

#include "base/address.hpp"

#if defined(__SANITIZE_THREAD__)
#define FLOE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FLOE_THREAD_SANITIZER 1
#endif
#endif
#ifdef FLOE_THREAD_SANITIZER
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
#endif

namespace floe::freeze {

// TSan is told.
void copy_racing(std::byte* to, const std::byte* from) {
#ifdef FLOE_THREAD_SANITIZER
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
#endif
  std::memcpy(to, from, kPageBytes);
#ifdef FLOE_THREAD_SANITIZER
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

}  // namespace floe::freeze
