# Debian: ifupdown, and a repository on the machine itself with what an apply installs.
. "$RECIPE/common.sh"

# The base may be older than what the repository has today.
in_root apt-get update -qq
apt_install ifupdown
cat >"$ROOT/etc/network/interfaces" <<'END'
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback
END

apt_download /srv/packages keepalived conntrackd conntrack haproxy iptables ipset iptables-persistent netfilter-persistent
cd "$ROOT/srv/packages"
for deb in *.deb; do
	dpkg-deb --field "$deb"
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages
# Without it apt tries every compression of the list there is before it takes this one.
printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release

rm -rf "$ROOT"/etc/apt/sources.list "$ROOT"/etc/apt/sources.list.d/* "$ROOT"/var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/packages ./' >"$ROOT/etc/apt/sources.list"
in_root apt-get update -qq
finish
