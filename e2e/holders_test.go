package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// vigil watches who holds an address, or any of several, to the microsecond.
type vigil struct {
	r     *rig
	start time.Time
	addrs []string
	held  map[string]map[string]bool // by node and address
	watch map[string]*exec.Cmd
	said  map[string]*bytes.Buffer
}

// vigil begins to watch outside.vip, and more.
func (r *rig) vigil(more ...netip.Addr) *vigil {
	r.t.Helper()
	v := &vigil{r: r, held: map[string]map[string]bool{}, watch: map[string]*exec.Cmd{}, said: map[string]*bytes.Buffer{}}
	for _, a := range append(more, r.pair.Outside.VIP) {
		v.addrs = append(v.addrs, a.String())
	}
	for _, n := range r.pair.Nodes {
		cmd, err := r.lab.Command(context.Background(), n.Name, "ip", "-4", "-ts", "monitor", "address")
		if err != nil {
			r.t.Fatal(err)
		}
		v.said[n.Name] = &bytes.Buffer{}
		cmd.Stdout = v.said[n.Name]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has a child inside the machine
		if err := cmd.Start(); err != nil {
			r.t.Fatal(err)
		}
		v.watch[n.Name] = cmd
		r.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	}
	v.start = time.Now()
	for _, n := range r.pair.Nodes {
		v.held[n.Name] = map[string]bool{}
		now := r.on(n.Name, "ip -4 -o addr show")
		for _, a := range v.addrs {
			v.held[n.Name][a] = strings.Contains(now, " "+a+"/")
		}
	}
	return v
}

var addressLine = regexp.MustCompile(`(?m)^\[([0-9T:.-]+)\] (Deleted )?.* inet ([0-9.]+)/`)

// end tells for how long nobody and for how long both held any of them, all in
// all.
func (v *vigil) end() (none, two time.Duration) {
	v.r.t.Helper()
	type event struct {
		at         time.Time
		node, addr string
		up         bool
	}
	var events []event
	for _, n := range v.r.pair.Nodes {
		_ = syscall.Kill(-v.watch[n.Name].Process.Pid, syscall.SIGKILL)
		_ = v.watch[n.Name].Wait()
		for _, m := range addressLine.FindAllStringSubmatch(v.said[n.Name].String(), -1) {
			at, err := time.ParseInLocation("2006-01-02T15:04:05.000000", m[1], time.Local)
			if err != nil {
				v.r.t.Fatal(err)
			}
			if slices.Contains(v.addrs, m[3]) && at.After(v.start) {
				events = append(events, event{at, n.Name, m[3], m[2] == ""})
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	last := v.start
	for _, e := range append(events, event{at: time.Now()}) {
		count := 0
		for _, n := range v.r.pair.Nodes {
			if slices.ContainsFunc(v.addrs, func(a string) bool { return v.held[n.Name][a] }) {
				count++
			}
		}
		switch count {
		case 0:
			none += e.at.Sub(last)
		case 2:
			two += e.at.Sub(last)
		}
		last = e.at
		if e.node != "" {
			v.held[e.node][e.addr] = e.up
		}
	}
	return none, two
}

// watched is during with an eye on the holders.
func (r *rig) watched(what string, do func()) (f felt, none, two time.Duration) {
	r.t.Helper()
	v := r.vigil()
	f = r.during(what, do)
	none, two = v.end()
	r.t.Logf("%s: no holder %s, two holders %s", what, seconds(none), seconds(two))
	return f, none, two
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
