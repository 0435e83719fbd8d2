package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fwprov/provision"
	"fwprov/steps"
)

func someStatus() steps.Status {
	now := time.Date(2026, 11, 23, 5, 30, 0, 0, time.UTC)
	since := now.Add(-2*time.Hour - 5*time.Minute)
	nic := func(name, network string, bps, pps float64) steps.InterfaceStatus {
		return steps.InterfaceStatus{Name: name, Network: network, Up: true, RxBytes: 1000, RxPackets: 10, TxBytes: 2000, TxPackets: 20,
			RxBps: bps, RxPps: pps, TxBps: bps / 2, TxPps: pps / 2}
	}
	st := steps.Status{Time: now, Cluster: "edge", State: provision.Healthy, Active: "fw01", Since: &since, Why: "keepalived of fw02 was stopped",
		Problems: []steps.Problem{},
		Nodes: []steps.NodeStatus{
			{Name: "fw01", Role: "active", Connections: 131072, MaxConnections: 262144, Sync: &steps.SyncStatus{Own: 130000, Sent: 5, Received: 6},
				Interfaces: []steps.InterfaceStatus{nic("eth0", "outside", 12.3e6, 123456), nic("eth2", "inside", 999, 7), nic("eth1", "sync", 58000, 300), nic("eth2.2", "mail", 1, 1)}},
			{Name: "fw02", Role: "standby", Connections: 17, MaxConnections: 262144, Sync: &steps.SyncStatus{Peer: 129990, Missing: 10, Errors: 1, Lost: 3},
				Interfaces: []steps.InterfaceStatus{nic("eth0", "outside", 0, 0), nic("eth2", "inside", 0, 0), {Name: "eth1", Network: "sync"}}},
		},
		VIPs: []steps.VIPStatus{{Address: "192.168.1.10", Interface: "eth0", Holders: []string{"fw01"}}},
		Services: []steps.ServiceStatus{
			{Name: "smtp", Address: "192.168.1.10:25", Sessions: 3, Servers: []steps.ServerStatus{{Name: "mx1", State: "UP", Up: true}, {Name: "mx2", State: "DOWN"}}},
			{Name: "web", Address: "192.168.1.10:443", Sessions: 1, Servers: []steps.ServerStatus{{Name: "w1", State: "no", Up: true}}},
		},
		Transitions: []steps.Transition{
			{Time: since.Add(-48 * time.Hour), Node: "fw02", State: "master", Why: "heard nobody"},
			{Time: since.Add(-time.Second), Node: "fw02", State: "stopped", Why: "keepalived was stopped"},
			{Time: since, Node: "fw01", State: "master", Why: "keepalived of fw02 was stopped"},
		}}
	for i := range 9 {
		st.VIPs = append(st.VIPs, steps.VIPStatus{Address: fmt.Sprintf("10.10.%d.254", i+2), Interface: fmt.Sprintf("eth2.%d", i+2), Holders: []string{"fw01"}})
	}
	return st
}

// brokenStatus is of a pair one node of which is gone; the words of what it said
// last would break out of a line, a label and a screen.
func brokenStatus() steps.Status {
	st := someStatus()
	st.State, st.Since = provision.Degraded, nil
	why := errors.New("node fw02: connect: no route to host\nsecond line \x1b[2J").Error()
	st.Nodes[1] = steps.NodeStatus{Name: "fw02", Role: "unreachable", Error: why}
	st.Nodes[0].Sync = nil
	st.Problems = []steps.Problem{{Check: "reach", Node: "fw02", Detail: why}, {Check: "one holder", Detail: strings.Repeat("long ", 30)}}
	st.VIPs[7].Holders = []string{"fw01", "fw02"}
	st.VIPs[8].Holders = nil
	st.Services[0].Name = "a\"b\\c\nd"
	st.Transitions = nil
	return st
}

func TestStatusView(t *testing.T) {
	for name, v := range map[string]statusView{
		"status.txt":        {columns: 80, zone: time.UTC},
		"status-narrow.txt": {columns: 40, zone: time.UTC},
		"status-colour.txt": {columns: 80, zone: time.UTC, style: style{true}},
	} {
		text := v.render(someStatus()) + "----\n" + v.render(brokenStatus())
		golden(t, name, text)
		for _, line := range strings.Split(text, "\n") {
			if n := len([]rune(line)); !v.style.on && n >= v.columns {
				t.Errorf("%s: a line of %d characters: %q", name, n, line)
			}
		}
	}
	var b bytes.Buffer
	for _, st := range []steps.Status{someStatus(), brokenStatus()} {
		if err := writeJSON(&b, st); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "status.json", b.String())
}

