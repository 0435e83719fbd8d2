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
