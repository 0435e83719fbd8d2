package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/provision/remote"
)

// testWorld is a world without a terminal, at a clock that stands still.
func testWorld(t *testing.T) (w *world, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &world{
		args: []string{"fwprov"}, stdin: strings.NewReader(""), stdout: stdout, stderr: stderr,
		size: func() (int, int) { return 80, 24 },
		now:  func() time.Time { return time.Unix(0, 0).UTC() },
		id:   "testid",
	}, stdout, stderr
}

// shell is a node whose scripts run here, with all paths of a node moved into a
// folder.
type shell struct{ dir string }

func (s shell) Exec(ctx context.Context, c remote.Command) (remote.Result, error) {
	script := c.Script
	for _, p := range []string{"/run/fwprov", "/var/lib/fwprov", "/etc/", "/tmp/fwprov."} {
		script = strings.ReplaceAll(script, p, s.dir+p)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a session of sshd has
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if c.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return remote.Result{}, err
		}
		// Not cmd.Stdin: its end is not waited for when the command ends first.
		go func() {
			_, _ = io.Copy(in, c.Stdin)
			_ = in.Close()
		}()
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return remote.Result{}, err
	}
	var stdout bytes.Buffer
	for scan := bufio.NewScanner(out); scan.Scan(); {
		stdout.WriteString(scan.Text() + "\n")
		if c.OnLine != nil {
			c.OnLine(scan.Text())
		}
	}
	err = cmd.Wait()
	res := remote.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		res.Code, err = ended.ExitCode(), nil
	}
	return res, err
}

func (shell) Rides() string { return "" }

func (shell) Upload(context.Context, []remote.File) error {
	return errors.New("nothing is uploaded here")
}
func (shell) Close() error { return nil }

// light is a step that wants a file to say "on". It counts as a preparation,
// for which nothing has to be saved: what going back takes, the engine's tests
// have.
type light struct{ file string }

var (
	_ provision.Preparer = light{}
	_ provision.Noticer  = light{}
	_ provision.Verifier = light{}
)

func (light) Prepares() {}

func (light) Name() string { return "light" }

func (l light) Probe() provision.Probe {
	return provision.Probe{
		Script: "cat " + l.file,
		Parse: func(out string, f provision.Facts) error {
			f["light"] = strings.TrimSpace(out)
			return nil
		},
	}
}

func (l light) Plan(f provision.Facts) ([]provision.Change, error) {
	if f["light"] == "on" {
		return nil, nil
	}
	return []provision.Change{{Step: "light", Target: "the light", Action: provision.Update, Why: "is " + f["light"], Diff: "-" + f["light"] + "\n+on\n",
		Makes:  provision.Facts{"light": "on"},
		Script: "grep -qv broken " + l.file + " || { echo no bulb; exit 3; }\necho on >" + l.file}}, nil
}

func (l light) Notices(provision.Facts) []string { return []string{"pay the bill"} }

func (l light) VerifyProbe() provision.Probe { return l.Probe() }

func (l light) Verify(nodes map[string]provision.Facts) []provision.Check {
	c := provision.Check{Name: "light", OK: true, Detail: "on"}
	if _, err := os.Stat(l.file + ".dim"); err == nil {
		c.OK, c.Detail, c.Hint = false, "dim", "look up"
	}
	return []provision.Check{c}
}

// house is an apply over two nodes with a light each.
type house struct {
	t              *testing.T
	app            *application
	stdout, stderr *bytes.Buffer
	dir            string
}

func newHouse(t *testing.T, state string, change func(*world, *options)) *house {
	w, stdout, stderr := testWorld(t)
	var o options
	if change != nil {
		change(w, &o)
	}
	h := &house{t: t, stdout: stdout, stderr: stderr, dir: t.TempDir()}
	nodes := []inventories.Node{{Name: "fw01"}, {Name: "fw02"}}
	p := &pair{Pair: &inventories.Pair{Name: "fw", Nodes: nodes}, file: "pair.hcl", nodes: nodes}
	s := &session{w: w, o: o, scr: newScreen(w, o.quiet), pairs: []*pair{p}}
	p.runner = &provision.Runner{
		Dial: func(_ context.Context, node string, _ bool) (provision.Conn, error) {
			return shell{filepath.Join(h.dir, node)}, nil
		},
		Roles: func(map[string]provision.Facts) map[string]provision.Role { return map[string]provision.Role{} },
		ID:    "testid", Now: w.now, Sleep: func(context.Context, time.Duration) {}, Log: slog.New(slog.DiscardHandler),
		Emit: newEventView(s.scr, "", o.quiet, o.verbose).event,
	}
	for _, n := range nodes {
		file := filepath.Join(h.dir, n.Name, "light")
		for _, dir := range []string{"run", "var/lib"} {
			if err := os.MkdirAll(filepath.Join(h.dir, n.Name, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, []byte(state+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.runner.Nodes = append(p.runner.Nodes, provision.Node{Name: n.Name, Steps: []provision.Step{light{file}}})
	}
	h.app = &application{session: s, interrupted: make(chan struct{})}
	return h
}

// run applies and compares everything that is printed. Nodes are worked on side
// by side, so that their lines of progress are left out.
func (h *house) run(ctx context.Context, wantCode int, wantErr, name string) {
	h.t.Helper()
	code, err := h.app.run(ctx)
	h.app.end()
	if code != wantCode {
		h.t.Errorf("exit code %d, want %d", code, wantCode)
	}
	if got := fmt.Sprint(err); got != wantErr {
		h.t.Errorf("error %q, want %q", got, wantErr)
	}
	progress := regexp.MustCompile(`(?m)^fw0[12]: .*\n`)
	documents := regexp.MustCompile(`(?m)^.*"node":"fw0[12]".*\n`)
	golden(h.t, name, documents.ReplaceAllString(h.stdout.String(), "")+"--- stderr\n"+progress.ReplaceAllString(h.stderr.String(), ""))
}

func (h *house) state(node string) string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, node, "light"))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

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
