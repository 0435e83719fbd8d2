# What a virtual machine is started from: a disk with the tree, the kernel, and an initrd of busybox and the
# drivers that the disk and the network need.
. "$RECIPE/common.sh"

version=$(ls "$ROOT/usr/lib/modules")
in_root depmod "$version"
echo '/dev/vda / ext4 defaults 0 0' >"$ROOT/etc/fstab"
# Nobody logs in on the console, which is a log.
ln -s /dev/null "$ROOT/etc/systemd/system/serial-getty@ttyS0.service"

initrd=$ROOT.initrd
out=$ROOT.out
mkdir -p "$initrd/bin" "$initrd/modules" "$out"
mv "$ROOT/boot/busybox" "$initrd/bin/"
cp "$RECIPE/vm/init.sh" "$initrd/init"
chmod 0755 "$initrd/init"
for module in virtio_pci virtio_blk virtio_net ext4; do
	in_root modprobe --show-depends --set-version "$version" "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r path; do
	file=${path##*/}
	[ ! -e "$initrd/modules/$file" ] || continue
	cp "$ROOT$path" "$initrd/modules/"
	echo "$file" >>"$initrd/modules/order"
done
(cd "$initrd" && find . | sort | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$out/initrd"
mv "$ROOT/boot/vmlinuz-$version" "$out/vmlinuz"

truncate -s 3G "$ROOT.disk"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1 -d "$ROOT" "$ROOT.disk"
qemu-img convert -f raw -O qcow2 "$ROOT.disk" "$out/disk"
rm -rf "$ROOT" "$ROOT.disk" "$initrd"
mv "$out" "$ROOT"
