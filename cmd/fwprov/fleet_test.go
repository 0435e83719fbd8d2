package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// street is an apply over several houses, each with the state that its light is in.
func newStreet(t *testing.T, change func(*world, *options), states ...string) *house {
	t.Helper()
	h := newHouse(t, "on", func(w *world, o *options) {
		w.machine = func() machine { return machine{cores: 1, files: 1024} }
		if change != nil {
			change(w, o)
		}
	})
	s := h.app.session
	s.pairs = nil
	h.app.prepare = func(context.Context, *pair) {}
	for i, state := range states {
		name := fmt.Sprintf("site%d", i+1)
		nodes := []inventories.Node{{Name: "fw01"}, {Name: "fw02"}}
		p := &pair{Pair: &inventories.Pair{Name: name, Nodes: nodes}, file: name + ".hcl", label: name, inventory: name + ".hcl", nodes: nodes}
		p.runner = &provision.Runner{
			Dial: func(_ context.Context, node string, _ bool) (provision.Conn, error) {
				if state == "gone" {
					return nil, errors.New("node " + node + ": nobody answers")
				}
				return shell{filepath.Join(h.dir, name, node)}, nil
			},
			Roles: func(map[string]provision.Facts) map[string]provision.Role { return map[string]provision.Role{} },
			ID:    "testid", Now: s.w.now, Sleep: func(context.Context, time.Duration) {}, Log: slog.New(slog.DiscardHandler),
			Emit: func(provision.Event) {},
		}
		for _, n := range nodes {
			dir := filepath.Join(h.dir, name, n.Name)
			for _, d := range []string{"run", "var/lib"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "light"), []byte(state+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			p.runner.Nodes = append(p.runner.Nodes, provision.Node{Name: n.Name, Steps: []provision.Step{light{filepath.Join(dir, "light")}}})
		}
		s.pairs = append(s.pairs, p)
	}
	return h
}

// compare compares all that was printed, each stream by itself.
func (h *house) compare(name string) {
	h.t.Helper()
	golden(h.t, name, h.stdout.String()+"--- stderr\n"+h.stderr.String())
}

// Where few differ their plans are shown; where many do only their lines, unless all
// is asked for. A pair that fails stops nobody.
func TestPlanMany(t *testing.T) {
	few := []string{"on", "off", "gone", "on", "off"}
	many := []string{"off", "off", "off", "on", "off"}
	for _, tc := range []struct {
		golden string
		states []string
		o      options
		want   error
	}{
		{"many-few.txt", few, options{}, exit(exitError)},
		{"many-quiet.txt", few, options{quiet: true}, exit(exitError)},
		{"many.json", few, options{json: true}, exit(exitError)},
		{"many.txt", many, options{}, exit(exitChanges)},
		{"many-none.txt", []string{"on", "on"}, options{}, nil},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			h := newStreet(t, func(_ *world, o *options) { *o = tc.o }, tc.states...)
			if err := h.app.planMany(t.Context(), t.Context(), true); err != tc.want {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			h.app.end()
			h.compare(tc.golden)
			for _, p := range h.app.pairs {
				if p.runner != nil {
					t.Errorf("%s was not let go", p.label)
				}
			}
		})
	}
	h := newStreet(t, func(_ *world, o *options) { o.verbose = true }, many...)
	if err := h.app.planMany(t.Context(), t.Context(), false); err != nil {
		t.Error(err)
	}
	if n := strings.Count(h.stdout.String(), "+on\n"); n != 8 {
		t.Errorf("--verbose shows %d of 8 diffs", n)
	}
}

// sites are the states of the lights of all houses.
func (h *house) sites() string {
	var out []string
	for _, p := range h.app.pairs {
		out = append(out, h.state(p.label+"/fw01"))
	}
	return strings.Join(out, " ")
}

