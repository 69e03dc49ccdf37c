# With FLOE_PCH=ON headers from outside that most sources include are compiled once per build instead of once per source.
#
# A build that starts from nothing takes a third less CPU time with it, by either compiler, so the scripts switch it on. It is off
# otherwise, for ccache cannot share the result among checkouts. A source includes what it uses all the same: release-clang, and
# scripts/tidy --headers, compile without.

option(FLOE_PCH "Compile the headers of the standard library, fmt and Boost.Test once per build" OFF)
if(FLOE_PCH)  # g++ 12 knows less of what stands in a system header then
  target_compile_options(floe_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overread>)
  if(CMAKE_CXX_COMPILER_LAUNCHER STREQUAL "ccache")  # it caches no source that uses such a header unless it is told that it may
    set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ccache)
  endif()
endif()

# floe_precompile(NAME HEADER [options...]): a compiled header for targets that have the options of floe_flags and these, and no other.
function(floe_precompile name header)
  if(NOT FLOE_PCH)
    return()
  endif()
  add_library(${name} OBJECT ${CMAKE_SOURCE_DIR}/cmake/headers/none.cpp)
  target_link_libraries(${name} PRIVATE floe_flags fmt::fmt)
  target_compile_options(${name} PRIVATE ${ARGN})
  target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/headers/${header})
  # Without the time in it, the file is the same when it is compiled again, and ccache knows the sources that use it.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>)
endfunction()

# floe_use_headers(TARGET NAME)
function(floe_use_headers target name)
  if(FLOE_PCH)
    target_precompile_headers(${target} REUSE_FROM ${name})
    # ccache need not run the preprocessor before the compiler: a tenth of the time where nothing is cached. It is what notices .incbin,
    # though, in the two targets that have one.
    get_target_property(launcher ${target} CXX_COMPILER_LAUNCHER)
    if(launcher MATCHES "ccache" AND NOT target MATCHES "^floe_(vmm|tiny_guest)$")
      set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER "env;CCACHE_DEPEND=1;${launcher}")
    endif()
  endif()
endfunction()
