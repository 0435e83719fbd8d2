package steps

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// verify changes nothing: it looks at the whole pair, from both nodes and from
// the machine fwprov runs on, and says whether it serves.
type verify struct {
	pair *inventories.Pair
}

var (
	_ provision.Verifier      = verify{}
	_ provision.LocalVerifier = verify{}
	_ provision.Settler       = verify{}
	_ provision.Noticer       = verify{}
)

func (verify) Name() string { return "verify" }

// Probe asks nothing: planning has nothing to do here.
func (verify) Probe() provision.Probe { return provision.Probe{} }

// Plan plans nothing.
func (verify) Plan(provision.Facts) ([]provision.Change, error) { return nil, nil }

// Notices tells what the owners of the gateway have to do, before the pair is
// there for the first time. Later verify sees whether it was done.
func (v verify) Notices(f provision.Facts) []string {
	if f.Get("unit", "keepalived.service", "ActiveState") == "active" {
		return nil
	}
	return []string{fmt.Sprintf("the Internet gateway %s needs the route: %s", v.pair.Outside.Gateway, v.route())}
}

// route is the line that the gateway's owners need, as iproute2 writes it.
func (v verify) route() string {
	return fmt.Sprintf("ip route add %s via %s", v.pair.Inside.Network, v.pair.Outside.VIP)
}

// Settle is how long the pair may take after a change: a startup, keepalived's scripts, two
// elections, conntrackd's greeting, and a server's way up.
func (v verify) Settle() time.Duration {
	advert := max(v.pair.VRRP.AdvertInterval, v.pair.VRRP.OutsideAdvertInterval)
	settle := 15*time.Second + 8*advert
	if v.pair.StateSync.Mode == inventories.ModeAlarm {
		settle = max(settle, 45*time.Second) // conntrackd tells what has not changed every 15 s
	}
	for _, s := range v.pair.Services {
		if s.Check != nil {
			settle = max(settle, 10*time.Second+time.Duration(s.Check.Rise)*s.Check.Interval)
		}
	}
	return settle
}

// VerifyProbe looks at addresses, rules, units, peers and servers, and watches what
// goes on between the nodes.
func (v verify) VerifyProbe() provision.Probe {
	looks := append(v.nodeLooks(), v.looks()...)
	looks = append(append(looks, v.liveLook()), v.lateLooks()...)
	rules := iptables{v.pair, v.pair.Nodes[0]}.Probe()
	probe := joined(looks, append(rules.Files, conntrackdConf, haproxyConf, keepalivedConf))
	probe.Wait = v.settleScript()
	probe.Units = append(append(probe.Units, rules.Units...), firewalldUnit, nftablesUnit, peerSocket)
	return probe
}

// parseSyncStats reads how many packets conntrackd has sent to and received
// from its peer, "12 Pckts sent  12 Pckts recv", what went wrong with them, and how
// many connections of this node and of its peer it knows: "current active
// connections" of the internal and then of the external cache.
func parseSyncStats(out string, f provision.Facts) error { return parseSyncAs("sync")(out, f) }

// parseSyncAs makes facts of that kind of it.
func parseSyncAs(kind string) func(string, provision.Facts) error {
	return func(out string, f provision.Facts) error {
		for _, line := range strings.Split(out, "\n") {
			w := strings.Fields(line)
			if count, ok := strings.CutPrefix(strings.Join(w, " "), "current active connections: "); ok && isCount(count) {
				cache := "internal"
				if f.Get(kind, cache) != "" {
					cache = "external"
				}
				f[provision.Key(kind, cache)] = count
			}
			for i := 0; i+2 < len(w); i++ {
				switch {
				case !isCount(w[i]):
				case w[i+1] == "Pckts" || w[i+1] == "Error":
					f[provision.Key(kind, strings.ToLower(w[i+1]), w[i+2])] = w[i]
				case (w[i+1] == "Malformed" || w[i+1] == "Lost") && w[i+2] == "msgs":
					f[provision.Key(kind, strings.ToLower(w[i+1]))] = w[i]
				}
			}
		}
		return nil
	}
}

// peersScript prints the connections of HAProxy with its peer.
var peersScript = fmt.Sprintf("ss -Htn state established '( sport = :%[1]d or dport = :%[1]d )'\n", peersPort)

// parsePeers reads ss: one line a connection, the peer's address last but for
// its port.
func parsePeers(out string, f provision.Facts) error {
	for _, line := range strings.Split(out, "\n") {
		if w := strings.Fields(line); len(w) >= 4 {
			host, _, _ := strings.Cut(w[len(w)-1], ":")
			f[provision.Key("peers", host)] = "established"
		}
	}
	return nil
}

// statScript asks HAProxy's statistics, tables and peers on the loopback port of its
// configuration. There is no client for a UNIX socket on every machine; bash
// opens a TCP connection by itself.
func statScript() string {
	return fmt.Sprintf("command -v bash >/dev/null && timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d && echo \"show stat; show table; show peers\" >&3 && cat <&3'\n", statPort)
}

