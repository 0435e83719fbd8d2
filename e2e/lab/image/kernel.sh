# The distribution's own kernel for virtual machines, with its modules, and the busybox that starts it. The
# tree becomes these files alone, to be laid over that of a machine.
. "$RECIPE/common.sh"

# The base may be older than what the repository has today.
in_root apt-get update -qq
kernel=$(in_root apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p')
mkdir -p "$ROOT/srv/debs"
in_root sh -ec 'cd /srv/debs && apt-get download -qq -o APT::Sandbox::User=root "$@"' sh busybox-static "$kernel"

out=$ROOT.out
mkdir -p "$out/usr/lib"
for deb in "$ROOT"/srv/debs/*.deb; do
	dpkg-deb --extract "$deb" "$ROOT/srv/files"
done
mv "$ROOT/srv/files/boot" "$ROOT/srv/files/lib/modules" "$out/usr/lib/"
mv "$out/usr/lib/boot" "$out/boot"
mv "$ROOT/srv/files/bin/busybox" "$out/boot/"
chmod 0755 "$out" "$out/boot" "$out/usr" "$out/usr/lib"
rm -rf "$ROOT"
mv "$out" "$ROOT"
