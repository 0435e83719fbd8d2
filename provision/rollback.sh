#!/bin/sh
# Managed by fwprov: takes this node back to what it was before a change that
# was not confirmed. $1 says why: timer, now, or boot. At boot only what the
# boot itself reads is restored: files, and which units are enabled.
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022
cd /var/lib/fwprov/rollback || exit 1
[ -e pending ] || exit 0
if ! mkdir running 2>/dev/null; then
	# Someone else is at it, or was cut off by a loss of power.
	[ "$1" = boot ] || exit 0
fi
exec </dev/null >>log 2>&1
echo "going back: $1"
run=$(cat pending)
failed=

# The command of the apply that may still run must not undo what we do.
if [ "$1" != boot ] && read -r pid group since </run/fwprov/step.pid; then
	if [ "$group $since" = "$(cut -d ' ' -f 5,22 "/proc/$pid/stat")" ] && [ "$group" != "$(cut -d ' ' -f 5 /proc/$$/stat)" ]; then
		kill -KILL -- "-$group"
	fi
fi

# What did not exist must not stay enabled, and cannot be disabled once its
# file is gone.
while read -r who unit enabled active; do
	[ "$enabled" = - ] || continue
	now=$(systemctl show -p UnitFileState -- "$unit")
	[ "$now" != UnitFileState= ] || continue
	[ "$1" = boot ] || systemctl stop "$unit"
	systemctl disable "$unit" || failed="$failed $unit"
done <units

while read -r n path; do
	if [ "$n" = - ]; then
		rm -rf -- "$path" || failed="$failed $path"
	else
		mkdir -p "${path%/*}"
		cp -a -- "$n" "$path.fwprov-back" && mv -fT -- "$path.fwprov-back" "$path" || failed="$failed $path"
	fi
done <files
systemctl daemon-reload

while read -r who unit enabled active; do
	now=$(systemctl show -p UnitFileState -- "$unit")
	now=${now#*=}
	[ "$now" != "$enabled" ] || continue
	case $now in masked*) systemctl unmask "$unit" && systemctl unmask --runtime "$unit" ;; esac
	case $enabled in
	masked) systemctl mask "$unit" ;;
	enabled) systemctl enable "$unit" ;;
	disabled) systemctl disable "$unit" ;;
	esac || failed="$failed $unit"
done <units

if [ "$1" = boot ]; then
	# Jobs of this boot that were queued before we spoke.
	while read -r who unit enabled active; do
		case $enabled in enabled | static | alias | indirect | generated) ;; *) systemctl --no-block stop "$unit" ;; esac
		case $enabled:$active in enabled:active) systemctl --no-block start "$unit" ;; esac
	done <units
else
	# Units whose state the steps do not restore themselves. What has to run is
	# started before anything is stopped: a firewall before the other goes.
	for want in active inactive; do
		while read -r who unit enabled active; do
			[ "$who" = engine ] || continue
			now=$(systemctl show -p ActiveState -- "$unit")
			now=${now#*=}
			case $want:$active:$now in
			active:active:active | active:active:activating) ;;
			active:active:*) systemctl start "$unit" || failed="$failed $unit" ;;
			inactive:active:* | inactive:*:inactive | inactive:*:failed) ;;
			inactive:*) systemctl stop "$unit" || failed="$failed $unit" ;;
			esac
		done <units
	done
	for step in steps/*/restore; do
		[ -e "$step" ] || continue
		(cd "${step%/restore}" && sh -eu ./restore) || failed="$failed ${step%/restore}"
	done
fi

sync
{ echo "$run"; echo "${failed:-ok}"; } >result
rm -f pending
rmdir running
sync
systemctl --no-block stop 'fwprov-rollback-*.timer'
echo "went back: ${failed:-ok}"
