package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// web is a step that wants files and a running unit.
type web struct {
	name  string
	files []File
	unit  string
	late  string // a path whose removal is late
	check string // what Validate runs
}

func (w web) Name() string { return w.name }

func (w web) Probe() Probe {
	p := Probe{Files: []string{"/etc/*.conf", "/etc/systemd/system/*"}, Script: "echo hello " + w.name, Parse: func(out string, f Facts) error {
		f[Key("said", w.name)] = strings.TrimSpace(out)
		return nil
	}}
	if w.unit != "" {
		p.Units = []string{w.unit}
	}
	return p
}

func (w web) Plan(f Facts) ([]Change, error) {
	if f.Get("said", w.name) != "hello "+w.name {
		return nil, Findings{{Summary: "did not say hello", Hint: "teach it"}}
	}
	out := PlanFiles(f, w.name, w.files...)
	if w.late != "" && f.Get("file", w.late) != "" {
		c := PlanRemove(f, w.name, w.late)
		c.Late = true
		out = append(out, c)
	}
	if key := Key("unit", w.unit, "ActiveState"); w.unit != "" && f[key] != "active" {
		out = append(out, Change{Step: w.name, Target: w.unit, Action: Run, Script: "systemctl start " + w.unit, From: f.Select(key), Makes: Facts{key: "active"}})
	}
	return out, nil
}

func (w web) Validate(staged func(string) string) string {
	if w.check == "" {
		return ""
	}
	return strings.ReplaceAll(w.check, "FILE", staged(w.files[0].Path))
}

func describe(p *Plan) []string {
	var out []string
	for _, n := range p.Nodes {
		for _, c := range n.Changes {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", n.Name, c.Step, c.Action, c.Target, c.Why)))
		}
	}
	return out
}

func TestApplyThenNothing(t *testing.T) {
	m := newMachine(t)
	steps := func(string) []Step {
		return []Step{web{name: "web", unit: "web.service", check: "grep -q port FILE",
			files: []File{{Path: "/etc/web.conf", Content: []byte("port 80\n")}, {Path: "/etc/systemd/system/web.service", Content: []byte("[Unit]\n")}}}}
	}
	r := runner(map[string]*machine{"fw01": m}, steps, nil)
	p := r.Plan(context.Background())
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{"fw01 web create /etc/web.conf", "fw01 web create /etc/systemd/system/web.service", "fw01 web run web.service"}
	if d := cmp.Diff(want, describe(p)); d != "" {
		t.Fatal(d)
	}
	if m.execs != 1 {
		t.Errorf("planning took %d commands, want 1", m.execs)
	}
	sum, err := r.Apply(context.Background(), p)
	if err != nil || sum.Changed != 3 {
		t.Fatalf("changed %d, err %v", sum.Changed, err)
	}
	if got := m.read(t, "/etc/web.conf"); got != "port 80\n" {
		t.Errorf("file is %q", got)
	}
	if got := m.read(t, "/reloads"); got != "reload\nreload\n" {
		t.Errorf("daemon-reload before the unit was started: %q", got)
	}
	if m.dials != 2 {
		t.Errorf("%d connections, want one for the apply and a new one after it", m.dials)
	}
	m.execs, m.dials = 0, 0
	r = runner(map[string]*machine{"fw01": m}, steps, nil)
	if p = r.Plan(context.Background()); p.Changes != 0 || p.Err() != nil {
		t.Fatalf("a rerun plans %v, %v", describe(p), p.Err())
	}
	if _, err := r.Apply(context.Background(), p); err != nil || m.execs != 1 || m.dials != 1 {
		t.Errorf("a rerun took %d commands, %d connections: %v", m.execs, m.dials, err)
	}
}

