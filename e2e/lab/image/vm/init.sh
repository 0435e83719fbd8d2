#!/bin/busybox sh
# The first process of a virtual machine: loads what its disk and its network need, and hands over to the
# disk's own init. /node holds what makes the machine this node, /node.nics a line "MAC NAME" for each interface.
/bin/busybox mkdir -p /proc /sys /dev /disk
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

die() {
	echo "init: $1"
	poweroff -f
}

while read -r module; do
	insmod "/modules/$module" || echo "init: $module is not loaded"
done </modules/order

# Only to learn whether this machine runs a kernel at all.
if grep -qw lab.probe /proc/cmdline; then
	echo "init: it runs"
	poweroff -f
fi

# First out of each other's way: eth0 may have to become eth1.
n=0
for dev in /sys/class/net/*; do
	[ -e "$dev/device" ] || continue
	ip link set dev "${dev##*/}" name "nic$n"
	n=$((n + 1))
done
while read -r mac name; do
	for dev in /sys/class/net/nic*; do
		[ "$(cat "$dev/address")" != "$mac" ] || ip link set dev "${dev##*/}" name "$name"
	done
done </node.nics

# The clock was set to the second, whose beginning it is to keep to: there is no time server.
rtc=/sys/class/rtc/rtc0/since_epoch
if [ -e $rtc ]; then
	was=$(cat $rtc)
	while now=$(cat $rtc) && [ "$now" = "$was" ]; do :; done
	date -s "@$now" >/dev/null
fi

i=0
until [ -e /dev/vda ]; do
	i=$((i + 1))
	[ $i -lt 100 ] || die "there is no disk"
	sleep 0.1
done
mount -t ext4 /dev/vda /disk || die "the disk cannot be mounted"
if [ ! -e /disk/var/lib/lab ]; then
	cp -a /node/. /disk/ && sync && : >/disk/var/lib/lab && sync || die "the node's files cannot be written"
fi
umount /proc /sys
mount --move /dev /disk/dev
exec switch_root /disk /sbin/init
