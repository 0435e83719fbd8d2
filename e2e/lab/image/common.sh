# Sourced by the recipes: ROOT is the tree that becomes the image, RECIPE the folder with these files.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

# in_root runs a command inside the tree, with the network of the machine that builds.
in_root() {
	systemd-nspawn --quiet --register=no --keep-unit --pipe --resolv-conf=replace-host \
		--setenv=DEBIAN_FRONTEND=noninteractive --setenv=LC_ALL=C \
		--directory="$ROOT" -- "$@" </dev/null
}

# apt_install installs into the tree from the distribution's own repository.
apt_install() {
	in_root apt-get install -qq -y --no-install-recommends "$@"
}

# apt_download fetches packages and what they need beyond the tree into a folder of the tree.
apt_download() {
	folder=$1
	shift
	mkdir -p "$ROOT$folder/partial"
	in_root apt-get install -qq -y --no-install-recommends --download-only -o "Dir::Cache::archives=$folder/" "$@"
	rm -rf "$ROOT$folder/partial" "$ROOT$folder/lock"
}

# finish removes what an image must not carry from one machine to the next.
finish() {
	# Nothing happens by the clock: a package list read in the background would hold the lock of a run.
	rm -f "$ROOT"/etc/systemd/system/timers.target.wants/*
	rm -rf "$ROOT"/var/cache/apt/*.bin "$ROOT"/var/cache/apt/archives/*.deb "$ROOT"/etc/ssh/ssh_host_*
	rm -f "$ROOT/etc/resolv.conf" "$ROOT/etc/hostname" "$ROOT/var/lib/dbus/machine-id"
	: >"$ROOT/etc/resolv.conf"
	: >"$ROOT/etc/machine-id"
}
