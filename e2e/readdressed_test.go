package e2e

import (
	"bufio"
	"encoding/json"
	"strings"
	"time"

	"fwprov/provision"
	"fwprov/steps"
)

// readdressed gives a pair that carries traffic other VIPs, all of them: who
// holds those of before is the active node, and is changed last.
func (r *rig) readdressed() {
	// Without VLANs a pair with another outside VIP has none of those any more that
	// are in force.
	vipOnly, _, _ := strings.Cut(trafficInventory, "\nvlan ")
	r.writeSync([]byte(vipOnly))
	r.apply()
	for _, c := range []struct {
		what, from, to string
		forget         bool
		moves          bool   // the VIPs move to the other node
		cost, together string // of keepalived on the active node
		none           time.Duration
	}{
		{what: "in place", from: `"192.168.1.10"`, to: `"192.168.1.11"`, none: 200 * time.Millisecond},
		{what: "with a restart", from: `"192.168.1.11"`, to: `"192.168.1.12"`, forget: true, moves: true, cost: "the VIPs move to ", none: 500 * time.Millisecond},
		{what: "with other settings", from: "\"192.168.1.12\"\n}", to: "\"192.168.1.10\"\n}\n\nvrrp { heartbeat = [\"sync\"] }",
			cost: "both nodes are changed together", together: "interface or router id", none: 1300 * time.Millisecond},
	} {
		active, before := r.holder(5*time.Second), r.pair.Outside.VIP
		standby := r.pair.Peer(active).Name
		if c.forget {
			r.forget("keepalived")
		}
		r.edit(c.from, c.to)
		r.announced(c.what, active, c.cost, c.together)
		r.knowsItself(active)
		v := r.vigil(before)
		out, errs, code := r.run(nil, "apply", r.file, "--json")
		if code != 0 {
			r.t.Fatalf("%s: exit %d\n%s\n%s", c.what, code, out, errs)
		}
		if got := changedOrder(out); got != standby+" "+active {
			r.t.Errorf("%s: changed in the order %q", c.what, got)
		}
		none, two := v.end()
		r.t.Logf("%s: no holder %s, two holders %s", c.what, seconds(none), seconds(two))
		if none > c.none || two > 0 {
			r.t.Errorf("%s: no holder for %s, two for %s", c.what, seconds(none), seconds(two))
		}
		want := active
		if c.moves {
			want = standby
		}
		if now := r.holder(time.Second); now != want {
			r.t.Errorf("%s: %s holds the VIP, not %s", c.what, now, want)
		}
		r.unchanged()
	}
	r.healthy()
}

// announced makes sure that the plan knows who is active, and what it will cost.
func (r *rig) announced(what, active, cost, together string) {
	r.t.Helper()
	for _, n := range r.plan().Nodes {
		role := "standby"
		if n.Name == active {
			role = "active"
		}
		if n.Role != role {
			r.t.Errorf("%s: %s is %s, not %s", what, n.Name, n.Role, role)
		}
		for _, c := range n.Changes {
			if c.Target == "keepalived.service" && n.Name == active && (!strings.HasPrefix(c.Cost, cost) || (c.Cost == "") != (cost == "") || c.Together != together) {
				r.t.Errorf("%s: announced are %q, together %q", what, c.Cost, c.Together)
			}
		}
	}
}

// knowsItself makes sure that each node can tell whether it holds the traffic,
// before it is changed.
func (r *rig) knowsItself(active string) {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		for _, s := range steps.For(r.pair, n) {
			if d, ok := s.(provision.Drainer); ok {
				if out, holds := r.try(n.Name, d.Holds()); holds != (n.Name == active) {
					r.t.Errorf("%s holds the VIPs: %t, it says\n%s", n.Name, holds, out)
				}
			}
		}
	}
}

// changedOrder reads the events of an apply: the nodes in the order of their
// changes, each once unless they took turns.
func changedOrder(out string) string {
	var nodes []string
	for scan := bufio.NewScanner(strings.NewReader(out)); scan.Scan(); {
		var e provision.Event
		if json.Unmarshal(scan.Bytes(), &e) == nil && e.Event == provision.ChangeDone && (len(nodes) == 0 || nodes[len(nodes)-1] != e.Node) {
			nodes = append(nodes, e.Node)
		}
	}
	return strings.Join(nodes, " ")
}
