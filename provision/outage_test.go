package provision

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"fwprov/provision/remote"
)

func outage() Outage {
	return Outage{Name: "run-1", Does: "is taken down for a test", Down: "echo down >/etc/state\necho note >note\n",
		Back: "[ ! -e note ] || cp note /etc/noted\necho up >/etc/state\n", Within: 7 * time.Second}
}

func TestOutageScriptsArePOSIX(t *testing.T) {
	o := outage()
	for _, o.Cuts = range []bool{false, true} {
		posix(t, o.downScript("run"))
		posix(t, o.backScript("unit"))
	}
}

// TestOutage takes a node down and puts it back: by the run, by the timer's script,
// and where there is nothing to put back.
func TestOutage(t *testing.T) {
	for _, cuts := range []bool{false, true} {
		m := newMachine(t)
		var events []Event
		r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, &events)
		ctx := context.Background()
		if err := r.PutBack(ctx, "fw01"); err != nil {
			t.Fatal(err)
		}
		o := outage()
		o.Cuts = cuts
		if err := r.TakeDown(ctx, "fw01", o); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(10 * time.Second)
		for cuts && time.Now().Before(until) {
			if note, _ := os.ReadFile(m.root + outageDir + "/note"); len(note) > 0 { // the last that is done
				break
			}
			time.Sleep(10 * time.Millisecond) // systemd runs it
		}
		if got := m.read(t, "/etc/state"); got != "down\n" {
			t.Errorf("the node is %s", got)
		}
		timer := m.read(t, "/timers")
		if !strings.Contains(timer, "--on-active=7000ms --on-unit-inactive=3s --timer-property=AccuracySec=100ms --unit=fwprov-outage-run-1 ") {
			t.Errorf("the timer is %s", timer)
		}
		if err := r.TakeDown(ctx, "fw01", o); err == nil || !strings.Contains(err.Error(), "an earlier outage") {
			t.Errorf("a second outage: %v", err)
		}
		// What the timer runs, once too often.
		for range 2 {
			if _, err := m.Exec(ctx, remote.Command{Script: "/bin/sh " + outageBack}); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.read(t, "/etc/state") + m.read(t, "/etc/noted"); got != "up\nnote\n" {
			t.Errorf("the node is %s", got)
		}
		if _, err := os.Stat(m.root + outageMark); err == nil {
			t.Error("the outage is not over")
		}
		if err := r.TakeDown(ctx, "fw01", o); err != nil {
			t.Errorf("another outage: %v", err)
		}
		if err := r.PutBack(ctx, "fw01"); err != nil {
			t.Error(err)
		}
	}
}

// TestOutageThatCannotEnd goes on to be pending, for the timer.
func TestOutageThatCannotEnd(t *testing.T) {
	m := newMachine(t)
	r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil)
	o := outage()
	o.Back = "false\necho up >/etc/state\n"
	if err := r.TakeDown(context.Background(), "fw01", o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.Sleep = func(context.Context, time.Duration) { cancel() }
	if err := r.PutBack(ctx, "fw01"); err == nil {
		t.Error("no error")
	}
	if m.read(t, "/etc/state") != "down\n" || m.read(t, outageMark) != "run-1\n" {
		t.Error("the outage is over")
	}
}