func TestDrift(t *testing.T) {
	m := newMachine(t)
	content := "a\nb\n"
	steps := func(string) []Step {
		var files []File
		if content != "" {
			files = []File{{Path: "/etc/a.conf", Content: []byte(content), Mode: 0o600, Shown: []byte(strings.ReplaceAll(content, "b", "masked")),
				Mask: func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "b", "masked")) }}}
		}
		return []Step{web{name: "web", files: files}}
	}
	apply := func(want ...string) *Plan {
		t.Helper()
		r := runner(map[string]*machine{"fw01": m}, steps, nil)
		p := r.Plan(context.Background())
		if d := cmp.Diff(want, describe(p)); d != "" {
			t.Fatal(d)
		}
		if _, err := r.Apply(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	apply("fw01 web create /etc/a.conf")
	m.write(t, "/etc/a.conf", "b\nc\n")
	p := apply("fw01 web update /etc/a.conf was changed by hand")
	want := "--- /etc/a.conf\n+++ /etc/a.conf\n@@ -1,2 +1,2 @@\n+a\n masked\n-c\n"
	if d := cmp.Diff(want, p.Nodes[0].Changes[0].Diff); d != "" {
		t.Error(d)
	}
	content = "a\nb2\n"
	apply("fw01 web update /etc/a.conf")
	content = ""
	apply("fw01 web delete /etc/a.conf left the inventory")
	apply()
}

func TestFailedChangeIsNamed(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	bad := func(node string) []Step {
		if node == "fw02" {
			return []Step{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}}
		}
		return []Step{brokenStep{}}
	}
	var events []Event
	r := runner(map[string]*machine{"fw01": m, "fw02": other}, bad, &events)
	r.Roles = func(map[string]Facts) map[string]Role { return map[string]Role{"fw01": Standby, "fw02": Active} }
	p := r.Plan(context.Background())
	sum, err := r.Apply(context.Background(), p)
	if err == nil || !strings.Contains(err.Error(), "node fw01: step broken: run it: exit status 3: oh \ufffd[31mno") {
		t.Errorf("error is %v", err)
	}
	if sum.Changed != 0 || sum.Failed != 1 || !sum.RolledBack {
		t.Errorf("%+v", sum)
	}
	if _, err := os.Stat(other.root + "/etc/a.conf"); err == nil {
		t.Error("the active node was changed although the standby failed")
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Event == NodeSkipped && e.Node == "fw02" }) {
		t.Error("nothing said that fw02 was left alone")
	}
}

type brokenStep struct{}

