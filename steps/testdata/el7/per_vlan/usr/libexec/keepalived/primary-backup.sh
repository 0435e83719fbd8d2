#!/bin/sh
# Managed by fwprov. keepalived runs it at every transition, with primary,
# backup or fault as its argument.

config=/etc/conntrackd/conntrackd.conf

tell() {
    conntrackd -C "$config" "$@" >/dev/null 2>&1 ||
        logger -t primary-backup.sh "conntrackd $* failed"
}

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

case "${1-}" in
primary)
    tell -c # give the connections of the peer to the kernel
    tell -f # forget what the caches hold
    tell -R # learn anew what the kernel has
    tell -B # and tell the peer
    ;;
backup)
    tell -t # let what is left of our connections go
    tell -n # and ask the peer for its own
    ;;
fault)
    tell -t
    ;;
*)
    echo "usage: primary-backup.sh primary|backup|fault" >&2
    exit 1
    ;;
esac
