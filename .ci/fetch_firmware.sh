#!/usr/bin/env bash
# Gets AMD's genuine GPU firmware (Debian package firmware-amd-graphics, component non-free-firmware)
# into a directory, for the tests that boot the emulated GPUs with it. The releases of Debian are tried
# from the installed one to the newest until one has the files of all five chips (gfx12 came late).
#
#   .ci/fetch_firmware.sh DIRECTORY
#
# Uses apt with a configuration of its own and the mirror that /etc/apt names; needs no root and changes
# nothing on the system. Exit status 1, with a reason, when not even one chip's files can be had. Licence of the files:
# /usr/share/doc/firmware-amd-graphics/copyright, put beside them.
set -euo pipefail

fail() { echo "fetch_firmware: $*" >&2; exit 1; }

[ $# -eq 1 ] || fail "usage: $0 DIRECTORY"
target=$1
# PSP, SDMA and GC version of each chip (the SMU's version is the PSP's); names as in asic/chips.json
chips="13_0_0:6_0_0:11_0_0 13_0_10:6_0_3:11_0_3 13_0_7:6_0_2:11_0_2 14_0_2:7_0_0:12_0_0 14_0_3:7_0_1:12_0_1"
lacking() {  # the files of these chips that are not in $target
  for chip in "$@"; do
    IFS=: read -r psp sdma gc <<<"$chip"
    for f in "psp_${psp}_sos" "smu_$psp" "sdma_$sdma" "gc_$gc"_{imu,me,mec,pfp,rlc}; do
      [ -s "$target/$f.bin" ] || echo "$f.bin"
    done
  done
}
have_all() { [ -z "$(lacking $chips)" ]; }
have_one() { for chip in $chips; do [ -n "$(lacking "$chip")" ] || return 0; done; return 1; }
if [ -d "$target" ] && have_all; then echo "$target: already there"; exit 0; fi

. "$(dirname "$0")/apt.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt_prepare "$work" || exit 1
for suite in ${USBGPU_FIRMWARE_SUITES:-$apt_codename stable testing sid}; do
  apt_package "$suite" non-free-firmware firmware-amd-graphics || continue
  found=$(find "$work/tree" -type d -path '*firmware/amdgpu' | head -1)
  mkdir -p "$target"
  cp -L "$found"/* "$target/" 2>/dev/null || true
  cp "$work"/tree/usr/share/doc/firmware-amd-graphics/copyright "$target/LICENSE.debian" 2>/dev/null || true
  if have_all; then
    echo "$target: firmware-amd-graphics of $suite"
    exit 0
  fi
  echo "fetch_firmware: the package of $suite lacks $(lacking $chips | wc -l) files" >&2
done
if have_one; then
  echo "$target: without $(lacking $chips | tr '\n' ' ')"
  exit 0
fi
fail "no suite of $apt_mirror has the files"