// Every pair is changed that can be, and a bound on failures keeps the rest from
// being begun.
func TestApplyMany(t *testing.T) {
	for _, tc := range []struct {
		name    string
		o       options
		answer  string // "-": nobody is asked
		code    int
		err     string
		after   string
		said    string // on standard output
		skipped string // on standard error
	}{
		{"all at once", options{}, "-", exitError, "<nil>", "on broken on on",
			"2 pairs changed; 1 pair is as the inventories say; 1 pair failed.", ""},
		{"one failure at most", options{parallel: 1, maxFailures: 1}, "-", exitError, "<nil>", "on broken on off",
			"1 pair changed; 1 pair failed; 2 pairs not begun.", "Not begun (1 pair failed (--max-failures 1)): site3 and site4\n"},
		{"asked", options{}, "yes\n", exitError, "<nil>", "on broken on on", "2 pairs changed; 1 pair failed.", ""},
		{"refused", options{}, "no\n", exitError, "not confirmed; nothing was changed", "off broken on off", "Plan: 6 changes on 6 nodes of 3 pairs", ""},
		{"JSON", options{json: true}, "-", exitError, "<nil>", "on broken on on",
			`{"inventory":"site1.hcl","event":"summary","changed":2,"failed":0,"rolled_back":false,"seconds":0,"state":"healthy"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newStreet(t, func(w *world, o *options) {
				*o = tc.o
				if tc.answer != "-" {
					w.inTerm, w.outTerm, w.environ, w.stdin = true, true, []string{"NO_COLOR=1"}, strings.NewReader(tc.answer)
				}
			}, "off", "broken", "on", "off")
			code, err := h.app.runMany(t.Context())
			h.app.end()
			if code != tc.code && tc.err == "<nil>" || fmt.Sprint(err) != tc.err {
				t.Errorf("exit code %d, %v; want %d, %s", code, err, tc.code, tc.err)
			}
			if got := h.sites(); got != tc.after {
				t.Errorf("the lights are %s, want %s", got, tc.after)
			}
			if !strings.Contains(h.stdout.String(), tc.said) || !strings.Contains(h.stderr.String(), tc.skipped) {
				t.Errorf("printed\n%s\nsaid\n%s", h.stdout, h.stderr)
			}
			if asked := strings.Contains(h.stdout.String(), "Make these changes on site1/fw01, "); asked != (tc.answer != "-") {
				t.Errorf("asked: %v", asked)
			}
		})
	}
}

// An interrupted run finishes what it has begun, and begins nothing more.
func TestApplyManyInterrupted(t *testing.T) {
	h := newStreet(t, func(_ *world, o *options) { o.parallel = 1 }, "off", "off", "off")
	ctx, cancel := context.WithCancelCause(t.Context())
	h.app.interrupted = ctx.Done()
	h.app.prepare = func(_ context.Context, p *pair) {
		p.runner.Emit = func(e provision.Event) {
			if e.Event == provision.StepStarted {
				cancel(errInterrupted)
			}
		}
	}
	code, err := h.app.runMany(ctx)
	h.app.end()
	if code != exitInterrupted || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if h.state("site1/fw01") != "on" && h.state("site1/fw02") != "on" {
		t.Error("the step in hand was not finished")
	}
	if got := h.sites(); !strings.HasSuffix(got, " off off") {
		t.Errorf("the lights are %s", got)
	}
	if !strings.Contains(h.stderr.String(), "Not begun (interrupted): site2 and site3\n") {
		t.Errorf("said %s", h.stderr)
	}
}

// TestRow: the live lines are those of pairs, with what their nodes do, and below
// them how far the run is.
func TestRow(t *testing.T) {
	w, _, stderr := testWorld(t)
	w.errTerm, w.environ = true, []string{"NO_COLOR=1"}
	w.size = func() (int, int) { return 60, 5 }
	s := &screen{out: stderr, err: stderr, live: true, size: w.size, now: w.now, style: w.errStyle(), quit: make(chan struct{})}
	for i := 1; i <= 4; i++ {
		p := &pair{Pair: &inventories.Pair{Nodes: []inventories.Node{{Name: "fw01"}, {Name: "fw02"}}}, label: fmt.Sprintf("site%d", i)}
		v := newPairEvents(s, p, false)
		v.event(provision.Event{Event: provision.Connecting, Node: "fw02"})
		v.event(provision.Event{Event: provision.Probing, Node: "fw01"})
		if i == 2 {
			v.event(provision.Event{Event: provision.Planned, Node: "fw01"})
			v.event(provision.Event{Event: provision.NodeFailed, Node: "fw02"})
		}
	}
	s.sum("1 of 9 pairs planned")
	fmt.Fprintln(s.stderr(), "a line")
	want := "a line\nsite1  fw01 looking at it, fw02 connecting\nsite3  fw01 looking at it, fw02 connecting\n1 of 9 pairs planned (1 not shown)\n"
	if got := played(stderr.String()); got != want {
		t.Errorf("the terminal shows\n%swant\n%s", got, want)
	}
	s.close()
	if got := played(stderr.String()); got != "a line\n" {
		t.Errorf("in the end the terminal shows\n%s", got)
	}
}

// simulated is a pair of which the network is simulated.
type simulated struct{ bad bool }

func (s simulated) failed() bool { return s.bad }

// testFleet is a fleet of n pairs without a network.
func testFleet(n int, o options) *fleet {
	s := &session{w: &world{machine: func() machine { return machine{cores: 2, files: 20000} }}, o: o}
	for i := range n {
		s.pairs = append(s.pairs, &pair{label: fmt.Sprint("site", i)})
	}
	return s.fleet()
}

// Pairs that do not answer are waited for side by side, however few places there
// are: all of them together cost little more than one of them.
func TestUnreachablePairsOverlap(t *testing.T) {
	const timeout, work = 15 * time.Second, 100 * time.Millisecond
	run := func(parallel int, unreachable bool) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			f := testFleet(1000, options{parallel: parallel})
			start := time.Now()
			sideBySide(t.Context(), f, f.pairs, false, func(ctx context.Context, p *pair) simulated {
				gone := unreachable && slices.Index(f.pairs, p)%50 == 7 // 20 of them
				_, err := p.place.waiting(func() (net.Conn, error) {
					if gone {
						time.Sleep(timeout) // of the bubble's clock: a connect that times out
						return nil, errors.New("no answer")
					}
					return nil, nil
				})
				if err == nil {
					time.Sleep(work) // of the bubble's clock
				}
				return simulated{err != nil}
			}, func(*pair, simulated) {})
			took = time.Since(start)
			if unreachable != (f.failed == 20) {
				t.Errorf("%d pairs failed", f.failed)
			}
			if len(f.places) != 0 || len(f.away) != 0 {
				t.Errorf("%d places and %d of those that wait are still taken", len(f.places), len(f.away))
			}
		})
		return took
	}
	for _, parallel := range []int{2, 8, 64} {
		without, with := run(parallel, false), run(parallel, true)
		t.Logf("%d at once: %s, with 20 unreachable pairs %s", parallel, without, with)
		if cost := with - without; cost > timeout+20*patience/time.Duration(parallel) {
			t.Errorf("%d at once: 20 unreachable pairs cost %s", parallel, cost)
		}
	}
}

// A pair that is about to be changed has a place of its own again: no more pairs are
// changed at once than was asked for.
func TestPlaceIsKept(t *testing.T) {
	connect := func() (net.Conn, error) {
		time.Sleep(time.Second) // of the bubble's clock
		return nil, nil
	}
	synctest.Test(t, func(t *testing.T) {
		f := testFleet(20, options{parallel: 2})
		var now, most atomic.Int32
		sideBySide(t.Context(), f, f.pairs, true, func(ctx context.Context, p *pair) simulated {
			_, _ = p.place.waiting(connect)
			if !p.place.keep(ctx) {
				t.Error("no place")
			}
			_, _ = p.place.waiting(connect)
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second) // of the bubble's clock: others would come meanwhile
			now.Add(-1)
			return simulated{}
		}, func(*pair, simulated) {})
		if most.Load() != 2 {
			t.Errorf("%d pairs were changed at once", most.Load())
		}
	})
}

// Pairs are begun and told in their order, and after too many failures none is begun.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testFleet(40, options{parallel: 4, maxFailures: 3})
		var mu sync.Mutex
		begun := 0
		var told []string
		left := sideBySide(t.Context(), f, f.pairs, false, func(_ context.Context, p *pair) simulated {
			mu.Lock()
			i := slices.Index(f.pairs, p)
			begun++
			mu.Unlock()
			time.Sleep(time.Duration(40-i) * time.Second) // of the bubble's clock: the first are the last to end
			return simulated{i%5 == 4}
		}, func(p *pair, _ simulated) { told = append(told, p.label) })
		if begun+len(left) != 40 || len(left) == 0 || left[0] != f.pairs[begun] {
			t.Errorf("%d begun, %d left", begun, len(left))
		}
		if f.failed < 3 || f.failed > 3+3 {
			t.Errorf("%d failed", f.failed)
		}
		for i, label := range told {
			if label != f.pairs[i].label {
				t.Errorf("%s was told at place %d", label, i)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := testFleet(10, options{parallel: 1})
		ctx, cancel := context.WithCancel(t.Context())
		left := sideBySide(ctx, f, f.pairs, false, func(_ context.Context, p *pair) simulated {
			if p == f.pairs[2] {
				cancel()
			}
			return simulated{}
		}, func(*pair, simulated) {})
		if len(left) != 7 {
			t.Errorf("%d left", len(left))
		}
	})
}

func TestParallel(t *testing.T) {
	for _, tc := range []struct {
		m              machine
		parallel, away int
	}{
		{machine{cores: 2, memory: 8 << 30, files: 20000}, 64, 1024},
		{machine{cores: 64, memory: 64 << 30, files: 1 << 20}, 256, 1024},
		{machine{cores: 2, files: 1024}, 60, 0},
		{machine{cores: 2, memory: 100 << 20, files: 4096}, 12, 240},
		{machine{cores: 1, memory: 1 << 20, files: 20}, 1, 0},
	} {
		n := tc.m.parallel()
		if away := tc.m.away(n); n != tc.parallel || away != tc.away {
			t.Errorf("%+v: %d at once and %d away, want %d and %d", tc.m, n, away, tc.parallel, tc.away)
		}
	}
	if m := thisMachine(); m.cores < 1 || m.files < 64 || m.memory == 0 {
		t.Errorf("this machine has %+v", m)
	}
}

// Who drops the connections is told of all pairs that are being changed.
func TestDropped(t *testing.T) {
	h := newStreet(t, nil, "off", "off", "off")
	plan := func(nodes ...string) *provision.Plan {
		p := &provision.Plan{}
		for _, n := range nodes {
			p.Nodes = append(p.Nodes, &provision.NodePlan{Name: n, Changes: []provision.Change{{}}})
		}
		return p
	}
	for i, d := range []time.Duration{time.Minute, 2 * time.Minute, time.Hour} {
		h.app.pairs[i].runner.ConfirmTimeout = d
	}
	one := h.app.watch(h.app.pairs[0], plan("fw01"))
	two := h.app.watch(h.app.pairs[1], plan("fw01", "fw02"))
	h.app.watch(h.app.pairs[2], plan("fw01"))()
	h.app.w.farewell.say(true)
	if got, want := h.stderr.String(), "The connection was dropped. Of site1/fw01, site2/fw01 and site2/fw02, a node that was being changed goes back to what it was by itself within 2m0s.\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	one()
	two()
	h.stderr.Reset()
	h.app.w.farewell.say(false)
	h.app.w.farewell.say(true)
	if got := h.stderr.String(); got != "" {
		t.Errorf("nothing is being changed, and it said %q", got)
	}
}

// Inventories are read side by side, but whoever is asked is asked in their order.
func TestLoadAsksInOrder(t *testing.T) {
	w, _, stderr := testWorld(t)
	w.inTerm, w.errTerm = true, true
	text, err := os.ReadFile(filepath.Join("..", "..", "inventories", "minimal.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	var answers, questions strings.Builder
	for i := range 8 {
		path := filepath.Join(dir, fmt.Sprintf("site%d.hcl", i))
		own := strings.Replace(string(text), "\"edge\"", fmt.Sprintf("\"site%d\"", i), 1)
		if i%2 == 0 {
			own = strings.Replace(own, "\"example.com\"", "var.domain", 1) + "\nvariable \"domain\" {}\n"
			fmt.Fprintf(&answers, "d%d.example.com\n", i)
			fmt.Fprintf(&questions, "%s: domain: ", path)
		}
		if err := os.WriteFile(path, []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	w.stdin = strings.NewReader(answers.String())
	pairs, err := load(t.Context(), w, options{}, paths)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for i, p := range pairs {
		want := "example.com"
		if i%2 == 0 {
			want = fmt.Sprintf("d%d.example.com", i)
		}
		if p.label != fmt.Sprintf("site%d", i) || p.Domain != want {
			t.Errorf("%s has the domain %s, want %s", p.label, p.Domain, want)
		}
	}
	if got := stderr.String(); got != questions.String() {
		t.Errorf("asked %q, want %q", got, questions.String())
	}
}
