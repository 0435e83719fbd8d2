#!/bin/sh
# Installs what the rehearsal network needs for nodes that are virtual machines, beside what setup.sh installs.
set -eu

missing=
need() { # PROGRAM PACKAGE
	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need mke2fs e2fsprogs
need cpio cpio
need ssh openssh-client
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing, and there is no apt-get to install it:$missing" >&2
	exit 1
fi
echo "installing:$missing" >&2
${SUDO-} env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086
${SUDO-} env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >&2
