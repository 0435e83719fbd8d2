package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// price is what a command may cost each node.
type price struct{ connections, commands, trips int }

// TestTrips counts what the commands cost, over lines of several lengths. Nothing
// of it may grow with the line, the VLANs or the services.
func TestTrips(t *testing.T) {
	t.Parallel()
	r := up(t, "trips", lab.EL, []byte(trafficInventory))
	r.apply()
	r.holder(20 * time.Second)
	r.healthy()
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 120 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) { r.with(t).counted(rtt) })
	}
	r.add(manyVLANs(3, 60))
	r.apply()
	t.Run("60 VLANs", func(t *testing.T) {
		r.with(t).costs(r.with(t).stretch(120*time.Millisecond), "plan", rerun, func() {}, "plan", r.file)
	})
}

// What finding that there is nothing to do costs: seven round trips to log in, one
// for a session, one for the command. The rest is what nobody waits for, and a slow
// machine lets happen one after the other: the goodbye, and room for a long answer.
var rerun = price{connections: 1, commands: 1, trips: 12}

// counted runs each command over a line.
func (r *rig) counted(rtt time.Duration) {
	l := r.stretch(rtt)
	n := int(rtt / (20 * time.Millisecond)) // 0, 1 and 6
	nothing := func() {}
	r.costs(l, "plan", rerun, nothing, "plan", r.file)
	r.costs(l, "apply with nothing to do", rerun, nothing, "apply", r.file)
	r.costs(l, "status", rerun, nothing, "status", r.file)
	r.costs(l, "verify", rerun, nothing, "verify", "--once", r.file)
	r.costs(l, "history", rerun, nothing, "history", r.file)
	r.add(fmt.Sprintf("allow \"trip-%d\" {\n  from = \"outside\"\n  to = \"inside\"\n  udp = [%d]\n}", n, 5000+n))
	r.costs(l, "plan of a rule", price{1, 2, 15}, nothing, "plan", r.file)
	r.costs(l, "a rule", price{2, 16, 76}, nothing, "apply", r.file)
	r.costs(l, "a VLAN", price{2, 21, 94}, func() { r.add(manyVLANs(70+n, 1)) }, "apply", r.file)
	r.costs(l, "20 VLANs", price{2, 21, 94}, func() { r.add(manyVLANs(80+20*n, 20)) }, "apply", r.file)
}

// manyVLANs are so many, from an id on.
func manyVLANs(from, n int) string {
	var b strings.Builder
	for id := from; id < from+n; id++ {
		fmt.Fprintf(&b, "vlan \"v%d\" { id = %[1]d }\n", id)
	}
	return b.String()
}

// costs runs a command over the line and compares what it has cost each node.
func (r *rig) costs(l *line, what string, most price, edit func(), args ...string) {
	r.t.Helper()
	edit()
	before := map[string][2]int{}
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		before[n.Name] = [2]int{c, e}
		l.taken(n.Name)
	}
	start := time.Now()
	if _, errs, code := r.run(nil, append([]string{args[0], "--ssh-config", l.config}, args[1:]...)...); code != 0 {
		r.t.Fatalf("%s: exit %d\n%s", what, code, errs)
	}
	took := time.Since(start)
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		got := price{c - before[n.Name][0], e - before[n.Name][1], l.taken(n.Name)}
		r.t.Logf("%s, %s: %d connections, %d commands, %d round trips, %.2fs", what, n.Name, got.connections, got.commands, got.trips, took.Seconds())
		// On a short line what does not wait for an answer is counted as if it did.
		if got.connections > most.connections || got.commands > most.commands || l.delay > 50*time.Millisecond && got.trips > most.trips {
			r.t.Errorf("%s: %s: %+v, at most %+v", what, n.Name, got, most)
		}
	}
}
