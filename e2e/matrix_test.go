package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/inventories"
)

// matrixInventory is the one of the traffic tests with a second VLAN, so that one
// can fail alone.
const matrixInventory = trafficInventory + "\nvlan \"lab\" { id = 7 }\n"

// TestMatrix strikes a pair with one fault after the other. Whatever it is, the pair
// serves on, is whole again without a run when the fault is gone, and verify names
// it. That is every fault on el, shared by two pairs, and eight on debian; with
// FWPROV_MATRIX=all every fault on both, and on two pairs with other timers. Nothing
// but these labs runs meanwhile: it is milliseconds that are told apart.
func TestMatrix(t *testing.T) {
	all := os.Getenv("FWPROV_MATRIX") == "all"
	for _, v := range []variant{
		{name: lab.EL, image: lab.EL, part: func(i int) bool { return all || i%2 == 0 }},
		{name: lab.EL + " too", image: lab.EL, part: func(i int) bool { return i%2 == 1 }, rare: all},
		{name: lab.Debian, image: lab.Debian, often: !all},
		{name: "vm", image: lab.EL, vrrp: "vrrp { profile = \"vm\" }", rare: !all},
		{name: "guide", image: lab.EL, rare: !all, compared: true,
			vrrp: "vrrp {\n  version = 2\n  instances = \"per_vlan\"\n  heartbeat = [\"sync\"]\n  password = \"abcd1234\"\n  advert_interval = \"1s\"\n}"},
	} {
		if v.rare {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			r := up(t, "matrix-"+strings.ReplaceAll(v.name, " ", "-"), v.image, []byte(matrixInventory+v.vrrp+"\n"))
			r.apply()
			m := &matrix{rig: r, compared: v.compared}
			m.impatient()
			for i, f := range m.faults() {
				if (v.part == nil || v.part(i)) && (!v.often || f.often) {
					t.Run(f.name, func(t *testing.T) { m.with(t).suffers(f) })
				}
			}
			t.Logf("%s\n%s", v.name, m.table())
		})
	}
}

// variant is a pair that suffers the faults.
type variant struct {
	name, image string
	vrrp        string           // settings
	part        func(i int) bool // the rows it takes part in; nil: all
	often       bool             // only the rows that are
	rare        bool             // left out
	compared    bool             // the guide's form: what comes of it is shown, not judged
}

// singleFault is a row of the matrix: what is done, and what may come of it.
type singleFault struct {
	name      string
	often     bool // not only on one image
	strike    func(m *matrix) (heal func())
	lasts     time.Duration // how long the fault is looked at
	none, two time.Duration // how long nobody and how long both may hold VIPs, while it lasts
	moves     moves
	unnoticed bool          // no ping lost and no connection broken
	outage    time.Duration // of new connections to the service, if not 0
	cold      bool          // connections do not survive: no node is left
	empty     bool          // there need not be a holder while it lasts
	names     string        // a check of verify that fails meanwhile, or one of several: a|b
	after     time.Duration // how long nobody may hold VIPs once it is gone
}

// moves is what the VIPs may do.
type moves int

const (
	stay   moves = iota // they must not move
	go1                 // they must move once
	either              // they may move once
	back                // they may move to the node that is struck, and back
)

// row is what came of a fault.
type row struct {
	name      string
	none, two time.Duration
	moved     int
	felt      felt
	named     string
}

type matrix struct {
	*rig
	active, standby string // when the fault strikes
	compared        bool   // nothing is judged
	rows            []row
}

func (m *matrix) with(t *testing.T) *matrix {
	m.rig = m.rig.with(t)
	return m
}

