// Debug builds of floe check every operator new (base/no_alloc.hpp), and libFuzzer's own vectors come from one of them and go to the other.
extern "C" const char* __asan_default_options() {
  return "alloc_dealloc_mismatch=0";
}
