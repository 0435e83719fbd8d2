package steps

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// What verify looks at on each node by itself, besides what the check before a
// node is touched looks at.

// nodeLooks come before the live look.
func (v verify) nodeLooks() []look {
	return []look{
		{clockScript, parseClock("first")},
		{stoppedScript, never(parseStopped)},
		{othersScript, never(parseOthers)},
		{roomScript, never(parseRoom)},
		{denialScript, never(parseDenials)},
		{macScript, never(parseMACs)},
	}
}

// lateLooks come after it: counters for the second time, and the clock as late as can
// be.
func (v verify) lateLooks() []look {
	return []look{
		{syncScript, parseSyncAs("later")},
		{clockScript, parseClock("last")},
	}
}

// syncScript asks conntrackd, which may hang.
const syncScript = "timeout 3 conntrackd -s\n"

const clockScript = "date +%s.%N\n"

// parseClock makes a fact of a time, in microseconds since 1970.
func parseClock(which string) func(string, provision.Facts) error {
	return func(out string, f provision.Facts) error {
		seconds, fraction, _ := strings.Cut(strings.TrimSpace(out), ".")
		s, err := strconv.ParseUint(seconds, 10, 40)
		nano, err2 := strconv.ParseUint(fraction, 10, 30)
		if err == nil && err2 == nil && len(fraction) == 9 {
			f[provision.Key("time", which)] = strconv.FormatUint(s*1e6+nano/1000, 10)
		}
		return nil
	}
}

// stoppedScript names the daemons of which a process is stopped: it takes
// connections and does nothing with them. The states are read without a process.
const stoppedScript = `for u in conntrackd haproxy keepalived; do
	for f in /sys/fs/cgroup/system.slice/$u.service/cgroup.procs /sys/fs/cgroup/systemd/system.slice/$u.service/cgroup.procs; do
		[ -r $f ] || continue
		while read -r p; do
			read -r stat </proc/$p/stat || continue
			case ${stat##*) } in [Tt]*) echo "stopped $u.service $p" ;; esac
		done <$f
	done
done
`

func parseStopped(out string, f provision.Facts) {
	for _, line := range strings.Split(out, "\n") {
		w := strings.Fields(line)
		if len(w) == 3 && w[0] == "stopped" && slices.Contains(daemonUnits, w[1]) && isCount(w[2]) {
			f[provision.Key("stopped", w[1])] = w[2]
		}
	}
}

var daemonUnits = []string{"conntrackd.service", "haproxy.service", "keepalived.service"}

// othersScript tells of tables of firewalld's.
const othersScript = "nft list tables | grep -q ' firewalld$' && echo table\n"

func parseOthers(out string, f provision.Facts) {
	if strings.TrimSpace(out) == "table" {
		f[provision.Key("firewalld", "table")] = "yes"
	}
}

// roomScript tells how full the table of connections and the disks are.
//
// A sysctl is read with cat: dash reads byte by byte, and gets the first digit.
const roomScript = `set -- $(cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max)
echo "conntrack count $1"
echo "conntrack max $2"
room() { sed -n "s/^.* \([0-9][0-9]*\)  *[0-9-][0-9]*%\{0,1\}  *\(\/.*\)$/$1 \1 \2/p"; }
df -P /etc /var/lib /var/log /run /tmp | room kbytes
df -Pi /etc /var/lib /var/log /run /tmp | grep -v ' 0  *0  *0 ' | room inodes
`

func parseRoom(out string, f provision.Facts) {
	for _, line := range strings.Split(out, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch first, second, ok := strings.Cut(rest, " "); {
		case !ok:
		case kind == "conntrack" && (first == "count" || first == "max") && isCount(second):
			f[provision.Key("conntrack", first)] = second
		case (kind == "kbytes" || kind == "inodes") && isCount(first) && strings.HasPrefix(second, "/"):
			f[provision.Key("free", kind, second)] = first
		}
	}
}

