package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/provision"
)

// golden compares a whole output with testdata/golden/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// somePlan has one of everything that a plan can hold.
func somePlan() *provision.Plan {
	p := &provision.Plan{Nodes: []*provision.NodePlan{
		{Name: "fw01", Role: provision.Standby, Notices: []string{"the gateway needs a route"}, Changes: []provision.Change{
			{Step: "packages", Target: "keepalived haproxy", Action: provision.Run, Why: "are not installed",
				Script: "secret script", From: provision.Facts{"a": "b"}, Makes: provision.Facts{"file /x": "hash"}},
			{Step: "keepalived", Target: "/etc/keepalived/keepalived.conf", Action: provision.Update, Why: "was changed by hand",
				Diff: "--- /etc/keepalived/keepalived.conf\n+++ /etc/keepalived/keepalived.conf\n@@ -1,2 +1,2 @@\n # Managed by fwprov.\n-priority 1\x1b[2J\n+priority 150\n"},
			{Step: "keepalived", Target: "/etc/old", Action: provision.Delete, Why: "left the inventory"},
			{Step: "keepalived", Target: "keepalived.service", Action: provision.Run, Why: "restart: reads another configuration", Disruptive: true},
		}},
		{Name: "fw02", Role: provision.Active, Notices: []string{"the gateway needs a route", "the servers\ntoo"}, Changes: []provision.Change{
			{Step: "sysctl", Target: "/etc/sysctl.d/90-fwprov.conf", Action: provision.Create,
				Diff: "--- /dev/null\n+++ /etc/sysctl.d/90-fwprov.conf\n@@ -0,0 +1 @@\n+net.ipv4.ip_forward = 1\n"},
		}},
	}}
	for _, n := range p.Nodes {
		p.Changes += len(n.Changes)
	}
	return p
}

func brokenPlan() *provision.Plan {
	return &provision.Plan{Nodes: []*provision.NodePlan{
		{Name: "fw01", Role: provision.None, Err: fmt.Errorf("node fw01: %w", provision.Findings{
			{Summary: "there is no interface eth9", Hint: "name it as the node does: eth0, eth1"},
			{Summary: "systemd does not run"},
		})},
		{Name: "fw02", Role: provision.None, Err: errors.New("node fw02: connect: connection refused\nis sshd there?")},
	}}
}

func TestPlanView(t *testing.T) {
	none := &provision.Plan{Nodes: []*provision.NodePlan{{Name: "fw01", Role: provision.Active}, {Name: "fw02", Role: provision.Standby}}}
	half := &provision.Plan{Changes: 1, Nodes: []*provision.NodePlan{somePlan().Nodes[1], brokenPlan().Nodes[1]}}
	for _, tc := range []struct {
		name  string
		view  planView
		label string
		plan  *provision.Plan
	}{
		{"plan.txt", planView{}, "", somePlan()},
		{"plan-brief.txt", planView{brief: true}, "", somePlan()},
		{"plan-colour.txt", planView{style: style{true}}, "edge", somePlan()},
		{"plan-none.txt", planView{}, "", none},
		{"plan-broken.txt", planView{}, "edge", brokenPlan()},
		{"plan-half.txt", planView{}, "", half},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			tc.view.out = &b
			tc.view.plan(tc.label, tc.plan)
			tc.view.total([]*provision.Plan{tc.plan})
			planErrors(&b, tc.view.style, tc.label, tc.plan)
			golden(t, tc.name, b.String())
		})
	}
}

