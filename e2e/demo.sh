#!/bin/bash
# The guide's network on this machine: two stock machines become a firewall pair, and a mail
# goes through it. Run by `make demo`, as root. The lab stays up for playing.
set -euo pipefail
cd "$(dirname "$0")/.."

fwprov=$PWD/build/fwprov
inventory=inventories/guide.hcl
vip=192.168.1.10
export FWPROV_VAR_vrrp_password=${FWPROV_VAR_vrrp_password:-demo1234}

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
on() { "$fwprov" lab exec "$inventory" "$@"; } # HOST -- COMMAND...
# admin runs fwprov as the administrator would, on the lab's admin host.
admin() {
	printf '%s$ fwprov %s%s\n' "$bold" "$*" "$plain"
	on admin -- "$fwprov" "$@"
}

title "Two machines with nothing on them but the distribution"
if "$fwprov" lab status "$inventory" >/dev/null 2>&1; then
	echo "a lab of an earlier run is up; it is taken down"
	"$fwprov" lab down "$inventory"
fi
"$fwprov" lab up "$inventory" --image "${IMAGE:-debian}"

title "They become a firewall pair"
admin apply "$inventory" --yes

title "A second run finds nothing to do"
admin plan "$inventory"

title "Is it healthy?"
admin verify "$inventory"

title "A mail from the client to the failover address $vip"
on client -- bash -s "$vip" <<'SMTP'
exec 3<>"/dev/tcp/$1/25"
set -e
answer() {
	IFS= read -r -t 20 line <&3
	printf '  < %s\n' "$line"
	case $line in [23]*) ;; *) exit 1 ;; esac
}
say() { printf '  > %s\n' "$1"; printf '%s\r\n' "$1" >&3; }
answer
say "HELO client.example.net"; answer
say "MAIL FROM:<someone@example.net>"; answer
say "RCPT TO:<you@example.com>"; answer
say "DATA"; answer
say "Subject: through the firewall"
say ""
say "Who am I to you?"
say "."; answer
say "QUIT"; answer
SMTP

title "What the mail exchanger saw: the client's own address, not the firewall's"
for try in $(seq 50); do
	received=$(cat /run/fwprov-lab/fw/mail/*/all 2>/dev/null || true)
	[ -z "$received" ] || break
	[ "$try" -lt 50 ] || { echo "the mail did not arrive" >&2; exit 1; }
	sleep 0.2
done
grep -A1 '^Received:' <<<"$received"
grep -qF '[203.0.113.10]' <<<"$received" || { echo "the client's address 203.0.113.10 is not in it" >&2; exit 1; }

sudo=
[ -z "${SUDO_USER-}" ] || sudo='sudo '
title "Go on by hand"
cat <<END
The lab is up. For example:
  export FWPROV_VAR_vrrp_password=$FWPROV_VAR_vrrp_password
  alias lab='${sudo}${sudo:+--preserve-env=FWPROV_VAR_vrrp_password }$fwprov lab'
  lab status $inventory
  lab exec $inventory admin -- $fwprov plan $inventory
  lab exec $inventory fw01 -- systemctl stop keepalived     # the other one takes over
  lab exec $inventory admin -- $fwprov verify $inventory
Take it down with:
  $sudo$fwprov lab down $inventory
END
