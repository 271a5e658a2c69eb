# To be sourced: Debian packages without root, and without changing anything on the system.
#
#   apt_prepare DIRECTORY             a scratch directory for apt; returns 1, with a reason, where this is no Debian
#   apt_package SUITE COMPONENT NAME  downloads the package and unpacks it into DIRECTORY/tree
apt_prepare() {
  apt_work=$1
  for tool in apt-get dpkg-deb; do command -v $tool >/dev/null || { echo "$tool is missing: not a Debian system" >&2; return 1; }; done
  apt_mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    grep -oE 'https?://[^ ]*/debian/?( |$)' | head -1 | tr -d ' ') || true
  [ -n "$apt_mirror" ] || { echo "no Debian mirror in /etc/apt" >&2; return 1; }
  apt_codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
  mkdir -p "$apt_work"/{lists/partial,cache/archives/partial,parts,download}
  touch "$apt_work/status"
}
# Proxies and the like of the system still count; its sources do not.
apt_get() {
  timeout 300 apt-get -q -o Dir::Etc::SourceList="$apt_work/sources.list" -o Dir::Etc::SourceParts="$apt_work/parts" \
    -o Dir::State="$apt_work" -o Dir::State::Lists="$apt_work/lists" -o Dir::State::status="$apt_work/status" \
    -o Dir::Cache="$apt_work/cache" -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=2 \
    -o Acquire::Languages=none "$@"
}
apt_package() {
  local suite=$1 component=$2 name=$3
  rm -rf "$apt_work/tree" "$apt_work"/download/*
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $apt_mirror $suite $component" >"$apt_work/sources.list"
  apt_get update >"$apt_work/log" 2>&1 && (cd "$apt_work/download" && apt_get download "$name" >>"$apt_work/log" 2>&1) || {
    tail -3 "$apt_work/log" >&2; return 1; }
  dpkg-deb -x "$apt_work"/download/"${name}"_*.deb "$apt_work/tree"
}
