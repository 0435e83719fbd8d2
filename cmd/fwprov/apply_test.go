package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fwprov/provision"
)

func TestApply(t *testing.T) {
	h := newHouse(t, "off", nil)
	h.run(t.Context(), exitOK, "<nil>", "apply.txt")
	if h.state("fw01") != "on" || h.state("fw02") != "on" {
		t.Error("the lights are not on")
	}
}

func TestApplyNothing(t *testing.T) {
	newHouse(t, "on", nil).run(t.Context(), exitOK, "<nil>", "apply-nothing.txt")
}

func TestApplyJSON(t *testing.T) {
	h := newHouse(t, "off", func(_ *world, o *options) { o.json = true })
	h.run(t.Context(), exitOK, "<nil>", "apply.json")
}

// TestApplyAsks: on a terminal nothing happens before a yes.
func TestApplyAsks(t *testing.T) {
	for answer, want := range map[string]string{
		"yes\n": "<nil>",
		"yes":   "<nil>",
		"y\n":   "not confirmed; nothing was changed",
		"":      "there was no answer",
	} {
		h := newHouse(t, "off", func(w *world, _ *options) {
			w.inTerm, w.outTerm = true, true
			w.environ = []string{"NO_COLOR=1"}
			w.stdin = strings.NewReader(answer)
		})
		code, err := h.app.run(t.Context())
		if fmt.Sprint(err) != want {
			t.Errorf("answer %q: %v, want %s", answer, err, want)
		}
		done := want == "<nil>"
		if done != (h.state("fw01") == "on") || done != (code == exitOK) {
			t.Errorf("answer %q: the light is %s, exit code %d", answer, h.state("fw01"), code)
		}
		out := h.stdout.String()
		if !strings.Contains(out, "      -off\n      +on\n") || !strings.Contains(out, "Make these changes on fw01 and fw02?") {
			t.Errorf("answer %q: the plan or the question was not shown:\n%s", answer, out)
		}
	}
}

// TestApplyCannotAsk: a terminal to read from, but none to ask on.
func TestApplyCannotAsk(t *testing.T) {
	h := newHouse(t, "off", func(w *world, _ *options) { w.inTerm = true })
	if _, err := h.app.run(t.Context()); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("got %v, want a hint to --yes", err)
	}
	h = newHouse(t, "off", func(w *world, _ *options) { w.inTerm = true })
	h.app.yes = true
	if code, err := h.app.run(t.Context()); code != exitOK || err != nil {
		t.Errorf("with --yes: exit code %d, %v", code, err)
	}
}

func TestApplyFails(t *testing.T) {
	h := newHouse(t, "broken", nil)
	h.run(t.Context(), exitError, "<nil>", "apply-fails.txt")
}

