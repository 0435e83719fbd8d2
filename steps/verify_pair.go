package steps

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// What verify finds by comparing the two nodes.

// maxClockOff is how far the clocks of two nodes may be apart: what happened first
// is not to be told from their logs beyond that.
const maxClockOff = time.Second

// offset is how far a node's clock is ahead of fwprov's, within two bounds: it told
// its time for the first time after it was asked, and for the last time before the
// answer had come.
func offset(f provision.Facts) (low, high time.Duration, ok bool) {
	var at [4]int64
	for i, key := range []string{"asked from", "time first", "time last", "asked until"} {
		n, err := strconv.ParseInt(f[key], 10, 64)
		if err != nil {
			return 0, 0, false
		}
		at[i] = n
	}
	low, high = time.Duration(at[2]-at[3])*time.Microsecond, time.Duration(at[1]-at[0])*time.Microsecond
	return low, high, low <= high
}

// clocks checks that the nodes agree on the time. Only what is certain counts: the
// way there and back is no difference.
func (v verify) clocks(nodes map[string]provision.Facts) []provision.Check {
	a, b := v.pair.Nodes[0].Name, v.pair.Nodes[1].Name
	lowA, highA, okA := offset(nodes[a])
	lowB, highB, okB := offset(nodes[b])
	if !okA || !okB {
		return nil
	}
	low, high := lowA-highB, highA-lowB // how far a is ahead of b
	apart := max(low, -high, 0)
	c := provision.Check{Name: "clocks", OK: apart <= maxClockOff,
		Detail: fmt.Sprintf("agree as far as can be told: within %s", max(high, -low).Round(time.Millisecond))}
	if !c.OK {
		ahead := a
		if high < 0 {
			ahead = b
		}
		c.Detail = fmt.Sprintf("that of %s is at least %s ahead", ahead, apart.Round(100*time.Millisecond))
		c.Hint = "timedatectl, chronyc tracking on both nodes"
	}
	return []provision.Check{c}
}

// syncs checks that connection states come in, that the path is sound, and that
// what one node knows the other gets to know.
func (v verify) syncs(n inventories.Node, f, peer provision.Facts) []provision.Check {
	other := v.pair.Peer(n.Name).Name
	known := v.inSync(n, f, peer)
	known.Name = "connections known"
	out := []provision.Check{known}

	errors := []string{}
	for _, e := range syncErrors {
		before, after := f.Get("sync", e.key), f.Get("later", e.key)
		if before != "" && number(after) > number(before) {
			errors = append(errors, fmt.Sprintf("%d %s", number(after)-number(before), e.what))
		}
	}
	if f.Get("sync", "heard") == "0" {
		errors = append(errors, "nothing came from "+other+" in "+v.patience().Round(100*time.Millisecond).String())
	}
	c := provision.Check{Name: "sync path", Node: n.Name, OK: len(errors) == 0, Detail: "no errors while it was watched"}
	if !c.OK {
		c.Detail, c.Hint = strings.Join(errors, ", "), "conntrackd -s network on "+n.Name+"; ip -s link show "+v.pair.Sync.Interface
	}
	out = append(out, c)

	if peer.Get("canary", "sent") != "" && f.Get("canary", "asked") != "" {
		c := provision.Check{Name: "canary", Node: n.Name, OK: f.Get("canary", "seen") != "", Detail: "a connection made on " + other + " has come through"}
		if !c.OK {
			c.Detail = "a connection made on " + other + " has not come through"
			c.Hint = "conntrackd -i on " + other + ", conntrackd -e on " + n.Name
		}
		out = append(out, c)
	}
	return out
}

// syncErrors are counters that do not grow on a sound path.
var syncErrors = []struct{ key, what string }{
	{"error send", "errors of sending"},
	{"error recv", "errors of receiving"},
	{"malformed", "malformed messages"},
	{"lost", "lost messages"},
}

// tables checks that both balancers have the same clients in their stick tables, as
// far as counts tell. Some come and go between two looks.
func (v verify) tables(nodes map[string]provision.Facts) []provision.Check {
	a, b := v.pair.Nodes[0].Name, v.pair.Nodes[1].Name
	var bad []string
	asked := 0
	for _, s := range v.pair.Services {
		x, y := nodes[a].Get("table", backendName(s)), nodes[b].Get("table", backendName(s))
		if x == "" || y == "" {
			continue
		}
		asked++
		most, least := max(number(x), number(y)), min(number(x), number(y))
		if least+inFlight < most*19/20 {
			bad = append(bad, fmt.Sprintf("%s has %s on %s and %s on %s", s.Name, x, a, y, b))
		}
	}
	if asked == 0 {
		return nil
	}
	c := provision.Check{Name: "stick tables", OK: len(bad) == 0, Detail: "are alike on both nodes"}
	if !c.OK {
		c.Detail = strings.Join(bad, ", ")
		c.Hint = fmt.Sprintf("echo 'show peers; show table' | socat - TCP:127.0.0.1:%d on both nodes", statPort)
	}
	return []provision.Check{c}
}

// parseTables reads "# table: web, type: ip, size:1048576, used:3" of HAProxy, and
// of its peers whether the session with each is established.
func parseTables(out string, f provision.Facts) {
	for _, line := range strings.Split(out, "\n") {
		if rest, ok := strings.CutPrefix(line, "# table: "); ok {
			name, rest, _ := strings.Cut(rest, ",")
			_, used, _ := strings.Cut(rest, "used:")
			if used = strings.TrimSpace(used); isCount(used) && !strings.ContainsAny(name, " \t") {
				f[provision.Key("table", name)] = used
			}
			continue
		}
		if !strings.Contains(line, "(remote,") {
			continue
		}
		var addr, status string
		for _, w := range strings.Fields(line) {
			if a, ok := strings.CutPrefix(w, "addr="); ok {
				addr, _, _ = strings.Cut(a, ":")
			}
			if s, ok := strings.CutPrefix(w, "last_status="); ok {
				status = s
			}
		}
		if addr != "" && status != "" {
			f[provision.Key("session", addr)] = status
		}
	}
}