// impatient lets ssh_config bound how long a node that says nothing is waited for.
func (m *matrix) impatient() {
	m.t.Helper()
	file := filepath.Join(m.lab.Home(), ".ssh", "config")
	config, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append([]byte("ConnectTimeout 3\n\n"), config...), 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// suffers lets the pair suffer one fault.
func (m *matrix) suffers(f singleFault) {
	m.active = m.holder(20 * time.Second)
	m.standby = m.pair.Peer(m.active).Name
	var tr *traffic
	if !f.cold {
		tr = m.send()
	}
	w := m.watch()
	heal := f.strike(m)
	healed := false
	defer func() {
		if !healed {
			heal()
		}
	}()
	w.lasts(f.lasts)
	out := row{name: f.name}
	out.none, out.two, out.moved = w.since()
	if f.names != "" && !m.compared {
		out.named = m.named(f.names)
	}
	heal()
	healed = true
	m.whole()
	after, twoAfter, movedAfter := w.since()
	w.stop()
	if tr != nil {
		out.felt = tr.end()
	}
	m.judge(f, out, after, twoAfter, movedAfter)
	m.rows = append(m.rows, out)
}

// whole waits until the pair is healthy again without a run. The guide's form may need
// one.
func (m *matrix) whole() {
	if m.compared {
		m.run(nil, "verify", m.file)
		m.apply()
		return
	}
	m.eventually(40*time.Second, "healthy without a run", func() string {
		if out, errs, code := m.run(nil, "verify", m.file); code != 0 {
			return out + errs
		}
		return ""
	})
}

// judge compares what was seen with what may be.
func (m *matrix) judge(f singleFault, got row, after, twoAfter time.Duration, movedAfter int) {
	m.t.Logf("%s: no holder %s, two holders %s, moved %d times; then %s, %s, %d; %s", f.name,
		seconds(got.none), seconds(got.two), got.moved, seconds(after), seconds(twoAfter), movedAfter, got.felt)
	if m.compared {
		return
	}
	wrong := func(format string, args ...any) { m.t.Errorf(f.name+": "+format, args...) }
	if got.none > f.none && !f.empty {
		wrong("nobody held the VIPs for %s, at most %s", seconds(got.none), seconds(f.none))
	}
	if got.two > f.two {
		wrong("both held VIPs for %s, at most %s", seconds(got.two), seconds(f.two))
	}
	least, most := 0, 0
	switch f.moves {
	case go1:
		least, most = 1, 1
	case either:
		most = 1
	case back:
		most = 2
	}
	if got.moved < least || got.moved > most {
		wrong("the VIPs moved %d times", got.moved)
	}
	if after > f.after || twoAfter > 0 || movedAfter > 0 && !f.empty && !f.cold {
		wrong("when it was gone nobody held the VIPs for %s (at most %s), both for %s, and they moved %d times",
			seconds(after), seconds(f.after), seconds(twoAfter), movedAfter)
	}
	if f.cold {
		return
	}
	for _, b := range got.felt.broken {
		if f.unnoticed || strings.HasPrefix(b, "routed") {
			wrong("a connection is broken: %s", b)
		}
	}
	if f.unnoticed && (got.felt.lost > 0 || len(got.felt.failed) > 0) {
		wrong("it was noticed: %s", got.felt)
	}
	if f.outage > 0 && got.felt.refused > f.outage {
		wrong("no new connections for %s, at most %s", seconds(got.felt.refused), seconds(f.outage))
	}
	if f.names != "" && got.named == "" {
		wrong("verify does not name it: no %q", f.names)
	}
}

// named waits until verify has failed in a check of that name, and returns what it
// says of it.
func (m *matrix) named(check string) string {
	var found string
	m.eventually(15*time.Second, "verify names it", func() string {
		out, _, _ := m.run(nil, "verify", "--once", m.file)
		for line := range strings.Lines(out) {
			rest, failed := strings.CutPrefix(strings.TrimSpace(line), "FAIL")
			rest = strings.Join(strings.Fields(rest), " ")
			for name := range strings.SplitSeq(check, "|") {
				if failed && strings.HasPrefix(rest, name+" ") {
					found = rest
					return ""
				}
			}
		}
		return "no failed " + check + " in\n" + out
	})
	return found
}

// table is what docs/failover.md shows.
func (m *matrix) table() string {
	var b strings.Builder
	b.WriteString("| fault | no holder | two holders | moved | pings: longest outage | new connections | verify |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range m.rows {
		moved := "no"
		if r.moved > 0 {
			moved = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.name, seconds(r.none), seconds(r.two), moved,
			seconds(r.felt.outage), seconds(r.felt.refused), r.named)
	}
	return b.String()
}

// watch reads every 10 ms which addresses the nodes have.
type watch struct {
	m      *matrix
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	none, two time.Duration
	moved     int
	last      string // the last holder of all VIPs
}

const watchEvery = 10 * time.Millisecond

func (m *matrix) watch() *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{m: m, cancel: cancel, done: make(chan struct{}), last: m.active}
	go w.run(ctx)
	m.t.Cleanup(cancel)
	return w
}

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	vips := w.m.pair.VIPs()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all, some := "", 0
		for _, n := range w.m.pair.Nodes {
			addrs, err := w.m.lab.Addresses(n.Name)
			if err != nil {
				continue // it is off
			}
			switch held := heldOf(vips, addrs); {
			case held == len(vips):
				all = n.Name
				some++
			case held > 0:
				some++
			}
		}
		now := time.Now()
		w.mu.Lock()
		if all == "" {
			w.none += now.Sub(last)
		}
		if some > 1 {
			w.two += now.Sub(last)
		} else if all != "" && all != w.last {
			w.last = all
			w.moved++
		}
		w.mu.Unlock()
		last = now
	}
}

func heldOf(vips []inventories.VIP, addrs []netip.Addr) int {
	n := 0
	for _, v := range vips {
		if slices.Contains(addrs, v.Addr) {
			n++
		}
	}
	return n
}

// lasts waits as long as the fault is to last.
func (w *watch) lasts(d time.Duration) {
	time.Sleep(d) // a fault is looked at for its time, whatever comes of it
}

// since tells what was seen since it was asked last.
func (w *watch) since() (none, two time.Duration, moved int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	none, two, moved = w.none, w.two, w.moved
	w.none, w.two, w.moved = 0, 0, 0
	return none, two, moved
}

func (w *watch) stop() {
	w.cancel()
	<-w.done
}
