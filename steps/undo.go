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

// Undo takes away what the inventory adds and restores what the manifest of
// before lists. Other addresses, the VIPs among them, are keepalived's affair.
func (s interfaces) Undo() provision.Undo {
	var restore strings.Builder
	restore.WriteString("gone() {\n\tcut -f1,2 manifest | grep -qxF \"interface\t$1\" && return\n" +
		"\tif ! grep -qxF \"$1\" links; then\n\t\t[ ! -e \"/sys/class/net/$1\" ] || ip link del dev \"$1\"\n" +
		"\telif ! grep -qF \" $1 $2 \" addrs; then\n\t\tip addr del \"$2\" dev \"$1\" 2>/dev/null || true\n\tfi\n}\n")
	for _, v := range s.pair.VLANs {
		restore.WriteString("gone " + provision.Quote(v.Interface) + " " + provision.Quote(cidr(v.Addresses[s.node.Name], v.Network)) + "\n")
	}
	restore.WriteString(`while IFS='	' read -r kind name step how; do
	[ "$kind" = interface ] || continue
	addr=${how#* }
	if [ ! -e "/sys/class/net/$name" ] && [ "${how%% *}" = created ]; then
		ip link add link "${name%.*}" name "$name" type vlan id "${name##*.}"
	fi
	ip link set dev "$name" up
	ip addr replace "$addr" brd + dev "$name"
done <manifest
if command -v nmcli >/dev/null && systemctl is-active --quiet NetworkManager.service; then nmcli connection reload; fi
if command -v networkctl >/dev/null && systemctl is-active --quiet systemd-networkd.service; then networkctl reload || true; fi
`)
	return provision.Undo{
		Save: "cat " + provision.Manifest + " >manifest 2>/dev/null || : >manifest\nls /sys/class/net >links\n" +
			"ip -4 -o addr show | while read -r _ dev _ addr _; do echo \" $dev $addr \"; done >addrs\n",
		Restore: restore.String(),
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
		Save: "grep -sH '' " + strings.Join(paths, " ") + " /proc/sys/net/ipv4/conf/*/" + perInterface + " >values || true\n",
		Restore: "while IFS=: read -r path value; do\n" +
			"\t[ -w \"$path\" ] || continue\n\tread -r now <\"$path\" || true\n\t[ \"$now\" = \"$value\" ] || echo \"$value\" >\"$path\"\ndone <values\n",
	}
}

// Undo keeps the copy of the fail-over script.
func (s conntrackd) Undo() provision.Undo {
	return provision.Undo{
		Save:    "[ ! -e " + copiedScript + " ] || cp -a " + copiedScript + " script\n",
		Restore: "if [ -e script ]; then cp -a script " + copiedScript + "; else rm -f " + copiedScript + "; fi\n",
	}
}

// Undo keeps the kernel's tables, all of them, and what was recorded of them.
// A table that was not there is emptied.
func (s iptables) Undo() provision.Undo {
	return provision.Undo{
		Save: `for t in mangle filter nat raw security; do
	for tool in iptables ip6tables; do
		$tool-save -t $t >$tool.$t 2>/dev/null || true
		grep -q '^COMMIT' $tool.$t || printf '*%s\nCOMMIT\n' $t >$tool.$t
		grep -q '^:' $tool.$t || : >$tool.$t.empty
	done
done
for f in v4 v6; do
	[ ! -e ` + recordPrefix + `$f.loaded ] || cp -a ` + recordPrefix + `$f.loaded .
done
ip rule show >rules
ip route show table 100 >routes 2>/dev/null || true
`,
		Restore: `saved() { $1-save -t $2 2>/dev/null | sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//'; }
bad=
for t in mangle filter nat raw security; do
	for tool in iptables ip6tables; do
		command -v $tool-restore >/dev/null || continue
		was=$(sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//' $tool.$t)
		now=$(saved $tool $t)
		[ "$was" != "$now" ] || continue
		[ -n "$now" ] || [ ! -e $tool.$t.empty ] || continue
		$tool-restore <$tool.$t || bad="$bad $tool:$t"
	done
done
for f in v4 v6; do
	if [ -e $f.loaded ]; then cp -a $f.loaded ` + recordPrefix + `$f.loaded; else rm -f ` + recordPrefix + `$f.loaded; fi
done
if ! grep -q '^100:.*fwmark ` + divertMark + ` ' rules; then
	while ip rule del pref 100 ` + divertRule + ` 2>/dev/null; do :; done
fi
[ -s routes ] || ip route flush table 100 2>/dev/null || true
[ -z "$bad" ] || { echo "rules not restored:$bad" >&2; exit 1; }
`,
	}
}

// Undo lets the daemons run what they ran: stopped the last one first where it
// did not run, started or reloaded the first one first where it did.
func (s services) Undo() provision.Undo {
	return provision.Undo{
		Units: []string{"conntrackd.service", "haproxy.service", "keepalived.service"},
		Save: "for u in conntrackd haproxy keepalived; do\n" +
			"\tif systemctl is-active --quiet $u.service; then : >$u.active; fi\ndone\n",
		Restore: `bad=
for u in keepalived haproxy conntrackd; do
	[ -e $u.active ] || ! systemctl is-active --quiet $u.service || systemctl stop $u.service || bad="$bad $u"
done
settle() {
	[ -e $1.active ] || return 0
	if ! systemctl is-active --quiet $1.service; then
		systemctl reset-failed $1.service 2>/dev/null || true
		systemctl start $1.service || bad="$bad $1"
	elif [ "$(cut -d ' ' -f 1 ` + provision.LoadedDir + `/$1.service)" != "$(sha256sum <$2 | cut -d ' ' -f 1)" ]; then
		systemctl $3 $1.service || bad="$bad $1"
	fi
}
settle conntrackd ` + conntrackdConf + ` restart
settle haproxy ` + haproxyConf + ` reload
settle keepalived ` + keepalivedConf + ` reload
[ -z "$bad" ] || { echo "not as before:$bad" >&2; exit 1; }
`,
	}
}
