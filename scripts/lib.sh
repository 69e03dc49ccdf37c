# shellcheck shell=bash
# Shared by the scripts in this folder; source it, after `set -euo pipefail`. Talk goes to stderr, results to stdout.

floe_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
floe_name=$(basename "$0")

say() { printf '%s: %s\n' "$floe_name" "$*" >&2; }

# die CODE MESSAGE: the message names the culprit and what to do about it.
die() {
  local code=$1
  shift
  say "$*"
  exit "$code"
}

# usage: the comment at the top of the script, as the help text.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }

# The fetched kernels live here, floe looks here too.
fetched_kernels() {
  local home=~ # known also where HOME is not set
  printf '%s/kernels\n' "${FLOE_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/floe}"
}

# The newest kernel in a folder of kernels (VERSION/vmlinuz), or nothing.
newest_kernel() {
  local folder
  for folder in "$1"/*/; do [[ -r ${folder}vmlinuz ]] && basename "$folder"; done | sort -V | tail -n 1
}

# use_kernels SUITE...: sets FLOE_KERNEL_CACHE for floe and its tests: as given, else the pinned kernels beside the checkout,
# which a new upload to Debian cannot change, else what is fetched from these suites, once.
use_kernels() {
  local suite beside=$floe_root/../shared/kernels
  if [[ -z ${FLOE_KERNEL_CACHE:-} && -d $beside ]]; then FLOE_KERNEL_CACHE=$(cd "$beside" && pwd); fi
  if [[ -z ${FLOE_KERNEL_CACHE:-} ]]; then
    for suite in "$@"; do "$floe_root/scripts/fetch-kernel" --if-none --suite "$suite" >/dev/null || return; done
    FLOE_KERNEL_CACHE=$(fetched_kernels)
  fi
  export FLOE_KERNEL_CACHE
}

# configure PRESET / build PRESET [TARGET...]: as CMakePresets.json has it, with headers compiled once (cmake/Headers.cmake) but for
# release-clang, which shows that each source includes what it uses. Warnings and errors are shown, progress is not.
configure() {
  local once=ON
  if [[ $1 == release-clang ]]; then once=OFF; fi
  (cd "$floe_root" && cmake --preset "$1" -DFLOE_PCH=$once --log-level=WARNING)
}
build() {
  local preset=$1
  shift
  ninja --quiet -C "$floe_root/build/$preset" -j "$(nproc)" "$@"
}

# minutes SECONDS: 754 is 12:34.
minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
