package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree reads all files of a machine that an apply may touch, with their modes.
func (m *machine) tree(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, top := range []string{"/etc", "/var/lib/fwprov/manifest"} {
		_ = filepath.WalkDir(m.root+top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != bootUnit {
				info, _ := d.Info()
				b, _ := os.ReadFile(path)
				out[strings.TrimPrefix(path, m.root)] = info.Mode().String() + " " + string(b)
			}
			return nil
		})
	}
	return out
}

// switchStep has a state of its own on the machine, which a change flips.
type switchStep struct{ fail bool }

func (switchStep) Name() string { return "switch" }
func (switchStep) Probe() Probe {
	return Probe{Script: "cat /etc/switch", Parse: func(out string, f Facts) error {
		f["switch"] = strings.TrimSpace(out)
		return nil
	}}
}
func (s switchStep) Plan(f Facts) ([]Change, error) {
	if f["switch"] == "on" {
		return nil, nil
	}
	script := "echo on >/etc/switch"
	if s.fail {
		script += "\nexit 9"
	}
	return []Change{{Step: "switch", Target: "it", Action: Run, Script: script, Makes: Facts{"switch": "on"}}}, nil
}
func (switchStep) Undo() Undo {
	return Undo{Save: "cat /etc/switch >was", Restore: "cat was >/etc/switch"}
}

func guardSteps(last Step) func(string) []Step {
	return func(string) []Step {
		return []Step{
			web{name: "web", late: "/etc/gone.conf", files: []File{
				{Path: "/etc/a.conf", Content: []byte("new\n"), Mode: 0o600},
				{Path: "/etc/new.conf", Content: []byte("new\n")},
				{Path: "/etc/systemd/system/web.service.d/x.conf", Content: []byte("[Unit]\n")}}},
			last,
		}
	}
}

func guardMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.write(t, "/etc/a.conf", "old\n")
	m.write(t, "/etc/gone.conf", "going\n")
	m.write(t, "/etc/switch", "off\n")
	return m
}

func TestFailedNodeGoesBack(t *testing.T) {
	m := guardMachine(t)
	before := m.tree(t)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{fail: true}), nil)
	sum, err := r.Apply(context.Background(), r.Plan(context.Background()))
	var back *RolledBackError
	if !errors.As(err, &back) || len(back.Failed) > 0 || !sum.RolledBack || sum.Changed != 0 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
	if _, err := os.Stat(m.root + pendingMark); err == nil {
		t.Error("the mark is still there")
	}
}

func TestNodeThatCannotBeReachedAgainGoesBack(t *testing.T) {
	m := guardMachine(t)
	before := m.tree(t)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	r.Emit = func(e Event) { m.cut = m.cut || e.Event == ChangeDone } // as a wrong rule does
	r.ConfirmTimeout = 50 * time.Millisecond
	// The timer of systemd is played by the wait between two attempts.
	r.Sleep = func(ctx context.Context, _ time.Duration) {
		<-time.After(60 * time.Millisecond)
		m.cut = false
	}
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	var back *RolledBackError
	if !errors.As(err, &back) || !strings.Contains(err.Error(), "not confirmed within 50ms") {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
	if timers := m.read(t, "/timers"); strings.Count(timers, "--timer-property=AccuracySec=100ms") < 2 {
		t.Errorf("the timer was not armed again for each step:\n%s", timers)
	}
}

func TestInterruptFinishesTheStepInHand(t *testing.T) {
	m := guardMachine(t)
	before := m.tree(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	r.Emit = func(e Event) {
		if e.Event == ChangeDone && e.Step == "web" {
			cancel()
		}
	}
	sum, err := r.Apply(ctx, r.Plan(ctx))
	var back *RolledBackError
	if !errors.As(err, &back) || !errors.Is(err, context.Canceled) || !sum.RolledBack {
		t.Fatalf("%+v, %v", sum, err)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

func TestUnconfirmedChangeKeepsOthersOut(t *testing.T) {
	m := guardMachine(t)
	if err := os.MkdirAll(m.root+snapshotDir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.write(t, pendingMark, "other\n")
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	if err == nil || !strings.Contains(err.Error(), "not confirmed yet") {
		t.Error(err)
	}
}

func TestGuardScriptsParse(t *testing.T) {
	g := newGuard("m", &NodePlan{steps: guardSteps(switchStep{})(""), Changes: []Change{{Remove: "/etc/it's"}}})
	posix(t, g.armScript(time.Minute))
	posix(t, g.guarded(time.Minute))
	posix(t, g.disarmScript(""))
	posix(t, rollbackScript)
	posix(t, backScript())
	posix(t, stateScript)
	posix(t, lockScript("m", "it's me", "run", time.Unix(0, 0), time.Second))
}

func TestWentBackTo(t *testing.T) {
	for _, c := range []struct {
		out  string
		want []string
		ok   bool
	}{
		{"run\nok\n", nil, true},
		{"pending\nrun\nok\n", nil, true},
		{"pending run\nrun\nok\n", nil, false},
		{"run\n/etc/a steps/iptables\n", []string{"/etc/a", "steps/iptables"}, true},
		{"other\nok\n", nil, false},
		{"", nil, false},
	} {
		got, ok := wentBackTo("run", c.out)
		if d := cmp.Diff(c.want, got); d != "" || ok != c.ok {
			t.Errorf("%q: %v %v", c.out, got, ok)
		}
	}
}