// denialScript prints when the daemons were started, and what SELinux has denied
// them lately. Without SELinux it prints nothing.
const denialScript = `[ -e /sys/fs/selinux/enforce ] || exit 0
for u in conntrackd haproxy keepalived; do
	at=$(stat -c %Y ` + provision.LoadedDir + `/$u.service) && echo "start $u $at"
done
if [ -r /var/log/audit/audit.log ]; then
	tail -c 4000000 /var/log/audit/audit.log
else
	journalctl -q --no-pager -o cat -n 2000 _TRANSPORT=audit
fi | grep 'avc: *denied' | grep -v 'permissive=1' | grep -e ':conntrackd_t' -e ':haproxy_t' -e ':keepalived_' | tail -n 20 | cut -c 1-400
`

// parseDenials keeps, for each daemon, the last denial since it was started.
func parseDenials(out string, f provision.Facts) {
	started := map[string]int64{}
	for _, line := range strings.Split(out, "\n") {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "start" && isCount(w[2]) {
			started[w[1]], _ = strconv.ParseInt(w[2], 10, 64)
		}
		_, context, _ := strings.Cut(line, "scontext=")
		_, at, _ := strings.Cut(line, "msg=audit(")
		at, _, _ = strings.Cut(at, ".")
		when, err := strconv.ParseInt(at, 10, 64)
		_, what, ok := strings.Cut(line, "denied")
		if err != nil || !ok {
			continue
		}
		for unit, since := range started {
			if strings.Contains(context, ":"+unit+"_") && when >= since {
				f[provision.Key("denied", unit)] = strings.TrimSpace(strings.Join(strings.Fields(what), " "))
			}
		}
	}
}

const macScript = "ip -br link show\n"

func parseMACs(out string, f provision.Facts) {
	for _, line := range strings.Split(out, "\n") {
		if w := strings.Fields(line); len(w) >= 3 && isMAC(w[2]) {
			name, _, _ := strings.Cut(w[0], "@")
			f[provision.Key("mac", name)] = w[2]
		}
	}
}

func isMAC(s string) bool {
	mac, err := net.ParseMAC(s)
	return err == nil && len(mac) == 6
}

// parseNeigh reads "192.168.1.10 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE". Only
// what is in use counts: the pings have seen to that.
func parseNeigh(w []string, f provision.Facts) {
	inUse := []string{"REACHABLE", "DELAY", "PROBE"}
	if w[1] == "dev" && w[3] == "lladdr" && isMAC(w[4]) && slices.Contains(inUse, w[len(w)-1]) {
		f[provision.Key("neigh", w[0])] = w[2] + " " + w[4]
	}
}

// enabled checks that all that is needed starts at boot.
func (v verify) enabled(n inventories.Node, f provision.Facts) provision.Check {
	units := []string{"conntrackd.service", "keepalived.service"}
	if len(v.pair.Services) > 0 {
		units = append(units, "haproxy.service")
	}
	if v.pair.Transparent() {
		units = append(units, divertUnit)
	}
	if (keepalived{v.pair, n}).watched() {
		units = append(units, peerSocket)
	}
	var bad []string
	for _, u := range units {
		if state := f.Get("unit", u, "UnitFileState"); state != "enabled" {
			bad = append(bad, u+" is "+orUnknown(state))
		}
	}
	if !slices.ContainsFunc([]string{"netfilter-persistent.service", "iptables.service"}, func(u string) bool { return f.Get("unit", u, "UnitFileState") == "enabled" }) {
		bad = append(bad, "nothing loads the rules")
	}
	c := provision.Check{Name: "starts at boot", Node: n.Name, OK: len(bad) == 0, Detail: "all units are enabled"}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "systemctl is-enabled "+strings.Join(units, " ")+"; fwprov apply enables them"
	}
	return c
}

