package provision

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fwprov/provision/remote"
)

// machine is a node that is a folder of this machine: scripts are run by the
// real sh, with the absolute paths they use moved below the folder. It needs no
// root: owners are not changed, and systemctl is a script that keeps states in
// files.
type machine struct {
	root  string
	execs int // commands run since it was made
	dials int
	cut   bool // refuses connections
	mu    sync.Mutex
}

var moved = []string{"/var/lib/fwprov", "/run/fwprov", "/etc/", "/tmp/fwprov."}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{root: t.TempDir()}
	for _, dir := range []string{"etc/systemd/system", "tmp", "bin", "run", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const systemctl = `#!/bin/sh
[ "$1" != --no-block ] || shift
case "$1 $2" in stop\ *.timer) echo "$2" >>ROOT/stopped; exit ;; esac
case $1 in
daemon-reload) echo reload >>ROOT/reloads ;;
start) echo active >ROOT/unit.$2 ;;
stop) rm -f ROOT/unit.$2 ;;
show)
	first=yes
	while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
	shift
	for u; do
		[ $first = yes ] || echo
		first=no
		s=inactive
		[ ! -r ROOT/unit.$u ] || s=$(cat ROOT/unit.$u)
		printf 'LoadState=loaded\nActiveState=%s\nUnitFileState=enabled\nNeedDaemonReload=no\n' $s
	done ;;
esac
`
	// What is to run at once runs, as systemd has it: in a session of its own. Timers
	// are noted.
	const systemdRun = `#!/bin/sh
case " $*" in *" --on-active="*) echo "$@" >>ROOT/timers; exit ;; esac
while case $1 in --*) ;; *) false ;; esac; do shift; done
setsid "$@" </dev/null >/dev/null 2>&1 &
`
	// A disk is as slow as the file says.
	const sync = "#!/bin/sh\n[ ! -e ROOT/slow ] || sleep $(cat ROOT/slow)\n"
	for name, text := range map[string]string{"systemctl": systemctl, "systemd-run": systemdRun, "sync": sync} {
		text = strings.ReplaceAll(text, "ROOT", m.root)
		if err := os.WriteFile(filepath.Join(m.root, "bin", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *machine) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	m.mu.Lock()
	m.execs++
	m.mu.Unlock()
	script := cmd.Script
	for _, p := range moved {
		script = strings.ReplaceAll(script, p, m.root+p)
	}
	script = strings.ReplaceAll(script, "PATH=/usr/sbin", "PATH="+m.root+"/bin:/usr/sbin")
	sh := exec.CommandContext(ctx, "sh", "-c", "chown() { :; }\n"+script)
	if cmd.Stdin != nil {
		in, err := sh.StdinPipe() // whose end a command that is over does not wait for
		if err != nil {
			return remote.Result{}, err
		}
		go func() {
			_, _ = io.Copy(in, cmd.Stdin)
			_ = in.Close()
		}()
	}
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a session of sshd has
	var stderr bytes.Buffer
	sh.Stderr = &stderr
	stdout, err := sh.StdoutPipe()
	if err != nil {
		return remote.Result{}, err
	}
	if err := sh.Start(); err != nil {
		return remote.Result{}, err
	}
	owner := fmt.Sprintf(" %d:%d ", os.Getuid(), os.Getgid())
	var out strings.Builder
	for scan := bufio.NewScanner(stdout); scan.Scan(); {
		line := strings.ReplaceAll(strings.ReplaceAll(scan.Text(), m.root, ""), owner, " 0:0 ")
		out.WriteString(line + "\n")
		if cmd.OnLine != nil {
			cmd.OnLine(line)
		}
	}
	err = sh.Wait()
	res := remote.Result{Stdout: []byte(out.String()), Stderr: stderr.Bytes()}
	if exit, ok := err.(*exec.ExitError); ok {
		res.Code, err = exit.ExitCode(), nil
	}
	return res, err
}

func (m *machine) Rides() string { return "" }

func (m *machine) Upload(_ context.Context, files []remote.File) error {
	for _, f := range files {
		if err := os.WriteFile(m.root+f.Path, f.Content, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) Close() error { return nil }

func (m *machine) read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(m.root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (m *machine) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(m.root+path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// runner makes a Runner over machines, one a node, whose steps steps makes.
// Its events are collected in events.
func runner(machines map[string]*machine, steps func(node string) []Step, events *[]Event) *Runner {
	clock := time.Unix(0, 0)
	r := &Runner{
		ID: "testrun",
		Dial: func(_ context.Context, node string, _ bool) (Conn, error) {
			m := machines[node]
			m.dials++
			if m.cut {
				return nil, fmt.Errorf("node %s: connection refused", node)
			}
			return m, nil
		},
		Roles: func(f map[string]Facts) map[string]Role {
			roles := map[string]Role{}
			for n := range f {
				roles[n] = None
			}
			return roles
		},
		Now:   func() time.Time { return clock },
		Sleep: func(_ context.Context, d time.Duration) { clock = clock.Add(d) },
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if events != nil {
		r.Emit = func(e Event) { *events = append(*events, e) }
	}
	for _, n := range []string{"fw01", "fw02"} {
		if machines[n] != nil {
			r.Nodes = append(r.Nodes, Node{Name: n, Steps: steps(n)})
		}
	}
	return r
}
