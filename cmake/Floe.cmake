# How every part of floe is compiled, and the few shapes a target can have.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(LIBBPF REQUIRED IMPORTED_TARGET libbpf>=1.4)
pkg_check_modules(LIBELF REQUIRED IMPORTED_TARGET libelf)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(SIMDJSON REQUIRED IMPORTED_TARGET simdjson>=3)
pkg_check_modules(LZMA REQUIRED IMPORTED_TARGET liblzma)

add_library(floe_flags INTERFACE)
target_include_directories(floe_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_options(floe_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wimplicit-fallthrough>)
# g++ 12 reports uninitialised and dangling members inside std headers and coroutine frames that are neither.
target_compile_options(floe_flags INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict>)
# g++ 12 joins what two registers hold in a vector register, to store it into a coroutine's frame at once. Whoever is resumed there next
# waits for that store: 0.5 ns a switch.
target_compile_options(floe_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fno-tree-slp-vectorize>)
# clang-19 reports std::stable_sort for what libstdc++ 12 does inside of it.
target_compile_options(floe_flags INTERFACE $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
if(FLOE_SANITIZE)
  target_compile_options(floe_flags INTERFACE -fsanitize=${FLOE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(floe_flags INTERFACE -fsanitize=${FLOE_SANITIZE})
endif()
if(FLOE_FUZZ)  # coverage for the libraries too, or the fuzzers would be blind
  target_compile_options(floe_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(floe_flags INTERFACE Threads::Threads)

# What programs with AddressSanitizer are linked with; nothing in other builds.
add_library(floe_asan_options INTERFACE)
if(FLOE_SANITIZE MATCHES "address")
  add_library(floe_asan_options_object OBJECT ${CMAKE_SOURCE_DIR}/fuzz/asan_options.cpp)
  target_link_libraries(floe_asan_options_object PRIVATE floe_flags)
  target_link_libraries(floe_asan_options INTERFACE $<TARGET_OBJECTS:floe_asan_options_object>)
endif()

include(cmake/Headers.cmake)
floe_precompile(floe_headers standard.hpp)

# floe_sources(VARIABLE [folders...]): the .cpp files of this folder and of those below it that are named.
function(floe_sources variable)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(folder ${ARGN})
    file(GLOB more CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
    list(APPEND sources ${more})
  endforeach()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()

# floe_module(NAME [libraries...] [FOLDERS folders...]): the sources of the folder and of those named below it as one static
# library, floe::NAME.
function(floe_module name)
  cmake_parse_arguments(arg "" "" "FOLDERS" ${ARGN})
  floe_sources(sources ${arg_FOLDERS})
  add_library(floe_${name} STATIC ${sources})
  add_library(floe::${name} ALIAS floe_${name})
  target_link_libraries(floe_${name} PUBLIC floe_flags ${arg_UNPARSED_ARGUMENTS})
  floe_use_headers(floe_${name} floe_headers)
endfunction()

# floe_tests(MODULE [libraries...] [FOLDERS folders...] [COROUTINES | SOME_COROUTINES]): tests/MODULE/*.cpp, and those of the
# folders below it that are named, as one Boost.Test program, one ctest entry per file. A file's tests stand in a suite named after it.
#
# The tests' own code, checks mostly, is not optimised: half the time to compile it. Coroutines are: they hand over to each other by tail
# calls. SOME_COROUTINES: the files that have some, themselves or from a header of the tests, are looked up.
function(floe_tests module)
  cmake_parse_arguments(arg "COROUTINES;SOME_COROUTINES" "" "FOLDERS" ${ARGN})
  floe_sources(sources ${arg_FOLDERS})
  if(NOT sources)
    return()
  endif()
  set(plain ${sources})
  set(libraries floe_test_main floe_flags ${arg_UNPARSED_ARGUMENTS})
  if(arg_SOME_COROUTINES)
    set(coroutines)
    foreach(source ${sources})
      file(STRINGS ${source} found REGEX "co_(await|return|yield)|/(recorder|tlv_receiver|live_run)\\.hpp" LIMIT_COUNT 1)
      if(found)
        list(APPEND coroutines ${source})
      endif()
    endforeach()
    list(REMOVE_ITEM plain ${coroutines})
    add_library(test_${module}_coroutines OBJECT ${coroutines})
    target_link_libraries(test_${module}_coroutines PRIVATE Boost::unit_test_framework ${arg_UNPARSED_ARGUMENTS})
    target_compile_definitions(test_${module}_coroutines PRIVATE FLOE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" BOOST_TEST_DYN_LINK)
    floe_use_headers(test_${module}_coroutines floe_coroutine_test_headers)
    list(APPEND libraries $<TARGET_OBJECTS:test_${module}_coroutines>)
  endif()
  add_executable(test_${module} ${plain})
  target_link_libraries(test_${module} PRIVATE ${libraries})
  target_compile_definitions(test_${module} PRIVATE FLOE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(arg_COROUTINES)
    floe_use_headers(test_${module} floe_coroutine_test_headers)
  else()
    target_compile_options(test_${module} PRIVATE -O0)
    floe_use_headers(test_${module} floe_test_headers)
  endif()
  foreach(source ${sources})
    get_filename_component(suite ${source} NAME_WE)
    add_test(NAME ${module}.${suite} COMMAND test_${module} --run_test=${suite} --log_level=message)
    set_tests_properties(${module}.${suite} PROPERTIES TIMEOUT 180 LABELS unit SKIP_RETURN_CODE 77
                         SKIP_REGULAR_EXPRESSION "skipped: no usable KVM")
  endforeach()
endfunction()

# floe_fuzz(NAME [libraries...]): fuzz/NAME.cpp as a libFuzzer target with the seed corpus fuzz/corpus/NAME.
function(floe_fuzz name)
  add_executable(fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/${name}.cpp)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(fuzz_${name} PRIVATE floe_flags floe_asan_options ${ARGN})
  floe_use_headers(fuzz_${name} floe_headers)
  add_test(NAME fuzz.${name}
           COMMAND ${CMAKE_SOURCE_DIR}/scripts/fuzz-smoke $<TARGET_FILE:fuzz_${name}> ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()
