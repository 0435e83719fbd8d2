#!/bin/sh
# Installs what the rehearsal network needs on this machine, if anything is missing. Arguments: a program and its package,
# and so on.
set -eu

missing=
need() { # PROGRAM PACKAGE
	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need mmdebstrap mmdebstrap
need systemd-nspawn systemd-container
need zstd zstd
need tar tar
need ip iproute2
need ping iputils-ping
need tcpdump tcpdump
need nsenter util-linux
need mount mount
need perl perl-base
need dpkg-deb dpkg
while [ $# -ge 2 ]; do # what a single target needs besides
	need "$1" "$2"
	shift 2
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing, and there is no apt-get to install it:$missing" >&2
	exit 1
fi
echo "installing:$missing" >&2
${SUDO-} env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086
${SUDO-} env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >&2