func TestStatusViewSaysWhoIsActive(t *testing.T) {
	for want, change := range map[string]func(*steps.Status){
		"fw01 is active":            func(*steps.Status) {},
		"fw01 and fw02 are both":    func(st *steps.Status) { st.Active, st.Nodes[1].Role = "", "active" },
		"nobody is active":          func(st *steps.Status) { st.Active, st.Nodes[0].Role = "", "standby" },
		"who is active is not know": func(st *steps.Status) { st.Active, st.Nodes[0].Role, st.Nodes[0].Error = "", "unreachable", "x" },
	} {
		st := someStatus()
		change(&st)
		first, _, _ := strings.Cut(statusView{columns: 80, zone: time.UTC}.render(st), "\n")
		if !strings.Contains(first, want) {
			t.Errorf("%q does not say %q", first, want)
		}
	}
}

func TestPrometheus(t *testing.T) {
	text := prometheus(someStatus()) + "\n" + prometheus(brokenStatus())
	golden(t, "status.prom", text)
	sample := regexp.MustCompile(`^[a-z_]+\{([a-z]+="([^"\\]|\\["\\n])*",?)+\} -?[0-9.e+]+$`)
	for _, st := range []steps.Status{someStatus(), brokenStatus()} {
		seen := map[string]bool{}
		family := ""
		for _, line := range strings.Split(strings.TrimSpace(prometheus(st)), "\n") {
			if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
				family, _, _ = strings.Cut(rest, " ")
				if seen[family] {
					t.Errorf("%s comes twice", family)
				}
				seen[family] = true
				continue
			}
			if !strings.HasPrefix(line, "# TYPE "+family+" ") && (!sample.MatchString(line) || !strings.HasPrefix(line, family+"{")) {
				t.Errorf("in %s: %q", family, line)
			}
		}
	}
}

func TestStatusCode(t *testing.T) {
	st := someStatus()
	if c := statusCode(st); c != exitOK {
		t.Errorf("healthy: %d", c)
	}
	if c := statusCode(brokenStatus()); c != exitUnhealthy {
		t.Errorf("degraded: %d", c)
	}
	st.Nodes[0].Error, st.Nodes[1].Error, st.State = "x", "y", provision.Down
	if c := statusCode(st); c != exitError {
		t.Errorf("nobody answers: %d", c)
	}
}

// TestFrame holds what a terminal shows of one frame after the other.
func TestFrame(t *testing.T) {
	f := frame{}
	var screen string
	for _, text := range []string{"a\nb\nc\n", "d\n", "1\n2\n3\n4\n5\n"} {
		screen += f.over(text, 5)
	}
	screen = strings.ReplaceAll(screen, "\r\x1b[J", "\x1b[J")
	if got := played(strings.TrimPrefix(screen, "\x1b[J")); got != "1\n2\n3\n4\n" {
		t.Errorf("the terminal shows %q", got)
	}
}

// TestWatchEndsWell holds that a watch draws frame over frame, also of a pair that
// does not answer, and that an interruption is its usual end.
func TestWatchEndsWell(t *testing.T) {
	w, stdout, stderr := testWorld(t)
	script, err := os.ReadFile(filepath.Join("testdata", "script", "status.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pair.hcl")
	_, text, _ := strings.Cut(string(script), "-- pair.hcl --\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.args, w.outTerm, w.environ = []string{"fwprov", "status", file, "--watch", "--ssh-config", "none"}, true, []string{"NO_COLOR=1", "HOME=" + t.TempDir()}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(2500*time.Millisecond, func() { cancel(errInterrupted) })
	if code := run(ctx, w); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	frames := strings.Count(stdout.String(), "fw is down")
	if frames < 2 || strings.Count(stdout.String(), "\x1b[J") != frames || strings.Contains(stderr.String(), "connecting") {
		t.Errorf("%d frames:\n%q\n%s", frames, stdout, stderr)
	}
}
