package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sshMaster is a real ssh that is a master.
type sshMaster struct {
	*exec.Cmd
	t    *testing.T
	path string
}

// newMaster gives a target of newSSHD a ControlPath and a master there.
func newMaster(t *testing.T, target Target, opts *Options) *sshMaster {
	t.Helper()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("there is no ssh to be a master: install openssh-client")
	}
	dir, err := os.MkdirTemp("", "m") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &sshMaster{t: t, path: fmt.Sprintf("%s/%s-127.0.0.1-%d", dir, target.User, target.Port)}
	opts.ConfigFile = opts.HomeDir + "/.ssh/config"
	write(t, opts.ConfigFile, "ControlPath "+dir+"/%r-%h-%p\nUserKnownHostsFile /dev/null\nStrictHostKeyChecking no\nIdentityFile "+opts.HomeDir+"/.ssh/id_ed25519\n")
	m.Cmd = exec.Command(ssh, "-F", opts.ConfigFile, "-M", "-N", "-p", fmt.Sprint(target.Port), target.User+"@127.0.0.1")
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	for deadline := time.Now().Add(20 * time.Second); !m.lives(); {
		if time.Now().After(deadline) {
			t.Fatal("the master does not come up")
		}
	}
	// fwprov itself finds the host in the file that newSSHD has made.
	write(t, opts.ConfigFile, "ControlPath "+dir+"/%r-%h-%p\n")
	return m
}

func (m *sshMaster) lives() bool {
	return exec.Command("ssh", "-F", "none", "-S", m.path, "-O", "check", "x").Run() == nil
}

// end kills the master, also one that was stopped.
func (m *sshMaster) end() {
	m.Process.Kill()
	m.Wait() // it was killed
}

// rides fails the test unless a client rides the master, or does not.
func (m *sshMaster) rides(client *Client, want bool) {
	m.t.Helper()
	if got := client.Rides(); (got == m.path) != want || got != "" && !want {
		m.t.Fatalf("the connection is that of %q", got)
	}
}

func mustDial(t *testing.T, target Target, opts Options) *Client {
	t.Helper()
	client, err := Dial(t.Context(), target, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestMaster(t *testing.T) {
	target, opts, end := newSSHD(t)
	m := newMaster(t, target, &opts)
	client := mustDial(t, target, opts)
	m.rides(client, true)
	for _, c := range []struct {
		cmd            Command
		stdout, stderr string
		code           int
	}{
		{Command{Script: "echo 'it works!'\necho no >&2\nexit 4\n"}, "it works!\n", "no\n", 4},
		{Command{Script: "cat; echo \"$#\"", Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}, strings.Repeat("x", 1<<20) + "0\n", "", 0},
		{Command{Script: strings.Repeat("# it's long\n", 20000) + "echo end"}, "end\n", "", 0},
		{Command{Script: "wc -c", Private: true}, "0\n", "", 0},
		{Command{Script: ": " + strings.Repeat("x", maxCommand-len("exec sh -c ''")-2), Stdin: strings.NewReader("")}, "", "", 0},
		{Command{Script: "exit 1", Stdin: strings.NewReader(strings.Repeat("x", 8<<20))}, "", "", 1}, // and reads nothing
	} {
		res, err := client.Exec(t.Context(), c.cmd)
		if err != nil || string(res.Stdout) != c.stdout || !strings.HasSuffix(string(res.Stderr), c.stderr) || res.Code != c.code {
			t.Errorf("%.40q: got %.40q, %q, %d, %v", c.cmd.Script, res.Stdout, res.Stderr, res.Code, err)
		}
	}
	_, err := client.Exec(t.Context(), Command{Script: "kill -9 $$"})
	wantError(t, err, "without an exit status")
	_, err = client.Exec(t.Context(), Command{Script: "cat", Stdin: io.MultiReader(strings.NewReader("x"), badReader{})})
	wantError(t, err, "bad disk")

	var lines []string
	if _, err = client.Exec(t.Context(), Command{Script: "echo one; printf two", OnLine: func(l string) { lines = append(lines, l) }}); err != nil || strings.Join(lines, " ") != "one two" {
		t.Errorf("lines %q, %v", lines, err)
	}
	errs := make(chan error)
	for i := range 30 {
		go func() {
			res, err := client.Exec(t.Context(), Command{Script: fmt.Sprintf("echo %d", i)})
			if err == nil && string(res.Stdout) != fmt.Sprintln(i) {
				err = fmt.Errorf("command %d printed %q", i, res.Stdout)
			}
			errs <- err
		}()
	}
	for range 30 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}

	dir := uploads(t, client)

	// A command that is given up leaves the connection to the others.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = client.Exec(ctx, Command{Script: "echo begun; cat; echo over >" + dir + "/note", Stdin: forever{t.Context()}, OnLine: func(string) { cancel() }})
	wantError(t, err, "context canceled")
	for deadline := time.Now().Add(15 * time.Second); ; {
		res, err := client.Exec(t.Context(), Command{Script: "cat " + dir + "/note"})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the command goes on: %v", err)
		}
		if string(res.Stdout) == "over\n" {
			break
		}
	}

	// Whoever leaves takes his sessions with him, and the master stays.
	client.Close()
	_, err = client.Exec(t.Context(), Command{Script: "true"})
	wantError(t, err, "the connection is closed")
	for range 15 {
		c := mustDial(t, target, opts)
		begun := make(chan bool, 1)
		go c.Exec(t.Context(), Command{Script: "echo begun; cat", Stdin: forever{t.Context()}, OnLine: func(string) { begun <- true }})
		<-begun
		c.Close()
	}
	loud := mustDial(t, target, opts)
	m.rides(loud, true)
	_, err = loud.Exec(t.Context(), Command{Script: "while echo y; do :; done", MaxOutput: 1000})
	wantError(t, err, "more than 1000 bytes")
	if !m.lives() {
		t.Error("the master has died")
	}
	m.end()
	if log := end(); strings.Count(log, "Accepted publickey") != 1 || strings.Contains(log, "pty-req") || strings.Contains(log, "req env") {
		t.Errorf("more was asked for than is needed:\n%s", log)
	}
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errors.New("bad disk") }

