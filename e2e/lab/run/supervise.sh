# Keeps one machine running: supervise.sh DIR. A reboot from inside (status 133 of systemd-nspawn) boots
# it again with a fresh network namespace, as a real machine would come up; anything else switches it off.
# The namespace of a virtual machine is empty, and says only that it is on.
set -u
dir=$1
. "$dir/env"
. "$dir/../../run/cgroup.sh"

enter loop $$
while :; do
	ip netns del "$NS" 2>/dev/null
	ip netns add "$NS" || exit 1
	ip -n "$SWITCH" -force -batch "$dir/unplug" 2>/dev/null
	ip -n "$SWITCH" -batch "$dir/plug" || exit 1
	ip -n "$NS" -batch "$dir/setup" || exit 1
	if [ "$MACHINE" = vm ]; then
		sh "$dir/../../run/vm.sh" "$dir"
	else
		unshare --mount sh "$dir/../../run/boot.sh" "$dir"
	fi
	code=$?
	ip netns del "$NS"
	[ "$code" -eq 133 ] || exit "$code"
done
