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

	"fwprov/provision/remote"
)

// tree reads all files of a machine that an apply may touch, with their modes.
func (m *machine) tree(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, top := range []string{"/etc", "/var/lib/fwprov/manifest"} {
		_ = filepath.WalkDir(m.root+top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != bootUnit && d.Name() != againUnit {
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
	r.ConfirmTimeout = time.Second                                    // on a busy machine a look takes its time
	// The timer of systemd is played by the wait between two attempts.
	r.Sleep = func(ctx context.Context, _ time.Duration) {
		<-time.After(1100 * time.Millisecond)
		m.cut = false
	}
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	var back *RolledBackError
	if !errors.As(err, &back) || !strings.Contains(err.Error(), "not confirmed within 1s") {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
	if timers := m.read(t, "/timers"); !strings.Contains(timers, "--on-active=1000ms --on-unit-inactive=3s --timer-property=AccuracySec=100ms") {
		t.Errorf("the timer was armed with %s", timers)
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

// prepareStep is a step whose changes stay.
type prepareStep struct{ web }

func (prepareStep) Prepares() {}

// TestInterruptBeforeTheGuard: what prepares is finished, and there is nothing to go
// back from.
func TestInterruptBeforeTheGuard(t *testing.T) {
	m := guardMachine(t)
	ctx, cancel := context.WithCancel(context.Background())
	steps := func(string) []Step {
		return []Step{
			prepareStep{web{name: "packages", files: []File{{Path: "/etc/package.conf", Content: []byte("there\n")}}}},
			prepareStep{web{name: "more", files: []File{{Path: "/etc/more.conf", Content: []byte("there\n")}}}},
			switchStep{},
		}
	}
	r := runner(map[string]*machine{"fw01": m}, steps, nil)
	r.Emit = func(e Event) {
		if e.Event == StepStarted {
			cancel()
		}
	}
	sum, err := r.Apply(ctx, r.Plan(ctx))
	if !errors.Is(err, context.Canceled) || sum.RolledBack || sum.Changed != 1 || sum.Failed != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if m.read(t, "/etc/package.conf") != "there\n" || m.read(t, "/etc/switch") != "off\n" {
		t.Error("the step in hand was not finished, or another was begun")
	}
	for _, path := range []string{"/etc/more.conf", snapshotDir} {
		if _, err := os.Stat(m.root + path); err == nil {
			t.Errorf("%s is there", path)
		}
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
	if err == nil || !strings.Contains(err.Error(), "is not confirmed") {
		t.Error(err)
	}
}

func TestGuardScriptsParse(t *testing.T) {
	g := newGuard("m", &NodePlan{steps: guardSteps(switchStep{})(""), Changes: []Change{{Remove: "/etc/it's"}}})
	posix(t, g.armScript(time.Minute))
	posix(t, g.guarded(time.Minute))
	posix(t, g.disarmScript("", ""))
	posix(t, rollbackScript)
	posix(t, g.backScript())
	posix(t, g.unguarded())
	posix(t, g.reachedScript(time.Minute))
	posix(t, stateScript)
	posix(t, lockScript("m", "it's me", "run", time.Unix(0, 0), time.Second))
}

func TestFateOf(t *testing.T) {
	for _, c := range []struct {
		out  string
		want fate
	}{
		{"pending\nconfirmed\nrun\nok\n", fate{wentBack: true}},
		{"pending \nconfirmed other\nrun\n/etc/a steps/iptables\n", fate{wentBack: true, failed: []string{"/etc/a", "steps/iptables"}}},
		{"pending run\nconfirmed \nrun\nok\n", fate{pending: true}},
		{"pending run\nconfirmed run\n", fate{pending: true}},
		{"pending \nconfirmed run\n", fate{confirmed: true}},
		{"pending other\nconfirmed run\nother\nok\n", fate{confirmed: true}},
		{"pending \nconfirmed \nother\nok\n", fate{}},
		{"pending \nconfirmed \nrun\n", fate{}},
		{"pending \nconfirmed \n", fate{}},
		{"run\nok\n", fate{}},
		{"", fate{}},
	} {
		if d := cmp.Diff(c.want, fateOf("run", c.out), cmp.AllowUnexported(fate{})); d != "" {
			t.Errorf("%q: %s", c.out, d)
		}
	}
}

// deaf is a connection over which the answer to some commands does not come.
type deaf struct {
	*machine
	lost func(script string) bool
}

func (d deaf) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	res, err := d.machine.Exec(ctx, cmd)
	if d.lost(cmd.Script) {
		return remote.Result{}, errors.New("connection reset by peer")
	}
	return res, err
}

// TestAnswerToTheConfirmationIsLost: the node keeps the change, and nobody is told
// otherwise.
func TestAnswerToTheConfirmationIsLost(t *testing.T) {
	for _, c := range []struct {
		name string
		lost int // so many answers after it was confirmed, of commands but the last
		err  string
	}{
		{"once", 1, ""},
		{"until it is asked to go back", 5, "node fw01 was confirmed all the same, and keeps the change: node fw01: confirm: connection reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := guardMachine(t)
			r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
			dial, left := r.Dial, c.lost
			r.Dial = func(ctx context.Context, node string, fresh bool) (Conn, error) {
				if _, err := dial(ctx, node, fresh); err != nil {
					return nil, err
				}
				return deaf{m, func(script string) bool {
					if left == 0 || !strings.Contains(script, confirmedMark) {
						return false
					}
					left--
					return true
				}}, nil
			}
			sum, err := r.Apply(context.Background(), r.Plan(context.Background()))
			if sum.Changed != 5 || sum.RolledBack || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, %v", sum, err)
			}
			if got := m.read(t, "/etc/switch"); got != "on\n" {
				t.Errorf("the switch is %s", got)
			}
		})
	}
}

// TestSlowWayBackIsWaitedFor for as long as the node says that it is at it, and is
// not taken for one that cannot be asked.
func TestSlowWayBackIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		stuck time.Duration
		want  string
	}{
		{"in the end", 4 * time.Minute, "went back to what it was: "},
		{"in vain", time.Hour, "node fw01 is still going back to what it was"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := guardMachine(t)
			r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{fail: true}), nil)
			dial, ends := r.Dial, r.Now().Add(c.stuck)
			r.Dial = func(ctx context.Context, node string, fresh bool) (Conn, error) {
				if _, err := dial(ctx, node, fresh); err != nil {
					return nil, err
				}
				return stuck{m, func() bool { return r.Now().Before(ends) }}, nil
			}
			_, err := r.Apply(context.Background(), r.Plan(context.Background()))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
			if c.stuck == time.Hour && r.Now().Sub(time.Unix(0, 0)) > 15*time.Minute {
				t.Errorf("waited until %s", r.Now())
			}
		})
	}
}

