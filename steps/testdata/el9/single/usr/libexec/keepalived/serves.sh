#!/bin/sh
# Managed by fwprov. keepalived runs it every second. It fails where this node cannot do what its peer, asked over
# the sync network, says that it can do at this moment: balance, and reach the gateway. What neither can do is no
# reason to move.
#
#   serves.sh                        as keepalived runs it
#   serves.sh GROUP NAME STATE ...   as keepalived tells what has become of the node
#   serves.sh ready                  says "ready" if the node could serve, to the peer that asks

PATH=/usr/sbin:/usr/bin:/sbin:/bin
run=/run/fwprov

# One ping, as long as it is answered.
sees() { timeout 0.5 ping -n -q -c 1 192.168.1.254 >/dev/null 2>&1; }

# Five pings: one answer is enough.
sees_at_last() { timeout --preserve-status -s INT 0.9 ping -n -q -i 0.2 192.168.1.254 >/dev/null 2>&1; }

# A process that is stopped still completes handshakes: only a reply counts.
replies() { timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1348 && echo "show info" >&3 && read -r line <&3' 2>/dev/null; }

# HAProxy is ended if it is stuck: systemd starts it again.
balances() {
    stuck=0
    for try in 1 2; do
        replies && return 0
        if [ $? = 124 ]; then stuck=$((stuck + 1)); else sleep 0.5; fi
    done
    if [ $stuck = 2 ] && [ "${1-}" = mend ]; then
        logger -t serves.sh 'HAProxy takes connections and does not reply: it is ended, to be started again'
        systemctl kill -s KILL haproxy.service
        sleep 0.5
        replies
        return
    fi
    return 1
}

peer_is_ready() { timeout 2 bash -c 'exec 3<>/dev/tcp/10.10.1.2/1349 && read -r word <&3 && [ "$word" = ready ]' 2>/dev/null; }

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
    systemctl is-active --quiet keepalived.service && sees && balances && echo ready
    exit 0
    ;;
esac

if ! balances mend && peer_is_ready; then
    exit 1
fi

# A gateway that has never answered since the node was booted does not answer pings.
if sees; then
    [ -e $run/gateway ] || : >$run/gateway
elif [ -e $run/gateway ] && peer_is_ready && ! sees_at_last; then
    exit 1
fi
exit 0
