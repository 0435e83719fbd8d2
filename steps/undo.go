package steps

import (
	"strings"

	"fwprov/provision"
)

// What each step notes of a node before a change, and how it makes it so again.
// The files themselves are restored by the engine; see provision.Undoer.
var (
	_ provision.Undoer = interfaces{}
	_ provision.Undoer = sysctl{}
	_ provision.Undoer = conntrackd{}
	_ provision.Undoer = iptables{}
	_ provision.Undoer = services{}

	_ provision.Preparer = packages{}
)

// Prepares: a package that is there harms nothing, and removing one does.
func (packages) Prepares() {}

// nmRuns is true where NetworkManager has to be told of its files.
const nmRuns = "command -v nmcli >/dev/null && systemctl is-active --quiet NetworkManager.service"

// nmIdle waits until NetworkManager has done what it was told: while it works on
// an interface it takes addresses away.
const nmIdle = `nm_idle() {
	n=0
	while [ $n -lt 100 ] && nmcli -t -f STATE device | grep -qE '^(connecting|deactivating|prepare|config|need|ip-|secondaries)'; do
		n=$((n + 1))
		sleep 0.1
	done
}
`

// Undo restores what the manifest of before lists, then takes away addresses that
// the inventory has added, after which the routes are those of before or can be
// made so again. Interfaces that it has added go last, since keepalived takes one
// that it tracks and that is gone for a fault. Other addresses, the VIPs among
// them, are keepalived's affair.
func (s interfaces) Undo() provision.Undo {
	var ours, tidy strings.Builder
	tidy.WriteString(nmIdle + "if " + nmRuns + "; then\n\ttry nmcli connection reload\n\tnm_idle\nfi\n" +
		"gone() {\n\tgrep -qxF \"$1\" links || [ ! -e \"/sys/class/net/$1\" ] || ip link del dev \"$1\" || try [ ! -e \"/sys/class/net/$1\" ]\n}\n")
	for _, v := range s.pair.VLANs {
		name := provision.Quote(v.Interface)
		ours.WriteString("foreign " + name + " " + provision.Quote(cidr(v.Addresses[s.node.Name], v.Network)) + "\n")
		tidy.WriteString("gone " + name + "\n")
	}
	return provision.Undo{
		Save: "cat " + provision.Manifest + " >manifest 2>/dev/null || : >manifest\nls /sys/class/net >links\n" +
			"ip -4 -o addr show | while read -r _ dev _ addr _; do echo \"$dev $addr\"; done >addrs\n" +
			"ip -4 route show >routes\n",
		// nmcli connection load: a reload would drop what is to be used until the end.
		Restore: nmIdle + "if " + nmRuns + `; then
	for f in ` + nmDir + `fwprov-*.nmconnection; do
		[ ! -e "$f" ] || try nmcli connection load "$f"
	done
	nm_idle
fi
if command -v networkctl >/dev/null && systemctl is-active --quiet systemd-networkd.service; then networkctl reload || true; fi
while IFS='	' read -r kind name _ how; do
	[ "$kind" = interface ] && grep -qxF "$name" links || continue
	addr=${how#* }
	if [ ! -e "/sys/class/net/$name" ] && [ "${how%% *}" = ` + created + ` ]; then
		ip link add link "${name%.*}" name "$name" type vlan id "${name##*.}" || try [ -e "/sys/class/net/$name" ]
	fi
	grep -qxF "$name $addr" addrs || continue
	ip -4 -o addr show dev "$name" up | grep -qF " $addr " && continue
	try ip link set dev "$name" up
	try ip addr replace "$addr" brd + dev "$name"
done <manifest
foreign() {
	grep -qxF "$1" links && ! grep -qxF "$1 $2" addrs && ip -4 -o addr show dev "$1" | grep -qF " $2 " || return 0
	echo 1 >"/proc/sys/net/ipv4/conf/$1/promote_secondaries"
	ip addr del "$2" dev "$1" || try [ -z "$(ip -4 -o addr show dev "$1" | grep -F " $2 ")" ]
}
` + ours.String() + `ip -4 route show >now
while read -r route; do
	grep -qxF "$route" now || case $route in
	*" proto kernel "*) ;; # the address brings it
	*) try ip -4 route replace ${route%% linkdown*} ;;
	esac
done <routes
`,
		Tidy: tidy.String(),
	}
}

// Undo sets every key that the step may have set to what it was.
func (s sysctl) Undo() provision.Undo {
	var paths []string
	for _, x := range settings {
		paths = append(paths, procPath(x.Key))
	}
	return provision.Undo{
		// grep and not cat: the name of the file belongs to the value.
		Save: "grep -sH '' " + strings.Join(paths, " ") + " /proc/sys/net/ipv4/conf/*/" + perInterface +
			" /proc/sys/net/ipv4/conf/*/promote_secondaries >values || true\n", // see delAddr
		Restore: "put() { echo \"$2\" >\"$1\"; }\nwhile IFS=: read -r path value; do\n" +
			"\t[ ! -w \"$path\" ] || [ \"$(cat \"$path\")\" = \"$value\" ] || try put \"$path\" \"$value\"\ndone <values\n",
	}
}

// Undo keeps the copy of the fail-over script.
func (s conntrackd) Undo() provision.Undo {
	return provision.Undo{Files: []string{copiedScript, copyRecord}, Restore: "rm -f " + copiedScript + ".??????\n"}
}

// rulesUndoUnits load rules, or take them away.
var rulesUndoUnits = []string{firewalldUnit, "iptables.service", "ip6tables.service", "netfilter-persistent.service"}