func (brokenStep) Name() string { return "broken" }
func (brokenStep) Probe() Probe { return Probe{} }
func (brokenStep) Plan(Facts) ([]Change, error) {
	return []Change{{Step: "broken", Target: "it", Action: Run, Script: "echo oh \x1b[31mno >&2\nexit 3"}}, nil
}

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name         string
		fw01, fw02   Role
		inUse, first bool // first: fw02 is changed before fw01
	}{
		{"the standby first", Active, Standby, true, true},
		{"whatever its name is", Standby, Active, true, false},
		{"nobody holds the traffic at the moment", None, None, true, false},
		{"both hold it", Active, Active, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps := func(string) []Step {
				return []Step{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}}
			}
			var events []Event
			r := runner(map[string]*machine{"fw01": newMachine(t), "fw02": newMachine(t)}, steps, &events)
			r.Roles = func(map[string]Facts) map[string]Role { return map[string]Role{"fw01": tt.fw01, "fw02": tt.fw02} }
			r.Unused = func(map[string]Facts) bool { return !tt.inUse }
			if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range events {
				if e.Event == ChangeDone || e.Event == NodeDone {
					got = append(got, string(e.Event)+" "+e.Node)
				}
			}
			want := []string{"change fw01", "node fw01", "change fw02", "node fw02"}
			if tt.first {
				want = []string{"change fw02", "node fw02", "change fw01", "node fw01"}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestSideBySide: nodes that nobody uses yet are one stage.
func TestSideBySide(t *testing.T) {
	for _, inUse := range []bool{false, true} {
		p := &Plan{Nodes: []*NodePlan{{Name: "fw01", Role: None}, {Name: "fw02", Role: None}}, inUse: inUse}
		if waves := p.order(); (len(waves) == 2) != inUse {
			t.Errorf("in use %t: %d waves", inUse, len(waves))
		}
	}
}

func TestValidationStopsBeforeAnythingIsPut(t *testing.T) {
	m := newMachine(t)
	steps := func(string) []Step {
		return []Step{web{name: "web", check: "echo line 1 is wrong: $(cat FILE)\nfalse", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}}
	}
	r := runner(map[string]*machine{"fw01": m}, steps, nil)
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	if err == nil || !strings.Contains(err.Error(), "line 1 is wrong: a") || !strings.Contains(err.Error(), "step web") {
		t.Errorf("error is %v", err)
	}
	r = runner(map[string]*machine{"fw01": m}, steps, nil)
	if p := r.Plan(context.Background()); p.Changes != 1 {
		t.Errorf("after a failed validation %v is planned", describe(p))
	}
}

func TestLateChangesComeLastInReverse(t *testing.T) {
	n := &NodePlan{steps: []Step{web{name: "a"}, web{name: "b"}}, Changes: []Change{
		{Step: "a", Target: "1"}, {Step: "a", Target: "late 1", Late: true}, {Step: "a", Target: "late 2", Late: true},
		{Step: "b", Target: "2"}, {Step: "b", Target: "late 3", Late: true}}}
	var got []string
	for _, b := range n.batches() {
		for _, c := range b.changes {
			got = append(got, c.Target)
		}
	}
	if d := cmp.Diff([]string{"1", "2", "late 3", "late 2", "late 1"}, got); d != "" {
		t.Error(d)
	}
}

// TestReloadsAreFew: systemd is told of units before the next script, of links when all
// is done.
func TestReloadsAreFew(t *testing.T) {
	unit := func(step, path string) Change {
		return Change{Step: step, Target: path, Write: &File{Path: path}}
	}
	run := func(step, name string, enables bool) Change {
		return Change{Step: step, Target: name, Script: "echo " + name + "\n", Enables: enables}
	}
	const dropIn, conf = "/etc/systemd/system/x.service.d/y.conf", "/etc/x.conf"
	for name, c := range map[string]struct {
		changes []Change
		want    string
	}{
		"a drop-in alone":                {[]Change{unit("a", dropIn)}, "reload"},
		"a configuration":                {[]Change{unit("a", conf), run("a", "start", false)}, "start"},
		"a drop-in, then a start":        {[]Change{unit("a", dropIn), run("a", "start", false)}, "reload start"},
		"two steps write, the last runs": {[]Change{unit("a", dropIn), unit("b", dropIn), run("b", "start", false)}, "reload start"},
		"two are enabled":                {[]Change{run("a", "enable", true), run("a", "start", false), run("b", "enable", true), run("b", "start", false)}, "enable start enable start reload"},
		"enabled, then a drop-in":        {[]Change{run("a", "enable", true), unit("b", dropIn), run("b", "start", false)}, "enable reload start"},
		"the last writes nothing":        {[]Change{unit("a", dropIn), unit("b", conf)}, "reload"},
	} {
		n := &NodePlan{steps: []Step{web{name: "a"}, web{name: "b"}}, Changes: c.changes}
		var got []string
		for _, b := range n.batches() {
			for _, m := range regexp.MustCompile(`(?m)^(?:systemctl daemon-(reload)|echo (\w+))$`).FindAllStringSubmatch(stepScript("m", b, nil, nil), -1) {
				got = append(got, m[1]+m[2])
			}
		}
		if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestUnreachableNodeDoesNotHideTheOther(t *testing.T) {
	m1, m2 := newMachine(t), newMachine(t)
	m2.cut = true
	steps := func(string) []Step {
		return []Step{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}}
	}
	p := runner(map[string]*machine{"fw01": m1, "fw02": m2}, steps, nil).Plan(context.Background())
	if p.Err() == nil || !strings.Contains(p.Err().Error(), "fw02: connection refused") {
		t.Errorf("error is %v", p.Err())
	}
	if d := cmp.Diff([]string{"fw01 web create /etc/a.conf"}, describe(p)); d != "" {
		t.Error(d)
	}
}

func TestBrokenPromiseIsReported(t *testing.T) {
	m := newMachine(t)
	r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return []Step{liar{}} }, nil)
	_, err := r.Apply(context.Background(), r.Plan(context.Background()))
	if err == nil || !strings.Contains(err.Error(), `said liar is absent, should be "yes"`) {
		t.Errorf("error is %v", err)
	}
}

type liar struct{}

func (liar) Name() string { return "liar" }
func (liar) Probe() Probe { return Probe{} }
func (liar) Plan(Facts) ([]Change, error) {
	return []Change{{Step: "liar", Target: "it", Action: Run, Script: "true", Makes: Facts{"said liar": "yes"}}}, nil
}

// watcher is a Verifier that is content at its third look.
type watcher struct {
	web
	looks *int
}

func (w watcher) VerifyProbe() Probe {
	return Probe{Wait: "echo waited >>/etc/waited; echo said", Script: "echo x", Parse: func(out string, _ Facts) error {
		if out != "x\n" {
			return fmt.Errorf("it said %q", out)
		}
		return nil
	}}
}
func (w watcher) Settle() time.Duration { return 5 * time.Second }
func (w watcher) Verify(map[string]Facts) []Check {
	*w.looks++
	return []Check{{Name: "looks", OK: *w.looks >= 3, Detail: fmt.Sprint(*w.looks), Down: true}}
}

func TestVerifyWaitsUntilAllIsWell(t *testing.T) {
	looks := 0
	m := newMachine(t)
	r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return []Step{watcher{web{name: "w"}, &looks}} }, nil)
	h, err := r.Verify(context.Background())
	if err != nil || h.State != Healthy || looks != 3 {
		t.Errorf("%v, %v after %d looks", h, err, looks)
	}
	if got := m.read(t, "/etc/waited"); got != strings.Repeat("waited\n", looks) {
		t.Errorf("before %d looks it has waited: %q", looks, got)
	}
	looks = -1000
	if h, _ = r.Verify(context.Background()); h.State != Down {
		t.Errorf("state is %s after the deadline", h.State)
	}
	m.write(t, "/etc/waited", "")
	looks, r.Once = -1000, true
	if h, _ = r.Verify(context.Background()); h.State != Down || looks != -999 {
		t.Errorf("state is %s after %d looks instead of one", h.State, looks+1000)
	}
	if got := m.read(t, "/etc/waited"); got != "" {
		t.Errorf("what is to be judged first was waited for: %q", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = r.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// TestWhatIsLostIsTold: a node that went back by itself, and not in all, says so
// until an apply has changed it.
func TestWhatIsLostIsTold(t *testing.T) {
	const said = "went back from a change that was not confirmed, but not in all; it could not restore /etc/b.conf, unit\ufffd"
	for _, file := range []string{resultFile, resultNow} {
		m := newMachine(t)
		for _, dir := range []string{snapshotDir, RunDir} {
			if err := os.MkdirAll(m.root+dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		looks := 3
		r := runner(map[string]*machine{"fw01": m}, func(string) []Step {
			return []Step{watcher{web{name: "web", files: []File{{Path: "/etc/a.conf", Content: []byte("a\n")}}}, &looks}}
		}, nil)
		told := func(want string) {
			t.Helper()
			p := r.Plan(context.Background())
			h, err := r.Verify(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			notices := strings.Join(p.Nodes[0].Notices, "")
			check := slices.ContainsFunc(h.Checks, func(c Check) bool { return c.Name == "way back" && !c.OK && c.Detail == "it "+want })
			if want == "" && (notices != "" || h.State != Healthy) {
				t.Errorf("%s: told %q, and the pair is %s: %+v", file, notices, h.State, h.Checks)
			}
			if want != "" && (!strings.HasPrefix(notices, "node fw01 "+want+"\n") || h.State != Degraded || !check) {
				t.Errorf("%s: told %q, and the pair is %s: %+v", file, notices, h.State, h.Checks)
			}
		}
		told("")
		m.write(t, file, "run1\nok\n")
		told("")
		m.write(t, file, "run1\n/etc/b.conf unit\x1b\n")
		told(said)
		if _, err := r.Apply(context.Background(), r.Plan(context.Background())); err != nil {
			t.Fatal(err)
		}
		told("")
	}
}