// forever is a standard input on which nothing comes until a test is over.
type forever struct{ context.Context }

func (f forever) Read([]byte) (int, error) { <-f.Done(); return 0, io.EOF }

// Where there is no master, or none to be trusted, the node is reached without.
func TestNoMaster(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, m *sshMaster, target *Target, opts *Options){
		"none": func(_ *testing.T, m *sshMaster, _ *Target, _ *Options) { m.Process.Signal(syscall.SIGTERM); m.Wait() },
		"dead": func(_ *testing.T, m *sshMaster, _ *Target, _ *Options) { m.end() },
		"stopped": func(_ *testing.T, m *sshMaster, _ *Target, _ *Options) {
			m.Process.Signal(syscall.SIGSTOP)
		},
		"open to others": func(t *testing.T, m *sshMaster, _ *Target, _ *Options) {
			if err := os.Chmod(m.path, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		"somebody else's": func(t *testing.T, m *sshMaster, _ *Target, _ *Options) {
			if os.Getuid() != 0 {
				t.Skip("only root can give a socket to somebody else")
			}
			if err := os.Chown(m.path, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		},
		"a connection of its own is wanted": func(_ *testing.T, _ *sshMaster, _ *Target, o *Options) { o.Fresh = true },
		"ssh_config is not read":            func(_ *testing.T, _ *sshMaster, _ *Target, o *Options) { o.ConfigFile = "none" },
		"known_hosts of the inventory":      func(_ *testing.T, _ *sshMaster, x *Target, _ *Options) { x.KnownHosts = "~/.ssh/known_hosts" },
		"no master at all": func(t *testing.T, m *sshMaster, _ *Target, _ *Options) {
			m.end()
			os.Remove(m.path)
			l, err := net.Listen("unix", m.path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			if err := os.Chmod(m.path, 0o600); err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
					c.Close()
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, opts, _ := newSSHD(t)
			m := newMaster(t, target, &opts)
			spoil(t, m, &target, &opts)
			client := mustDial(t, target, opts)
			m.rides(client, false)
			if res, err := client.Exec(t.Context(), Command{Script: "echo hi"}); err != nil || string(res.Stdout) != "hi\n" {
				t.Errorf("%q, %v", res.Stdout, err)
			}
		})
	}
}

// A master that dies takes its sessions with it, and that is said at once.
func TestMasterDies(t *testing.T) {
	target, opts, _ := newSSHD(t)
	m := newMaster(t, target, &opts)
	client := mustDial(t, target, opts)
	m.rides(client, true)
	_, err := client.Exec(t.Context(), Command{Script: "echo begun; cat", Stdin: forever{t.Context()}, OnLine: func(string) { m.end() }})
	wantError(t, err, "connection lost", "ControlPath "+m.path)
	_, err = client.Exec(t.Context(), Command{Script: "true"})
	if wantError(t, err, "connection lost"); !errors.Is(err, ErrNoSession) {
		t.Errorf("%v is not ErrNoSession", err)
	}
}

// A master that may not have one more session says so, and lives on.
func TestMasterHasNoSession(t *testing.T) {
	target, opts, _ := newSSHD(t, "MaxSessions 1")
	m := newMaster(t, target, &opts)
	client := mustDial(t, target, opts)
	m.rides(client, true)
	begun, ended := make(chan bool, 1), make(chan error, 1)
	go func() {
		_, err := client.Exec(t.Context(), Command{Script: "echo begun; cat", Stdin: forever{t.Context()}, OnLine: func(string) { begun <- true }})
		ended <- err
	}()
	<-begun
	_, err := client.Exec(t.Context(), Command{Script: "true"})
	if wantError(t, err, "Session open refused by peer"); !errors.Is(err, ErrNoSession) {
		t.Errorf("%v is not ErrNoSession", err)
	}
	if err := client.Upload(t.Context(), []File{{Path: "/nowhere"}}); !errors.Is(err, ErrNoSession) {
		t.Errorf("%v is not ErrNoSession", err)
	}
	client.Close()
	wantError(t, <-ended, "the connection is closed")
	if !m.lives() {
		t.Error("the master has died")
	}
}

// The password of sudo goes the same way.
func TestMasterAndSudo(t *testing.T) {
	dir := sudoers(t, "right")
	target, opts, _ := newSSHD(t, "SetEnv PATH="+dir+":/usr/bin:/bin")
	m := newMaster(t, target, &opts)
	target.Sudo, opts.Password = true, NewPassword("right")
	client := mustDial(t, target, opts)
	m.rides(client, true)
	res, err := client.Exec(t.Context(), Command{Script: "echo in; cat", Stdin: strings.NewReader("put")})
	if err != nil || string(res.Stdout) != "in\nput" {
		t.Errorf("%q, %q, %v", res.Stdout, res.Stderr, err)
	}
}

// A session over a master is two round trips, one more for standard input: all is
// there when whatever would begin another one is held back. A server that does not
// answer is not waited for.
func TestMasterRoundTrips(t *testing.T) {
	target, opts, _ := newSSHD(t)
	g := newGate(t, &target)
	m := newMaster(t, target, &opts)
	client := mustDial(t, target, opts)
	m.rides(client, true)
	for _, c := range []struct {
		cmd   Command
		trips int
	}{
		{Command{Script: "echo hi"}, 100}, // a new master talks of host keys
		{Command{Script: "echo hi"}, 2},
		{Command{Script: "cat", Stdin: strings.NewReader("hi\n")}, 3},
	} {
		g.allow(c.trips)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		res, err := client.Exec(ctx, c.cmd)
		if err != nil || string(res.Stdout) != "hi\n" {
			t.Errorf("with %d round trips: %q, %v", c.trips, res.Stdout, err)
		}
		cancel()
	}
	g.allow(0)
	begin := time.Now()
	_, err := client.Exec(t.Context(), Command{Script: "true"})
	if wantError(t, err, "has not opened a session within 4s"); !errors.Is(err, ErrNoSession) || time.Since(begin) > 2*openWithin {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
	g.allow(100)
	if _, err := client.Exec(t.Context(), Command{Script: "true"}); err != nil || !m.lives() {
		t.Errorf("after that: %v", err)
	}
}

// gate is on the way to a server, and lets no more round trips begin than are
// allowed. What is sent before an answer has come is on the same one.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond
	limit   int
	trips   int
	waiting bool // for an answer
	allowed int  // calls of allow
}

func newGate(t *testing.T, target *Target) *gate {
	g := &gate{limit: 100}
	g.changed = sync.NewCond(&g.mu)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := net.JoinHostPort(target.Host, fmt.Sprint(target.Port))
	target.Port = l.Addr().(*net.TCPAddr).Port
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		g.allow(100)
		running.Wait()
	})
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			running.Go(func() { carry(far, near, g.ask) })
			running.Go(func() { carry(near, far, g.answer) })
		}
	})
	return g
}

func carry(to, from net.Conn, pass func()) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		pass()
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// allow lets go what was held back, and so many round trips begin.
func (g *gate) allow(trips int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit, g.trips, g.waiting = trips, 0, false
	g.allowed++
	g.changed.Broadcast()
}

func (g *gate) ask() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting {
		g.trips++
	}
	g.waiting = true
	for before := g.allowed; g.trips > g.limit && g.allowed == before; {
		g.changed.Wait()
	}
}

// answer comes late, so that what was sent at once is through.
func (g *gate) answer() {
	time.Sleep(30 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = false
}
