#!/bin/sh
# Managed by fwprov. keepalived runs it every second. It fails where this node cannot do what its peer, asked over
# the sync network, says that it can do at this moment: balance, and reach the gateway. What neither can do is no
# reason to move.
#
#   serves.sh                        as keepalived runs it
#   serves.sh GROUP NAME STATE ...   as keepalived tells what has become of the node
#   serves.sh ready                  tells the peer that asks what this node could do: balance, reach the gateway

PATH=/usr/sbin:/usr/bin:/sbin:/bin
run=/run/fwprov
gateway=192.168.1.254

# One ping, as long as it is answered.
sees() { timeout 0.5 ping -n -q -c 1 $gateway >/dev/null 2>&1; }

# Some pings: one answer is enough.
sees_at_last() { timeout --preserve-status -s INT 0.9 ping -n -q -i 0.2 $gateway >/dev/null 2>&1; }

# A process that is stopped still completes handshakes: only a reply counts.
replies() { timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1348 && echo "show info" >&3 && read -r line <&3' 2>/dev/null; }

balances() {
    command -v bash >/dev/null || return 0
    replies && return 0
    [ $? = 124 ] || sleep 0.5
    replies
}

# One that is stopped is ended: systemd starts it again. One that is busy is left alone.
mended() {
    for tasks in /sys/fs/cgroup/system.slice/haproxy.service/cgroup.procs /sys/fs/cgroup/systemd/system.slice/haproxy.service/cgroup.procs; do
        [ -r $tasks ] || continue
        while read -r pid; do
            case $(cat /proc/$pid/stat 2>/dev/null) in *') T '*)
                logger -t serves.sh 'HAProxy is stopped: it is ended, to be started again'
                systemctl kill -s KILL haproxy.service
                sleep 0.5
                replies
                return
                ;;
            esac
        done <$tasks
    done
    return 1
}

# What the peer could do; asked once.
peer() {
    [ -n "${peer-}" ] || peer=$(timeout 2 bash -c 'exec 3<>/dev/tcp/10.10.1.2/1349 && cat <&3' 2>/dev/null)
    case " $peer " in *" $1 "*) return 0 ;; esac
    peer=${peer:-nothing}
    return 1
}

umask 077
mkdir -p $run
case ${1-} in
GROUP | INSTANCE)
    echo "$3" >$run/vrrp
    exit
    ;;
ready)
    [ -r $run/vrrp ] && read -r state <$run/vrrp
    case ${state-} in MASTER | BACKUP) ;; *) exit 0 ;; esac
    systemctl is-active --quiet keepalived.service || exit 0
    balances && could=balance
    sees && could="${could-} reach"
    echo "${could-}"
    exit 0
    ;;
esac

# A HAProxy that has not been started since the node was booted is none of ours.
if [ -e $run/loaded/haproxy.service ] && ! balances && ! mended && peer balance; then
    # The peer has to be as good in the other respect.
    if peer reach || ! sees; then exit 1; fi
fi

# A gateway that has never answered since the node was booted may not answer pings.
if sees; then
    [ -e $run/gateway.$gateway ] || : >$run/gateway.$gateway
elif [ -e $run/gateway.$gateway ] && peer reach && peer balance && ! sees_at_last; then
    exit 1
fi
exit 0
