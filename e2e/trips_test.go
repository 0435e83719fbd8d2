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
		r.with(t).costs(r.with(t).stretch(120*time.Millisecond), "plan", rerun, nil, "plan", r.file)
	})
}

// What finding that there is nothing to do costs: seven round trips to log in, one
// for a session, one for the command. The tenth is the goodbye, whose answer nobody
// waits for.
var rerun = price{connections: 1, commands: 1, trips: 10}

// counted runs each command over a line.
func (r *rig) counted(rtt time.Duration) {
	l := r.stretch(rtt)
	n := int(rtt / (20 * time.Millisecond)) // 0, 1 and 6
	r.costs(l, "plan", rerun, nil, "plan", r.file)
	r.costs(l, "apply with nothing to do", rerun, nil, "apply", r.file)
	r.costs(l, "status", rerun, nil, "status", r.file)
	r.costs(l, "verify", rerun, nil, "verify", "--once", r.file)
	r.costs(l, "history", rerun, nil, "history", r.file)
	r.add(fmt.Sprintf("allow \"trip-%d\" {\n  from = \"outside\"\n  to = \"inside\"\n  udp = [%d]\n}", n, 5000+n))
	r.costs(l, "plan of a rule", price{1, 2, 12}, nil, "plan", r.file)
	r.costs(l, "a rule", price{2, 16, 70}, nil, "apply", r.file)
	r.costs(l, "a VLAN", price{2, 21, 88}, func() { r.add(manyVLANs(70+n, 1)) }, "apply", r.file)
	r.costs(l, "20 VLANs", price{2, 21, 88}, func() { r.add(manyVLANs(80+20*n, 20)) }, "apply", r.file)
}

// manyVLANs are so many, from an id on.
func manyVLANs(from, n int) string {
	var b strings.Builder
	for id := from; id < from+n; id++ {
		fmt.Fprintf(&b, "vlan \"v%d\" { id = %[1]d }\n", id)
	}
	return b.String()
}

// costs runs a command over the line and compares what it has cost each node. What only
// looks, without an edit, is run up to three times and the fewest round trips count: a
// machine that is busy makes pieces of one answer come one after the other, never fewer
// questions.
func (r *rig) costs(l *line, what string, most price, edit func(), args ...string) {
	r.t.Helper()
	tries := 3
	if edit != nil {
		edit()
		tries = 1
	}
	least := map[string]int{}
	for range tries {
		over := false
		for _, n := range r.priced(l, what, args) {
			if n.connections > most.connections || n.commands > most.commands {
				r.t.Errorf("%s: %+v, at most %+v", what, n, most)
			}
			if have, ok := least[n.name]; !ok || n.trips < have {
				least[n.name] = n.trips
			}
			over = over || least[n.name] > most.trips
		}
		// On a short line what does not wait for an answer is counted as if it did.
		if !over || l.delay < 50*time.Millisecond {
			return
		}
	}
	r.t.Errorf("%s: round trips by node %v, at most %d", what, least, most.trips)
}

// paid is what a command has cost a node.
type paid struct {
	name string
	price
}

// priced runs a command over the line once.
func (r *rig) priced(l *line, what string, args []string) []paid {
	r.t.Helper()
	before := map[string][2]int{}
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		before[n.Name] = [2]int{c, e}
		l.taken(n.Name)
	}
	if _, errs, code := r.run(nil, append([]string{args[0], "--ssh-config", l.config}, args[1:]...)...); code != 0 {
		r.t.Fatalf("%s: exit %d\n%s", what, code, errs)
	}
	var out []paid
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		p := paid{n.Name, price{c - before[n.Name][0], e - before[n.Name][1], l.taken(n.Name)}}
		r.t.Logf("%s: %+v", what, p)
		out = append(out, p)
	}
	return out
}
