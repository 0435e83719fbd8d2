# Runs the virtual machine in DIR: vm.sh DIR, in the namespace of the switches, where its cables end. DIR/args are
# the arguments of qemu, one a line. Status 133 says that the machine wants to boot again, as systemd-nspawn does.
set -u
dir=$1
. "$dir/env"

while IFS= read -r arg; do
	set -- "$@" "$arg"
done <"$dir/args"
shift
echo "== boot"
nsenter --net="/run/netns/$SWITCH" sh "$dir/../../run/start.sh" "$dir" qemu-system-x86_64 "$@" </dev/null
code=$?
# qemu says the same of a machine that is switched off and of one that is reset. Its kernel tells them apart.
sed -n '/^== boot/h; /^== boot/!H; ${x;p}' "$dir/log" | grep -q -e 'reboot: Restarting system' -e 'Rebooting in ' && exit 133
exit $code
