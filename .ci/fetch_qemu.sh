#!/usr/bin/env bash
# Gets qemu's user-mode emulator of aarch64 (Debian, statically linked) for the test that runs the shader cores' NEON build.
#
#   .ci/fetch_qemu.sh DIRECTORY     writes DIRECTORY/qemu-aarch64
#
# Needs no root. Exit status 1, with a reason, when it cannot be had.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

[ $# -eq 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 1; }
target=$1/qemu-aarch64
if [ -x "$target" ]; then echo "$target: already there"; exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt_prepare "$work" || exit 1
for package in qemu-user-static qemu-user; do  # static in the first up to Debian 12, in the second from 13 on
  apt_package "$apt_codename" main $package || continue
  binary=$(find "$work/tree" -type f \( -name qemu-aarch64 -o -name qemu-aarch64-static \) | head -1)
  if [ -n "$binary" ] && "$binary" --version >/dev/null 2>&1; then
    mkdir -p "$1"
    cp "$binary" "$target"
    echo "$target: $("$target" --version | head -1)"
    exit 0
  fi
done
echo "fetch_qemu: no package of $apt_mirror has a qemu-aarch64 that runs here" >&2
exit 1