// Undo keeps the kernel's tables, all of them, and what was recorded of them.
// They are restored as a whole, from one file for each family. Tables that were
// not there are taken away, or emptied.
//
// Where firewalld ran it comes back first, and only when its rules are in the
// kernel do ours go. It is started without what depends on it: it conflicts
// with the units that load ours, and their end flushes all.
func (s iptables) Undo() provision.Undo {
	units := strings.Join(rulesUndoUnits, " ")
	return provision.Undo{
		Files: []string{recordPrefix + "v4.loaded", recordPrefix + "v6.loaded", allRecord},
		Units: rulesUndoUnits,
		Save: `for tool in iptables ip6tables; do
	: >$tool
	! command -v $tool-save >/dev/null || $tool-save >$tool 2>/dev/null || [ ! -s $tool ]
	[ "$(grep -c '^\*' $tool)" = "$(grep -c '^COMMIT' $tool)" ]
done
for u in ` + units + `; do
	if systemctl is-active --quiet $u; then : >$u; fi
done
ip rule show >rules
ip route show table 100 >routes 2>/dev/null || true
`,
		Restore: `plain() { sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//' $1; }
firewalld_rules() { nft list tables 2>/dev/null | grep -q ' firewalld$' || iptables-save 2>/dev/null | grep -q '^:IN_'; }
if [ -e ` + firewalldUnit + ` ] && ! systemctl is-active --quiet ` + firewalldUnit + `; then
	systemctl reset-failed ` + firewalldUnit + ` 2>/dev/null
	try systemctl start --job-mode=ignore-dependencies ` + firewalldUnit + `
	n=0
	until firewalld_rules || [ $n -ge 150 ]; do
		n=$((n + 1))
		sleep 0.1
	done
fi
wait=
case $(iptables-restore --help 2>&1) in *--wait*) wait=--wait=10 ;; esac
restore() {
	$1-save 2>/dev/null >now.$1
	[ "$(plain $1)" != "$(plain now.$1)" ] || return 0
	[ ! -s $1 ] || $1-restore $wait <$1 || return 1
	sed -n 's/^\*//p' now.$1 | while read -r t; do
		! grep -qxF "*$t" $1 || continue
		case $(iptables -V) in *nf_tables*)
			nft delete table $2 $t 2>/dev/null && continue ;;
		esac
		sed -n "/^\*$t\$/,/^COMMIT/{ /^\*/p; s/^\(:[A-Z]*\) [A-Z].*/\1 ACCEPT [0:0]/p; /^COMMIT/p; }" now.$1 | $1-restore $wait || return 1
	done
}
families() {
	! command -v iptables-restore >/dev/null || try restore iptables ip
	! command -v ip6tables-restore >/dev/null || [ ! -e /proc/net/if_inet6 ] || try restore ip6tables ip6
}
families
for u in ` + units + `; do
	if [ -e $u ]; then
		systemctl is-active --quiet $u || try systemctl start --job-mode=ignore-dependencies $u
	elif [ "$(systemctl show -p LoadState $u)" = LoadState=loaded ]; then
		try systemctl stop $u
	fi
done
families
if ! grep -q '^100:.*fwmark ` + divertMark + ` ' rules; then
	while ip rule del pref 100 ` + divertRule + ` 2>/dev/null; do :; done
fi
[ -s routes ] || ip route flush table 100 2>/dev/null
`,
	}
}

// Undo lets the daemons run what they ran: stopped the last one first where it
// did not run, a start that waits its turn included; started or reloaded the
// first one first where it did. A daemon that had not told what it loaded has not
// loaded what the change has brought.
func (s services) Undo() provision.Undo {
	return provision.Undo{
		Units: []string{"conntrackd.service", "haproxy.service", "keepalived.service"},
		Save: "for u in conntrackd haproxy keepalived; do\n" +
			"\tif systemctl is-active --quiet $u.service; then : >$u.active; fi\n" +
			"\tcat " + provision.LoadedDir + "/$u.service >$u.loaded 2>/dev/null || : >$u.loaded\n" +
			"\tcat " + provision.LoadedDir + "/$u.service.d >$u.started 2>/dev/null || : >$u.started\ndone\n",
		Restore: `for u in keepalived haproxy conntrackd; do
	[ -e $u.active ] || [ "$(systemctl show -p LoadState $u.service)" != LoadState=loaded ] || try systemctl stop $u.service
done
same() { cat ` + provision.LoadedDir + `/$1 2>/dev/null | cmp -s $2 -; }
settle() {
	if [ ! -e $1.active ]; then
		:
	elif ! systemctl is-active --quiet $1.service; then
		systemctl reset-failed $1.service 2>/dev/null
		try systemctl start $1.service
	elif ! same $1.service.d $1.started; then
		try systemctl restart $1.service
		[ $1 != conntrackd ] || ask
	elif ! same $1.service $1.loaded; then
		try systemctl $2 $1.service
		[ $1 != conntrackd ] || ask
	fi
	[ -s $1.loaded ] || rm -f ` + provision.LoadedDir + `/$1.service
	[ -s $1.started ] || rm -f ` + provision.LoadedDir + `/$1.service.d
}
ask() {
	n=0
	until conntrackd -n >/dev/null 2>&1 || [ $n -ge 20 ]; do
		n=$((n + 1))
		sleep 0.2
	done
}
settle conntrackd restart
settle haproxy reload
settle keepalived reload
`,
	}
}