// parseStat reads HAProxy's CSV: backend, server, ..., status in column 18.
func parseStat(out string, f provision.Facts) error {
	for _, line := range strings.Split(out, "\n") {
		c := strings.Split(line, ",")
		if len(c) > 17 && !strings.HasPrefix(line, "#") {
			status, _, _ := strings.Cut(c[17], " ")
			f[provision.Key("server", c[0], c[1])] = status
		}
	}
	parseTables(out, f)
	return nil
}

// Verify judges both nodes together.
func (v verify) Verify(nodes map[string]provision.Facts) []provision.Check {
	out := append(v.holders(nodes), v.clocks(nodes)...)
	out = append(out, v.tables(nodes)...)
	for _, n := range v.pair.Nodes {
		f, peer := nodes[n.Name], nodes[v.pair.Peer(n.Name).Name]
		if f == nil {
			continue
		}
		out = append(out, v.units(n, f)...)
		out = append(out, v.stopped(n, f), v.enabled(n, f))
		out = append(out, v.answers(n, f)...)
		out = append(out, v.current(n, f)...)
		out = append(out, v.files(n, f), v.electable(n, f, false))
		out = append(out, v.adverts(n, f, peer)...)
		out = append(out, v.cables(n, f)...)
		out = append(out, v.rules(n, f)...)
		out = append(out, v.others(n, f))
		out = append(out, v.denials(n, f)...)
		out = append(out, v.room(n, f)...)
		out = append(out, v.pings(n, f)...)
		out = append(out, v.unique(n, f, peer)...)
		out = append(out, v.sync(n, f, peer)...)
		out = append(out, v.syncs(n, f, peer)...)
		out = append(out, v.servers(n, f)...)
	}
	return explained(out)
}

// holders checks that exactly one node has the VIPs, and all of them.
func (v verify) holders(nodes map[string]provision.Facts) []provision.Check {
	var all, some []string
	vips := v.pair.VIPs()
	for _, n := range v.pair.Nodes {
		count := 0
		for _, vip := range vips {
			if holds(nodes[n.Name], vip) {
				count++
			}
		}
		switch {
		case count == len(vips):
			all = append(all, n.Name)
		case count > 0:
			some = append(some, fmt.Sprintf("%s has %d of %d", n.Name, count, len(vips)))
		}
	}
	c := provision.Check{Name: "one holder", Down: true, OK: len(all) == 1 && len(some) == 0}
	switch {
	case c.OK:
		c.Detail = fmt.Sprintf("%s holds all %d VIPs", all[0], len(vips))
	case len(all) > 1:
		c.Detail = "split brain: " + strings.Join(all, " and ") + " both hold all VIPs"
		c.Hint = "VRRP does not get through between them: look for protocol 112 with tcpdump on the heartbeat interfaces of both"
	case len(all)+len(some) == 0:
		c.Detail, c.Hint = "no node holds a VIP", "journalctl -u keepalived on both nodes"
	default:
		c.Detail, c.Hint = strings.Join(append(some, all...), ", "), "journalctl -u keepalived on both nodes"
	}
	return []provision.Check{c}
}

func (v verify) units(n inventories.Node, f provision.Facts) []provision.Check {
	var out []provision.Check
	for _, unit := range []string{"conntrackd.service", "haproxy.service", "keepalived.service"} {
		if unit == "haproxy.service" && len(v.pair.Services) == 0 {
			continue
		}
		state := f.Get("unit", unit, "ActiveState")
		c := provision.Check{Name: strings.TrimSuffix(unit, ".service") + " runs", Node: n.Name, OK: state == "active", Detail: state}
		if !c.OK {
			c.Hint = "systemctl status " + unit + " on " + n.Name
		}
		out = append(out, c)
	}
	return out
}

// rules checks that what the kernel filters and diverts by is what was loaded.
func (v verify) rules(n inventories.Node, f provision.Facts) []provision.Check {
	var out []provision.Check
	for _, family := range []string{"v4", "v6"} {
		if family == "v6" && !hasIPv6(f) {
			continue
		}
		state := f.Get("rules", family)
		c := provision.Check{Name: "rules " + family, Node: n.Name, OK: len(state) == 64, Detail: "as loaded from the ruleset file"}
		if !c.OK {
			c.Detail = "not the ruleset of the inventory"
			c.Hint = "fwprov plan shows what differs"
		}
		out = append(out, c)
	}
	if v.pair.Transparent() {
		ok := f.Get("divert", "rule") == "yes" && f.Get("divert", "route") == "yes"
		c := provision.Check{Name: "table 100", Node: n.Name, OK: ok, Detail: "fwmark rule and local route are there"}
		if !ok {
			c.Detail = "the fwmark rule or the local route of table 100 is missing: transparent services do not answer"
			c.Hint = "systemctl restart fwprov-divert on " + n.Name
		}
		out = append(out, c)
	}
	return out
}