// TestPlanDocument holds the form that others parse, and that what may tell
// about a secret stays out of it.
func TestPlanDocument(t *testing.T) {
	var b bytes.Buffer
	for _, p := range []*provision.Plan{somePlan(), brokenPlan()} {
		if err := writeJSON(&b, newPlanDocument("", p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeJSON(&b, newPlanDocument("edge.hcl", &provision.Plan{})); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", b.String())
	for _, word := range []string{"script", "from", "makes", "hash"} {
		if strings.Contains(b.String(), word) {
			t.Errorf("plan --json tells %q", word)
		}
	}
	var doc struct {
		Changes int
		Nodes   []struct {
			Name, Role string
			Changes    []struct{ Step, Target, Action, Diff string }
		}
	}
	if err := json.NewDecoder(&b).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Changes != 5 || doc.Nodes[0].Role != "standby" || doc.Nodes[1].Changes[0].Action != "create" {
		t.Errorf("plan --json reads as %+v", doc)
	}
}

func someEvents() []provision.Event {
	return []provision.Event{
		{Event: provision.Connecting, Node: "fw01"},
		{Event: provision.Probing, Node: "fw01"},
		{Event: provision.Planned, Node: "fw01", Role: provision.Standby, Count: 2},
		{Event: provision.Staging, Node: "fw01", Count: 1},
		{Event: provision.Validating, Node: "fw01"},
		{Event: provision.StepStarted, Node: "fw01", Step: "packages", Count: 1},
		{Event: provision.Output, Node: "fw01", Step: "packages", Message: "Unpacking\x1b[2J keepalived"},
		{Event: provision.ChangeDone, Node: "fw01", Step: "packages", Target: "keepalived", Action: provision.Run},
		{Event: provision.StepStarted, Node: "fw01", Step: "keepalived", Count: 1},
		{Event: provision.ChangeDone, Node: "fw01", Step: "keepalived", Target: "/etc/keepalived/keepalived.conf", Action: provision.Create},
		{Event: provision.Confirming, Node: "fw01"},
		{Event: provision.NodeDone, Node: "fw01", Count: 2, Seconds: 1.26},
		{Event: provision.ChangeFailed, Node: "fw02", Step: "packages", Target: "keepalived", Action: provision.Run, Error: "no"},
		{Event: provision.NodeFailed, Node: "fw02", Error: "no"},
		{Event: provision.GoingBack, Node: "fw02", Error: "cut off"},
		{Event: provision.RolledBack, Node: "fw02"},
		{Event: provision.NodeSkipped, Node: "fw03", Message: "left as it is"},
		{Event: provision.Forced, Node: "fw03", Message: "is changed because of --force, although fw02 could not take over:\n  reach: no\x1b[2J"},
		{Event: provision.Waiting, Message: "for the pair to settle"},
	}
}

func TestEventView(t *testing.T) {
	for _, tc := range []struct {
		name           string
		label          string
		quiet, verbose bool
	}{
		{name: "events.txt"},
		{name: "events-quiet.txt", quiet: true},
		{name: "events-verbose.txt", label: "edge", verbose: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, _, stderr := testWorld(t)
			scr := newScreen(w, tc.quiet)
			v := newEventView(scr, tc.label, tc.quiet, tc.verbose)
			for _, e := range someEvents() {
				v.event(e)
			}
			scr.close()
			golden(t, tc.name, stderr.String())
		})
	}
}

func TestHealthView(t *testing.T) {
	checks := []provision.Check{
		{Name: "reach", Node: "fw01", OK: true, Detail: "answers over SSH", Hint: "not shown"},
		{Name: "one holder", OK: false, Detail: "fw01 and fw02 hold\n192.168.1.10", Why: "packets go two ways", Hint: "ip -br addr"},
	}
	var b bytes.Buffer
	for _, brief := range []bool{false, true} {
		v := healthView{out: &b, brief: brief}
		v.health("", provision.Health{State: provision.Healthy, Checks: checks[:1]})
		v.health("", provision.Health{State: provision.Degraded, Checks: checks})
		v.health("edge", provision.Health{State: provision.Down, Checks: checks})
	}
	for _, doc := range []healthDocument{
		newHealthDocument("", provision.Health{State: provision.Degraded, Checks: checks}),
		newHealthDocument("edge.hcl", provision.Health{State: provision.Down}),
	} {
		if err := writeJSON(&b, doc); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "verify.txt", b.String())
}

// TestScreen replays what a terminal would show.
func TestScreen(t *testing.T) {
	w, stdout, stderr := testWorld(t)
	w.errTerm, w.environ = true, []string{"NO_COLOR=1"}
	now := time.Unix(0, 0)
	w.now = func() time.Time { return now }
	w.size = func() (int, int) { return 24, 4 }
	// Not newScreen: the test draws, not the clock.
	s := &screen{out: stdout, err: stderr, live: true, size: w.size, now: w.now, style: w.errStyle(), quit: make(chan struct{})}

	s.show("fw02", "connecting")
	s.show("fw01", "a text that is much too long for it")
	s.show("fw03", "does not fit")
	fmt.Fprintln(s.stderr(), "a line")
	now = now.Add(3 * time.Second)
	fmt.Fprintln(s.stderr(), "another")
	if got, want := played(stderr.String()), "a line\nanother\nfw01  a text that… (3s)\nfw02  connecting (3s)\n"; got != want {
		t.Errorf("the terminal shows\n%swant\n%s", got, want)
	}
	s.hide("fw02")
	fmt.Fprintln(s.stdout(), "data")
	if got, want := played(stderr.String()), "a line\nanother\nfw01  a text that… (3s)\nfw03  does not fit (3s)\n"; got != want {
		t.Errorf("the terminal shows\n%swant\n%s", got, want)
	}
	s.close()
	if got, want := played(stderr.String()), "a line\nanother\n"; got != want {
		t.Errorf("in the end the terminal shows\n%swant\n%s", got, want)
	}
	if got := stdout.String(); got != "data\n" {
		t.Errorf("standard output has %q", got)
	}
}

// played is what is left on a terminal that knows "up n lines, erase below".
func played(s string) string {
	var lines []string
	for s != "" {
		var n int
		if _, err := fmt.Sscanf(s, "\x1b[%dA\x1b[J", &n); err == nil {
			lines = lines[:len(lines)-n]
			_, s, _ = strings.Cut(s, "\x1b[J")
			continue
		}
		line, rest, _ := strings.Cut(s, "\n")
		lines, s = append(lines, line+"\n"), rest
	}
	return strings.Join(lines, "")
}