func TestApplyDegraded(t *testing.T) {
	h := newHouse(t, "off", nil)
	if err := os.WriteFile(filepath.Join(h.dir, "fw01", "light.dim"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t.Context(), exitUnhealthy, "<nil>", "apply-degraded.txt")
}

func TestApplyLimited(t *testing.T) {
	h := newHouse(t, "off", nil)
	p := h.app.pairs[0]
	p.nodes, p.runner.Nodes = p.nodes[:1], p.runner.Nodes[:1]
	h.run(t.Context(), exitOK, "<nil>", "apply-limited.txt")
	if h.state("fw02") != "off" {
		t.Error("--limit fw01 changed fw02")
	}
}

// TestApplyInterrupted ends the context in the middle of a change.
func TestApplyInterrupted(t *testing.T) {
	h := newHouse(t, "off", nil)
	ctx, cancel := context.WithCancel(t.Context())
	h.app.interrupted = ctx.Done()
	h.app.pairs[0].runner.Emit = func(e provision.Event) {
		if e.Event == provision.StepStarted {
			cancel()
		}
	}
	code, err := h.app.run(ctx)
	if code != exitInterrupted || err != nil {
		t.Errorf("exit code %d, %v; want %d", code, err, exitInterrupted)
	}
}

// TestApplyAgain: where nobody has agreed to a plan, one that has become old is made
// again, and nothing is left to do.
func TestApplyAgain(t *testing.T) {
	for _, agreed := range []bool{false, true} {
		h := newHouse(t, "off", nil)
		h.app.agreed = agreed
		planned := 0
		show := h.app.pairs[0].runner.Emit
		h.app.pairs[0].runner.Emit = func(e provision.Event) {
			show(e)
			if e.Event == provision.Planned {
				if planned++; planned == 2 {
					for _, node := range []string{"fw01", "fw02"} {
						if err := os.WriteFile(filepath.Join(h.dir, node, "light"), []byte("on\n"), 0o600); err != nil {
							t.Error(err)
						}
					}
				}
			}
		}
		code, err := h.app.run(t.Context())
		said := h.stderr.String()
		if again := strings.Contains(said, "planning again"); again == agreed || err != nil || (code == exitOK) == agreed {
			t.Errorf("agreed %v: exit code %d, %v\n%s", agreed, code, err, said)
		}
		if out := h.stdout.String(); !agreed && !strings.Contains(out, "No changes.") {
			t.Errorf("printed %s", out)
		}
		if agreed && !strings.Contains(said, "has changed since the plan was made") {
			t.Errorf("said %s", said)
		}
	}
}

// TestApplyWaitsForLock: whose time is over is told, before anything is planned, and
// the JSON ends as always.
func TestApplyWaitsForLock(t *testing.T) {
	h := newHouse(t, "off", func(_ *world, o *options) { o.json = true })
	other := newHouse(t, "off", nil).app.pairs[0].runner
	other.Nodes, other.Dial = h.app.pairs[0].runner.Nodes, h.app.pairs[0].runner.Dial
	other.ID, other.Operator, other.Emit = "otherid", "bob from admin2", nil
	if err := other.Lock(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	h.app.lockTimeout = time.Second
	if code, err := h.app.run(t.Context()); code != exitLocked || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	out := h.stdout.String()
	if !strings.Contains(out, `"event":"waiting","node":"fw01","message":"for the lock, at most 1s: held by bob from admin2 since`) ||
		strings.Contains(out, `"planned"`) || !strings.HasSuffix(out, "{\"event\":\"summary\",\"changed\":0,\"failed\":0,\"rolled_back\":false,\"seconds\":0}\n") {
		t.Errorf("printed %s", out)
	}
}

// TestInterrupted ends the whole program while it waits for an answer.
func TestInterrupted(t *testing.T) {
	w, _, stderr := testWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.args = []string{"fwprov", "render", filepath.Join("..", "..", "inventories", "guide.hcl"), "-o", t.TempDir()}
	w.inTerm, w.errTerm = true, true
	w.password = func(ctx context.Context) (string, error) { return "", ctx.Err() }
	if code := run(ctx, w); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if !strings.HasSuffix(stderr.String(), "interrupted\n") {
		t.Errorf("said %q", stderr.String())
	}
}

// TestAskForVariable: a sensitive variable is typed without being shown.
func TestAskForVariable(t *testing.T) {
	w, stdout, stderr := testWorld(t)
	dir := t.TempDir()
	w.args = []string{"fwprov", "render", filepath.Join("..", "..", "inventories", "guide.hcl"), "-o", dir, "--show-secrets", "--quiet"}
	w.inTerm, w.errTerm = true, true
	w.password = func(context.Context) (string, error) { return "typed123", nil }
	if code := run(t.Context(), w); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "vrrp_password (Shared by the two firewalls.") || strings.Contains(got+stdout.String(), "typed123") {
		t.Errorf("asked %q", got)
	}
	b, err := os.ReadFile(filepath.Join(dir, "fw01", "etc", "keepalived", "keepalived.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "typed123") {
		t.Error("what was typed did not become the password")
	}
}

// TestApplyLocked: two operators at once.
func TestApplyLocked(t *testing.T) {
	h := newHouse(t, "off", nil)
	other := newHouse(t, "off", nil).app.pairs[0].runner
	other.Nodes, other.Dial = h.app.pairs[0].runner.Nodes, h.app.pairs[0].runner.Dial
	other.ID, other.Operator = "otherid", "bob from admin2"
	other.Emit = nil
	if err := other.Lock(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	code, err := h.app.run(t.Context())
	if code != exitLocked || err != nil {
		t.Errorf("exit code %d, %v; want %d", code, err, exitLocked)
	}
	if got := h.stderr.String(); !strings.Contains(got, "error: node fw01 is locked by bob from admin2 since 1970-01-01T00:00:00Z") {
		t.Errorf("said %q", got)
	}
	if h.state("fw01") != "off" || h.state("fw02") != "off" {
		t.Error("something was changed in spite of the lock")
	}
	other.Unlock()
	again := &application{session: h.app.session, interrupted: make(chan struct{}), lockTimeout: time.Second}
	if code, err := again.run(t.Context()); code != exitOK || err != nil || h.state("fw02") != "on" {
		t.Errorf("once it is free: exit code %d, %v, %s", code, err, h.stderr)
	}
}

func TestApplyCode(t *testing.T) {
	back := &provision.RolledBackError{Node: "fw01", Cause: errors.New("cut off")}
	locked := &provision.LockedError{Node: "fw01", Holder: "bob"}
	interrupted := make(chan struct{})
	close(interrupted)
	for _, tc := range []struct {
		err         error
		interrupted <-chan struct{}
		want        int
	}{
		{errors.New("no"), nil, exitError},
		{locked, nil, exitLocked},
		{errors.Join(errors.New("no"), back), nil, exitRolledBack},
		{context.Canceled, interrupted, exitInterrupted},
		{back, interrupted, exitRolledBack},
	} {
		a := &application{interrupted: tc.interrupted}
		if got := a.code(tc.err); got != tc.want {
			t.Errorf("code(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

// TestFarewells: whoever interrupts is told what becomes of the node.
func TestFarewells(t *testing.T) {
	for _, tc := range []struct {
		name          string
		set           func(h *house, p *pair)
		first, second string
	}{
		{"apply", func(h *house, p *pair) {
			h.app.watch(p, &provision.Plan{Nodes: []*provision.NodePlan{{Name: "fw01", Changes: make([]provision.Change, 1)}, {Name: "fw02"}}})
		}, "interrupted: the step in hand is finished, then the node is confirmed or goes back; once more drops the connection\n",
			"The connection was dropped. Of fw01, a node that was being changed goes back to what it was by itself within 1m0s.\n"},
		{"drain", func(h *house, p *pair) { h.app.parting(p, "fw02", "may be drained") },
			"interrupted: what was begun is finished; once more drops the connection\n",
			"The connection was dropped. fw02 may be drained: fwprov verify pair.hcl tells, fwprov undrain pair.hcl fw02 takes it back.\n"},
	} {
		h := newHouse(t, "on", nil)
		h.app.pairs[0].runner.ConfirmTimeout = time.Minute
		tc.set(h, h.app.pairs[0])
		for second, want := range map[bool]string{false: tc.first, true: tc.second} {
			h.stderr.Reset()
			h.app.w.farewell.say(second)
			if got := h.stderr.String(); got != want {
				t.Errorf("%s: %q, want %q", tc.name, got, want)
			}
		}
		h.app.end()
	}
}