// answers checks that the peer can ask what the node could do.
func (v verify) answers(n inventories.Node, f provision.Facts) []provision.Check {
	if !(keepalived{v.pair, n}).watched() {
		return nil
	}
	c := provision.Check{Name: "answers the peer", Node: n.Name, OK: f.Get("unit", peerSocket, "ActiveState") == "active", Detail: peerSocket + " listens"}
	if !c.OK {
		c.Detail, c.Hint = peerSocket+" is "+orUnknown(f.Get("unit", peerSocket, "ActiveState")), "systemctl status "+peerSocket+" on "+n.Name
	}
	return []provision.Check{c}
}

// files checks that what was written is there as it was written, and that systemd
// and the kernel have what is there.
func (v verify) files(n inventories.Node, f provision.Facts) provision.Check {
	var bad []string
	paths := f.Names("managed", "file")
	for _, path := range paths {
		_, written, _ := strings.Cut(f.Get("managed", "file", path), " ")
		state := f.Get("file", path)
		have, _, _ := strings.Cut(state, " ")
		switch {
		case state == "":
			bad = append(bad, path+" is missing")
		case have != written:
			bad = append(bad, path+" was changed by hand")
		}
		for _, family := range []string{"v4", "v6"} {
			loaded := f.Get("rules", family)
			if slices.Contains([]string{rulesPathIn(true, family), rulesPathIn(false, family)}, path) && isHash(loaded) && have == written && loaded != have {
				bad = append(bad, path+" is not what was loaded")
			}
		}
	}
	for _, u := range daemonUnits {
		if f.Get("unit", u, "NeedDaemonReload") == "yes" {
			bad = append(bad, "systemd has not read the unit of "+u+" again")
		}
	}
	c := provision.Check{Name: "files", Node: n.Name, OK: len(bad) == 0, Detail: fmt.Sprintf("%d as applied", len(paths))}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "fwprov plan shows what differs"
	}
	return c
}

// stopped checks that the daemons that run do something.
func (v verify) stopped(n inventories.Node, f provision.Facts) provision.Check {
	var bad []string
	for _, u := range f.Names("stopped") {
		bad = append(bad, fmt.Sprintf("%s is stopped (process %s)", strings.TrimSuffix(u, ".service"), f.Get("stopped", u)))
	}
	if f.Get("unit", "conntrackd.service", "ActiveState") == "active" && f.Get("sync", "internal") == "" && f.Get("stopped", "conntrackd.service") == "" {
		bad = append(bad, "conntrackd does not answer")
	}
	if len(v.pair.Services) > 0 && f.Get("unit", "haproxy.service", "ActiveState") == "active" && len(f.Names("server")) == 0 && f.Get("stopped", "haproxy.service") == "" {
		bad = append(bad, "haproxy does not answer")
	}
	c := provision.Check{Name: "daemons answer", Node: n.Name, OK: len(bad) == 0, Detail: "none is stopped"}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "systemctl status conntrackd haproxy keepalived on "+n.Name+"; systemctl restart of the one that hangs"
	}
	return c
}

// others checks that nothing else rules over packets.
func (v verify) others(n inventories.Node, f provision.Facts) provision.Check {
	var bad []string
	load := f.Get("unit", firewalldUnit, "LoadState")
	switch active, _ := unitKeys(firewalldUnit); {
	case f[active] != "" && f[active] != "inactive" && f[active] != "failed":
		bad = append(bad, "firewalld runs")
	case load != "" && load != "masked" && load != "not-found":
		bad = append(bad, "firewalld is not masked")
	}
	if f.Get("firewalld", "table") != "" {
		bad = append(bad, "a table of firewalld is in the kernel")
	}
	if f.Get("unit", nftablesUnit, "UnitFileState") == "enabled" {
		bad = append(bad, "nftables.service is enabled")
	}
	c := provision.Check{Name: "other firewalls", Node: n.Name, OK: len(bad) == 0, Detail: "none"}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "fwprov plan; nft list tables on "+n.Name
	}
	return c
}