func (v verify) pings(n inventories.Node, f provision.Facts) []provision.Check {
	if f.Get("ping", "noping") != "" {
		return []provision.Check{{Name: "ping", Node: n.Name, Detail: "there is no ping on this node", Hint: "install iputils-ping (apt) or iputils (dnf)"}}
	}
	var out []provision.Check
	var missing []string
	vips := v.pair.VIPs()
	for _, vip := range vips {
		if f.Get("ping", vip.Addr.String()) == "" {
			missing = append(missing, vip.Addr.String())
		}
	}
	c := provision.Check{Name: "VIPs answer", Node: n.Name, OK: len(missing) == 0, Down: holds(f, vips[0]), Detail: fmt.Sprintf("all %d answer a ping", len(vips))}
	if !c.OK {
		c.Detail = "no answer from " + strings.Join(missing, ", ")
		c.Hint = "ip -br addr on both nodes; arping -I INTERFACE ADDRESS from " + n.Name
	}
	out = append(out, c)
	g := v.pair.Outside.Gateway.String()
	c = provision.Check{Name: "gateway answers", Node: n.Name, OK: f.Get("ping", g) != "", Detail: g}
	if !c.OK {
		c.Detail, c.Hint = g+" does not answer a ping", "ip neigh show "+g+" on "+n.Name
	}
	out = append(out, c)
	if len(v.pair.VLANs) == 0 || !c.OK || !holds(f, v.pair.VIPs()[0]) {
		return out
	}
	c = provision.Check{Name: "gateway's route", Node: n.Name, OK: f.Get("ping", "back") != "", Detail: v.pair.Inside.Network.String() + " by the outside VIP"}
	if !c.OK {
		c.Detail = "the gateway does not send " + v.pair.Inside.Network.String() + " to the outside VIP"
		c.Hint = "on " + g + ": " + v.route()
	}
	return append(out, c)
}

// fewLost is how many of the pings to the peer may be lost by chance.
const fewLost = 2

// sync checks that the node hears its peer: connection states and stick tables.
// A conntrackd in alarm mode says nothing while it knows no connection.
func (v verify) sync(n inventories.Node, f, peer provision.Facts) []provision.Check {
	recv := number(f.Get("sync", "pckts", "recv"))
	silent := v.pair.StateSync.Mode == inventories.ModeAlarm && number(peer.Get("sync", "internal")) == 0
	c := provision.Check{Name: "connection states", Node: n.Name, OK: recv > 0 || silent && f.Get("sync", "pckts", "sent") != "",
		Detail: fmt.Sprintf("%d messages received from the peer", recv)}
	if !c.OK {
		c.Detail = "conntrackd has heard nothing from its peer"
		c.Hint = "conntrackd -s network, and conntrack -E for the events of the kernel, on " + n.Name
	}
	out := []provision.Check{c}
	addr := v.pair.Peer(n.Name).Sync
	if f.Get("ping", "noping") == "" {
		answers := number(f.Get("ping", "sync"))
		c := provision.Check{Name: "sync network", Node: n.Name, OK: answers >= syncPings-fewLost, Detail: addr.String() + " answers"}
		if !c.OK {
			c.Detail = fmt.Sprintf("%s answered %d of %d pings", addr, answers, syncPings)
			c.Hint = "ip -br link show " + v.pair.Sync.Interface + " on both nodes; ip -s link for errors of the cable"
		}
		out = append(out, c)
	}
	if len(v.pair.Services) > 0 {
		// Before 1.9 HAProxy does not tell of its peers.
		session := f.Get("session", addr.String())
		c := provision.Check{Name: "haproxy peers", Node: n.Name, OK: f.Get("peers", addr.String()) != "" && (session == "" || session == "ESTA"), Detail: "established with " + addr.String()}
		if !c.OK {
			c.Detail = "no session with " + addr.String()
			c.Hint = fmt.Sprintf("ss -tn '( sport = :%[1]d or dport = :%[1]d )' on %[2]s, journalctl -u haproxy", peersPort, n.Name)
		}
		out = append(out, c)
	}
	return out
}

// servers checks that each service has its servers up. Without one up the
// service is down.
func (v verify) servers(n inventories.Node, f provision.Facts) []provision.Check {
	var out []provision.Check
	serving := holds(f, v.pair.VIPs()[0])
	for _, s := range v.pair.Services {
		var down []string
		for _, srv := range s.Servers {
			if status := f.Get("server", backendName(s), srv.Name); status != "UP" && status != "no" {
				down = append(down, srv.Name+" is "+orUnknown(status))
			}
		}
		c := provision.Check{Name: "service " + s.Name, Node: n.Name, OK: len(down) == 0, Down: len(down) == len(s.Servers) && serving,
			Detail: fmt.Sprintf("%d of %d servers up", len(s.Servers)-len(down), len(s.Servers))}
		if !c.OK {
			c.Detail += ": " + strings.Join(down, ", ")
			c.Hint = "journalctl -u haproxy on " + n.Name + " tells why a check failed"
		}
		out = append(out, c)
	}
	return out
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// VerifyLocal pings the VIPs from the machine fwprov runs on, where it has a
// route to them.
func (v verify) VerifyLocal(ctx context.Context) []provision.Check {
	return explained(pingLocal(ctx, v.pair))
}
