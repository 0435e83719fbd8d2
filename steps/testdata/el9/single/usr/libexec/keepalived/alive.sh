#!/bin/sh
# Managed by fwprov. keepalived runs it every second. It tells systemd that keepalived lives, and
# fails where the rules would not let VRRP through: such a node would hold the VIPs beside its peer.

PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Not waited for: systemd may be busy for longer than keepalived waits for us.
NOTIFY_SOCKET=/run/systemd/notify systemd-notify WATCHDOG=1 >/dev/null 2>&1 &

# firewalld has tables of its own, in front of or behind ours.
for units in /sys/fs/cgroup/system.slice /sys/fs/cgroup/systemd/system.slice; do
    [ ! -d $units/firewalld.service ] || exit 1
done

# A table that somebody else holds locked says nothing of its rules.
rules=$(iptables -w 1 -S INPUT 2>/dev/null) || exit 0
echo "$rules" | grep -qE '^-A INPUT .*-p (vrrp|112) .*-j ACCEPT$'