// stuck is a node that takes its time to go back.
type stuck struct {
	*machine
	busy func() bool
}

func (s stuck) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	if strings.HasSuffix(cmd.Script, stateScript) && s.busy() {
		return remote.Result{Stdout: []byte("pending testrun\nconfirmed \n")}, nil
	}
	if cmd.Script == stateScript { // it has not heard that it is to go back now
		cmd.Script = scriptHead + "sh " + rollbackSh + " now testrun\n" + stateScript
	}
	return s.machine.Exec(ctx, cmd)
}

// TestWhatCouldNotBeRestoredIsHarmless however much of it a node names.
func TestWhatCouldNotBeRestoredIsHarmless(t *testing.T) {
	m := guardMachine(t)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{fail: true}), nil)
	r.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter2", "(sensitive)") }
	dial := r.Dial
	r.Dial = func(ctx context.Context, node string, fresh bool) (Conn, error) {
		if _, err := dial(ctx, node, fresh); err != nil {
			return nil, err
		}
		return talkative{m}, nil
	}
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	var back *RolledBackError
	if !errors.As(err, &back) || len(back.Failed) != 1000 {
		t.Fatal(err)
	}
	if s := err.Error(); strings.ContainsAny(s, "\x1b") || strings.Contains(s, "hunter2") || strings.Count(s, "\n") > 40 || !strings.Contains(s, "and 980 more") {
		t.Errorf("%q", s)
	}
}

// talkative is a node that says too much of what it could not restore, unless it is
// bounded.
type talkative struct{ *machine }

func (c talkative) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	res, err := c.machine.Exec(ctx, cmd)
	if strings.HasSuffix(cmd.Script, stateScript) {
		if cmd.MaxOutput != maxResult {
			return remote.Result{}, errors.New("not bounded")
		}
		res.Stdout = []byte("pending \nconfirmed \ntestrun\n" + strings.Repeat("/etc/\x1b[31mhunter2 ", 1000) + "\n")
	}
	return res, err
}
