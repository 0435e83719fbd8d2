package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

var _ provision.ReadyChecker = verify{}

// look is one part of what is asked of a node besides its units and files.
type look struct {
	script string
	parse  func(string, provision.Facts) error
}

// never makes a parser of one that cannot fail.
func never(parse func(string, provision.Facts)) func(string, provision.Facts) error {
	return func(out string, f provision.Facts) error {
		parse(out, f)
		return nil
	}
}

// looks are what verify and the check before a node is touched have in common.
func (v verify) looks() []look {
	addrs, rules := interfaces{v.pair, v.pair.Nodes[0]}.Probe(), iptables{v.pair, v.pair.Nodes[0]}.Probe()
	return []look{
		{addrs.Script, addrs.Parse},
		{rules.Script, rules.Parse},
		{syncScript, parseSyncStats},
		{peersScript, parsePeers},
		{statScript(), parseStat},
		{drainProbe, never(parseDrain)},
		{heldProbe, never(parseHeld)},
		{vrrpProbe, never(parseVRRP)},
		{syncKindProbe, never(parseSyncKind)},
	}
}

// joined makes one probe of looks.
func joined(looks []look, files []string) provision.Probe {
	const mark = "@part"
	var b strings.Builder
	for _, l := range looks {
		b.WriteString("(\n" + strings.TrimRight(l.script, "\n") + "\n)\nprintf '\\n" + mark + "\\n'\n")
	}
	return provision.Probe{
		Units:  []string{"conntrackd.service", "haproxy.service", "keepalived.service"},
		Files:  files,
		Script: b.String(),
		Parse: func(out string, f provision.Facts) error {
			chunks := strings.Split(out, "\n"+mark+"\n")
			if len(chunks) != len(looks)+1 {
				return fmt.Errorf("%d parts instead of %d", len(chunks)-1, len(looks))
			}
			for i, l := range looks {
				if err := l.parse(chunks[i], f); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// syncKindProbe prints how conntrackd is configured to talk to its peer.
const syncKindProbe = "sed -n 's/^[[:space:]]*Mode[[:space:]]*\\([A-Z]*\\).*/\\1/p; s/^[[:space:]]*\\(UDP\\|Multicast\\)[[:space:]]*{.*/\\1/p' " + conntrackdConf + "\n"

func parseSyncKind(out string, f provision.Facts) {
	if w := strings.Fields(out); len(w) > 0 {
		f[provision.Key("sync", "kind")] = strings.Join(w, " ")
	}
}

// ReadyProbe looks at what a node needs to take over, without a ping.
func (v verify) ReadyProbe() provision.Probe {
	files := append(iptables{v.pair, v.pair.Nodes[0]}.Probe().Files, conntrackdConf, haproxyConf, keepalivedConf)
	return joined(v.looks(), files)
}

// ReadyWithin is a startup, what keepalived's scripts take to be content again, and
// two elections; in alarm mode, where nothing can be asked for, conntrackd tells of a
// connection once a minute.
func (v verify) ReadyWithin() time.Duration {
	within := 15*time.Second + 2*electionTime(v.pair.VRRP, v.pair.Nodes[1])
	if v.pair.StateSync.Mode == inventories.ModeAlarm {
		within += 65 * time.Second
	}
	return within.Round(time.Second)
}

// Ready judges whether the node would serve if its peer stopped now.
func (v verify) Ready(node string, nodes map[string]provision.Facts, held bool) []provision.Check {
	n, _ := v.pair.Node(node)
	f, peer := nodes[node], nodes[v.pair.Peer(node).Name]
	out := append(v.units(n, f), v.current(n, f)...)
	if held && f.Get("unit", "keepalived.service", "ActiveState") == "inactive" {
		// where it tracks no files, that is how a node is held
		out = slices.DeleteFunc(out, func(c provision.Check) bool { return c.Name == "keepalived runs" })
	}
	out = append(out, v.links(n, f)...)
	out = append(out, v.rules(n, f)...)
	out = append(out, v.electable(n, f, held), v.inSync(n, f, peer))
	return append(out, v.balances(n, f, peer)...)
}

// current checks that each daemon runs the configuration that is on disk.
func (v verify) current(n inventories.Node, f provision.Facts) []provision.Check {
	var out []provision.Check
	for unit, conf := range map[string]string{"conntrackd.service": conntrackdConf, "haproxy.service": haproxyConf, "keepalived.service": keepalivedConf} {
		if f.Get("unit", unit, "ActiveState") != "active" {
			continue
		}
		disk, _, _ := strings.Cut(f.Get("file", conf), " ")
		c := provision.Check{Name: strings.TrimSuffix(unit, ".service") + " is current", Node: n.Name,
			OK: disk != "" && f.Get("loaded", unit) == disk, Detail: "runs " + conf}
		if !c.OK {
			c.Detail, c.Hint = "does not run what "+conf+" says", "fwprov plan tells what is owed"
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b provision.Check) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// links checks the interfaces without which keepalived is in FAULT.
func (v verify) links(n inventories.Node, f provision.Facts) []provision.Check {
	names := []string{v.pair.Outside.Interface}
	for _, vlan := range v.pair.VLANs {
		names = append(names, vlan.Interface)
	}
	if v.pair.VRRP.Form == inventories.PerVLAN || len(v.pair.VRRP.Heartbeats) == 1 {
		names = append(names, v.pair.Sync.Interface)
	}
	var bad []string
	for _, name := range names {
		state, _, _ := strings.Cut(f.Get("link", name), " ")
		switch {
		case state == "":
			bad = append(bad, name+" is missing")
		case state != "up":
			bad = append(bad, name+" is "+state)
		case f.Get("carrier", name) == "":
			bad = append(bad, name+" has no carrier")
		}
	}
	c := provision.Check{Name: "interfaces", Node: n.Name, OK: len(bad) == 0, Detail: fmt.Sprintf("%d up with a carrier", len(names))}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(bad, ", "), "ip -br link on "+n.Name
	}
	return []provision.Check{c}
}

// electable checks that keepalived waits its turn, or has had it.
func (v verify) electable(n inventories.Node, f provision.Facts, held bool) provision.Check {
	c := provision.Check{Name: "vrrp", Node: n.Name, OK: true, Detail: "waits as standby"}
	if v.holdsAll(f) {
		c.Detail = "holds the VIPs"
	}
	detail, hint := drainedBy(n.Name, f)
	if held && f.Get("drain", "operator") == "" {
		c.Detail = "held"
		return c
	}
	if detail != "" {
		c.OK, c.Detail, c.Hint, c.Lasts = false, detail, hint, true
		return c
	}
	var bad []string
	for _, name := range f.Names("vrrp") {
		switch state := f.Get("vrrp", name); state {
		case "fault", "init":
			bad = append(bad, fmt.Sprintf("%s is in %s", name, strings.ToUpper(state)))
		}
	}
	if len(bad) > 0 {
		c.OK, c.Detail, c.Hint = false, strings.Join(bad, ", "), "journalctl -u keepalived on "+n.Name
	}
	return c
}

func (v verify) holdsAll(f provision.Facts) bool {
	return !slices.ContainsFunc(v.pair.VIPs(), func(vip inventories.VIP) bool { return !holds(f, vip) })
}

// inSync checks that the node knows the connections of its peer. Some come and go
// between the two looks.
func (v verify) inSync(n inventories.Node, f, peer provision.Facts) provision.Check {
	c := provision.Check{Name: "connection states", Node: n.Name, OK: true}
	ours, theirs := number(f.Get("sync", "external")), number(peer.Get("sync", "internal"))
	name := v.pair.Peer(n.Name).Name
	switch {
	case peer == nil || peer.Get("sync", "internal") == "":
		c.Detail = "nothing to be in sync with: conntrackd of " + name + " does not answer"
	case v.holdsAll(f):
		c.Detail = "the connections are its own"
	case f.Get("sync", "kind") != peer.Get("sync", "kind"):
		c.Detail = fmt.Sprintf("%s, while %s still has %s", f.Get("sync", "kind"), name, peer.Get("sync", "kind"))
	default:
		c.OK = ours+inFlight >= theirs*19/20
		c.Detail = fmt.Sprintf("knows %d of %d connections of %s", ours, theirs, name)
	}
	if !c.OK {
		c.Hint = "conntrackd -s on both nodes"
	}
	return c
}

// inFlight is how many connections may come up between the looks at two nodes.
const inFlight = 16

// balances checks that the node sees a server of every service of which its peer
// sees one.
func (v verify) balances(n inventories.Node, f, peer provision.Facts) []provision.Check {
	var out []provision.Check
	for _, s := range v.pair.Services {
		mine, theirs := 0, 0
		for _, srv := range s.Servers {
			mine += up(f, s, srv)
			theirs += up(peer, s, srv)
		}
		c := provision.Check{Name: "service " + s.Name, Node: n.Name, OK: mine > 0 || theirs == 0,
			Detail: strconv.Itoa(mine) + " of " + strconv.Itoa(len(s.Servers)) + " servers up"}
		if !c.OK {
			c.Detail += fmt.Sprintf(", while %s sees %d", v.pair.Peer(n.Name).Name, theirs)
			c.Hint = "journalctl -u haproxy on " + n.Name
		}
		out = append(out, c)
	}
	return out
}

func up(f provision.Facts, s inventories.Service, srv inventories.Server) int {
	if status := f.Get("server", backendName(s), srv.Name); status == "UP" || status == "no" {
		return 1
	}
	return 0
}