// cables checks every interface of the inventory, the sync network's too.
func (v verify) cables(n inventories.Node, f provision.Facts) []provision.Check {
	checks := v.links(n, f)
	name := v.pair.Sync.Interface
	if state, _, _ := strings.Cut(f.Get("link", name), " "); checks[0].OK && (state != "up" || f.Get("carrier", name) == "") {
		checks[0] = provision.Check{Name: checks[0].Name, Node: n.Name, Detail: name + " is down or has no carrier", Hint: "ip -br link on " + n.Name}
	}
	return checks
}

// Below these a disk is as good as full: 4 MB, 100 files.
const (
	fewKBytes = 4 << 10
	fewInodes = 100
)

// room checks that there is room in the table of connections and on the disks.
func (v verify) room(n inventories.Node, f provision.Facts) []provision.Check {
	count, limit := number(f.Get("conntrack", "count")), number(f.Get("conntrack", "max"))
	var out []provision.Check
	if limit > 0 {
		c := provision.Check{Name: "connection table", Node: n.Name, OK: count < limit-limit/20, Detail: fmt.Sprintf("%d of %d", count, limit)}
		if !c.OK {
			c.Detail += " connections: it is full"
			c.Hint = "conntrack -L on " + n.Name + "; sysctl net.netfilter.nf_conntrack_max"
		}
		out = append(out, c)
	}
	var bad []string
	for _, kind := range []string{"kbytes", "inodes"} {
		few := map[string]int{"kbytes": fewKBytes, "inodes": fewInodes}[kind]
		for _, at := range f.Names("free", kind) {
			if number(f.Get("free", kind, at)) < few {
				bad = append(bad, fmt.Sprintf("%s %s left on %s", f.Get("free", kind, at), kind, at))
			}
		}
	}
	c := provision.Check{Name: "disks", Node: n.Name, OK: len(bad) == 0, Detail: "have room"}
	if !c.OK {
		c.Detail, c.Hint = "full: "+strings.Join(bad, ", "), "df -h; df -i; journalctl --disk-usage on "+n.Name
	}
	return append(out, c)
}

// denials checks that SELinux lets the daemons work. Without it there is no check.
func (v verify) denials(n inventories.Node, f provision.Facts) []provision.Check {
	var out []provision.Check
	for _, unit := range f.Names("denied") {
		out = append(out, provision.Check{Name: "SELinux", Node: n.Name, Detail: unit + " was denied " + f.Get("denied", unit),
			Hint: "ausearch -m avc -ts boot on " + n.Name + "; ls -Z of what it names; restorecon"})
	}
	return out
}

// unique checks that no third machine has a VIP: the holder has asked who else has
// it, and the standby sees which machine answers for it. Any interface of the
// holder may: those of a bond can answer under several.
func (v verify) unique(n inventories.Node, f, peer provision.Facts) []provision.Check {
	var bad []string
	var known int
	macs := map[string]bool{} // of the peer
	for _, name := range peer.Names("mac") {
		macs[peer.Get("mac", name)] = true
	}
	for _, vip := range v.pair.VIPs() {
		addr := vip.Addr.String()
		dev, mac, _ := strings.Cut(f.Get("neigh", addr), " ")
		switch asked := f.Get("vip", addr); {
		case asked == "twice" && holds(f, vip):
			bad = append(bad, addr+" is answered for by another machine too")
		case asked == "unique" && holds(f, vip):
			known++
		case dev != vip.Interface || holds(f, vip) || !holds(peer, vip):
		case macs[mac]:
			known++
		default:
			bad = append(bad, fmt.Sprintf("%s is answered for by %s, which is not %s", addr, mac, v.pair.Peer(n.Name).Name))
		}
	}
	if len(bad) == 0 && known == 0 {
		return nil
	}
	c := provision.Check{Name: "no third machine", Node: n.Name, OK: len(bad) == 0, Detail: fmt.Sprintf("nobody else has %d of the VIPs", known)}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "ip neigh show on "+n.Name+"; look for the address in the switches' tables"
	}
	return []provision.Check{c}
}
