#!/bin/sh
# Managed by fwprov: takes this node back to what it was before a change that
# was not confirmed. $1 says why: timer, boot, or now. $2 is the run that is
# meant, whichever is pending if it is left out. At boot only what the boot
# itself reads is restored: files, and which units are enabled. It can be run by
# hand and again at any time: where nothing is pending it does nothing.
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022
why=$1 run=${2-}
here=/run/fwprov
cd /var/lib/fwprov/rollback || exit 1
is_pending() { [ -e pending ] && { [ -z "$run" ] || [ "$run" = "$(cat pending)" ]; }; }
is_pending || exit 0
run=$(cat pending)
(umask 077 && mkdir -p $here)

# The commands of the run move the deadline as long as there are any. The timer
# comes again if this waits in vain because it is killed.
time_left() { # in 1/100 s
	due='' n=0
	until [ -n "$due" ] || [ $n -ge 10 ]; do
		read -r due <$here/deadline || sleep 0.1
		n=$((n + 1))
	done
	read -r up _ </proc/uptime
	left=$((${due:-0} - ${up%.*} * 100 - 1${up#*.} + 100))
	[ $left -gt 0 ]
}
while [ "$why" = timer ] && time_left; do
	if [ $left -gt 100 ]; then sleep 1; else sleep 0.1; fi
	is_pending || exit 0
done

# One at a time, and not while the node is being confirmed.
if (: >>$here/rollback.lock); then
	exec 9>>$here/rollback.lock
	flock 9
	is_pending || exit 0
fi
# From here on no command of the run changes anything: it looks for this mark
# after it has noted itself, and what has noted itself is ended.
(: >$here/going-back)
log=$here/rollback.log
(: >$log) || log=/dev/null
exec </dev/null >>$log 2>&1
echo "going back from $run: $why"
failed=
lost() {
	failed="$failed $1"
	echo "failed: $1"
}
if [ -e $here/step.pid ] && read -r step group since <$here/step.pid && [ "$why" != boot ] &&
	[ "$group $since" = "$(cut -d ' ' -f 5,22 "/proc/$step/stat" 2>/dev/null)" ] && [ "$group" != "$(cut -d ' ' -f 5 /proc/$$/stat)" ]; then
	kill -KILL "-$group" # no --: dash takes it for a number
	n=0
	while kill -0 "-$group" && [ $n -lt 50 ]; do
		sleep 0.1
		n=$((n + 1))
	done
fi

# look prints what systemd says of the units, one line a unit in the order of the
# file: UnitFileState, ActiveState, LoadState, "-" for none.
look() {
	[ -s units ] || return 0
	enabled_now=- active_now=- load_now=-
	# shellcheck disable=SC2046
	{ systemctl show -p UnitFileState -p ActiveState -p LoadState -- $(cut -d ' ' -f 2 units) && echo; } | while read -r line; do
		case $line in
		UnitFileState=?*) enabled_now=${line#*=} ;;
		ActiveState=?*) active_now=${line#*=} ;;
		LoadState=?*) load_now=${line#*=} ;;
		'')
			echo "$enabled_now $active_now $load_now"
			enabled_now=- active_now=- load_now=-
			;;
		esac
	done
}

# What did not exist must not stay enabled, and cannot be disabled once its
# file is gone.
now=$(look)
while read -r who unit enabled active && read -r _ _ load_now <&3; do
	[ "$enabled:$load_now" = -:loaded ] || continue
	[ "$why" = boot ] || systemctl stop "$unit"
	systemctl disable "$unit" || lost "$unit"
done <units 3<<END
$now
END

same() { # one regular file and another, with mode and owner
	[ ! -L "$1" ] && [ ! -L "$2" ] && cmp -s -- "$1" "$2" && [ "$(stat -c '%f %u %g' -- "$1")" = "$(stat -c '%f %u %g' -- "$2")" ]
}
while read -r n path; do
	rm -f -- "${path%/*}/.${path##*/}.$run" # what a change was writing
	if [ "$n" = - ]; then
		rm -f -- "$path" || lost "$path"
	elif ! same "$n" "$path"; then
		mkdir -p "${path%/*}"
		# A link first: it needs no space.
		{ ln -fT -- "$n" "$path.fwprov-back" || cp -a -- "$n" "$path.fwprov-back"; } &&
			mv -fT -- "$path.fwprov-back" "$path" || lost "$path"
		rm -f -- "$path.fwprov-back"
	fi
done <files
sort -r dirs | while read -r dir; do
	[ ! -d "$dir" ] || rmdir --ignore-fail-on-non-empty -- "$dir"
done
systemctl daemon-reload || lost daemon-reload

now=$(look)
while read -r who unit enabled active && read -r enabled_now _ <&3; do
	[ "$enabled_now" != "$enabled" ] || continue
	case $enabled_now in masked*) systemctl unmask "$unit" && systemctl unmask --runtime "$unit" ;; esac
	case $enabled in
	masked) systemctl mask "$unit" ;;
	enabled) systemctl enable "$unit" ;;
	disabled) systemctl disable "$unit" ;;
	esac || lost "$unit"
done <units 3<<END
$now
END

if [ "$why" = boot ]; then
	# Jobs of this boot that were queued before we spoke.
	while read -r who unit enabled active; do
		case $enabled in enabled | static | alias | indirect | generated) ;; *) systemctl --no-block stop "$unit" ;; esac
		case $enabled:$active in enabled:active) systemctl --no-block start "$unit" ;; esac
	done <units
else
	# Units whose state the steps do not restore themselves. What has to run is
	# started before anything is stopped. Where a unit is to be stopped, so is
	# a start that the run has asked for and that waits its turn.
	now=$(look)
	while read -r who unit enabled active && read -r _ active_now _ <&3; do
		[ "$who:$active" = engine:active ] && [ "$active_now" != active ] || continue
		systemctl reset-failed "$unit"
		systemctl start "$unit" || lost "$unit"
	done <units 3<<END
$now
END
	while read -r who unit enabled active && read -r _ _ load_now <&3; do
		[ "$who:$load_now" = engine:loaded ] && [ "$active" != active ] || continue
		systemctl stop "$unit" || lost "$unit"
	done <units 3<<END
$now
END
	for step in steps/*/restore; do
		[ ! -e "$step" ] || (cd "${step%/*}" && sh -u ./restore) || lost "${step%/*}"
	done
	for step in $(printf '%s\n' steps/*/tidy | sort -r); do
		[ ! -e "$step" ] || (cd "${step%/*}" && sh -u ./tidy) || lost "${step%/*}"
	done
fi
# The generation of the history that this would have been.
case $(cat generation 2>/dev/null) in /var/lib/fwprov/history/?*) rm -rf -- "$(cat generation)" ;; esac

echo "went back:${failed:- ok}"
{ echo "$run"; echo "${failed:-ok}"; } >$here/rollback.result
cp $here/rollback.result result
cp $log log
sync
rm -f $here/step.pid $here/deadline
rm -f pending
# The lock of the run is free from here on. Who arms the node next waits for ours,
# and what is ended is only what this run has left.
sync
[ -n "$failed" ] || rm -rf -- [0-9]* steps
rm -f $here/going-back
systemctl --no-block stop "fwprov-rollback-$run*.timer"
exit 0
