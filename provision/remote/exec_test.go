package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// bubble runs a test on false time, and fails it if a goroutine is left.
func bubble(t *testing.T, f func(t *testing.T, st *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		defer func() {
			for _, s := range st.servers {
				s.end()
			}
		}()
		f(t, st)
	})
}

// trips is how many times 100 ms, the round trip of the test network, have gone
// by. What is computed takes no time there.
func trips(since time.Time) float64 {
	return float64(time.Since(since)) / float64(100*time.Millisecond)
}

func TestRoundTrips(t *testing.T) {
	script := "cat\n" + strings.Repeat("# a comment\n", 500) + "echo done"
	for name, c := range map[string]struct {
		setup func(t *testing.T, st *site)
		cmd   Command
		want  float64
	}{
		"one exec": {nil, Command{Script: script}, 9},
		"a key that is refused first": {func(t *testing.T, st *site) {
			private, key := newKey(t, "ecdsa")
			writeKey(t, st.home+"/.ssh/id_ecdsa", private, "")
			st.users["root"] = key.PublicKey()
		}, Command{Script: script}, 10},
		"standard input": {nil, Command{Script: script, Stdin: strings.NewReader("")}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				if c.setup != nil {
					c.setup(t, st)
				}
				st.exec = func(s *server, line string, ch ssh.Channel) int {
					if c.cmd.Stdin != nil {
						return shell(s, line, ch)
					}
					io.WriteString(ch, "done\n")
					return 0
				}
				begin := time.Now()
				client := st.connect(t)
				res, err := client.Exec(t.Context(), c.cmd)
				if err != nil || string(res.Stdout) != "done\n" {
					t.Errorf("got %q, %v", res.Stdout, err)
				}
				client.Close()
				if got := trips(begin); got != c.want {
					t.Errorf("%v round trips, want %v", got, c.want)
				}
				if len(st.lines) != 1 {
					t.Errorf("more was asked for than one exec: %q", st.lines)
				}
			})
		})
	}
}

func TestExec(t *testing.T) {
	for name, c := range map[string]struct {
		cmd            Command
		stdout, stderr string
		code           int
	}{
		"output and status": {Command{Script: "echo out; echo err >&2; exit 3"}, "out\n", "err\n", 3},
		"stdin":             {Command{Script: "cat", Stdin: strings.NewReader("in")}, "in", "", 0},
		"no stdin":          {Command{Script: "wc -c"}, "0\n", "", 0},
		"longer than a command line": {
			Command{Script: strings.Repeat("# it's long\n", 20000) + "cat\necho end\nexit 7"}, "end\n", "", 7},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				client := st.connect(t)
				defer client.Close()
				res, err := client.Exec(t.Context(), c.cmd)
				if err != nil || string(res.Stdout) != c.stdout || string(res.Stderr) != c.stderr || res.Code != c.code {
					t.Errorf("got %q, %q, %d, %v", res.Stdout, res.Stderr, res.Code, err)
				}
			})
		})
	}
}

func TestExecLines(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.exec = func(_ *server, _ string, ch ssh.Channel) int {
			for _, part := range []string{"one\ntw", "o\n\nla", "st"} {
				io.WriteString(ch, part)
			}
			return 0
		}
		client := st.connect(t)
		defer client.Close()
		var got []string
		res, err := client.Exec(t.Context(), Command{Script: "x", OnLine: func(l string) { got = append(got, l) }})
		if err != nil || string(res.Stdout) != "one\ntwo\n\nlast" {
			t.Errorf("got %q, %v", res.Stdout, err)
		}
		if want := []string{"one", "two", "", "last"}; !slices.Equal(got, want) {
			t.Errorf("lines %q, want %q", got, want)
		}
	})
}

func TestExecFailures(t *testing.T) {
	signal := func(_ *server, _ string, ch ssh.Channel) int {
		ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal, Error, Lang string
			Core                bool
		}{Signal: "KILL"}))
		return -1
	}
	for name, c := range map[string]struct {
		exec    func(*server, string, ssh.Channel) int
		session func(ssh.NewChannel) bool
		cmd     Command
		sudo    bool
		want    []string
		dead    bool // the connection cannot be used any more
	}{
		"killed":    {exec: signal, want: []string{"killed by SIGKILL"}},
		"no status": {exec: func(*server, string, ssh.Channel) int { return -1 }, want: []string{"ended without an exit status"}},
		"connection closed": {exec: func(s *server, _ string, _ ssh.Channel) int { s.conns[0].Close(); return 0 },
			want: []string{"connection lost"}, dead: true},
		"too much output": {exec: func(_ *server, _ string, ch ssh.Channel) int {
			for {
				if _, err := io.WriteString(ch, strings.Repeat("y\n", 100)); err != nil {
					return 1
				}
			}
		}, cmd: Command{MaxOutput: 1000}, want: []string{"more than 1000 bytes"}, dead: true},
		"stdin fails": {cmd: Command{Script: "cat", Stdin: iotest.ErrReader(errors.New("bad disk"))}, want: []string{"bad disk"}},
		"session refused": {session: func(nc ssh.NewChannel) bool { nc.Reject(ssh.Prohibited, "no more"); return false },
			want: []string{"refused a session", "no more"}},
		"sudo wants a password": {exec: func(_ *server, _ string, ch ssh.Channel) int {
			io.WriteString(ch.Stderr(), "sudo: a password is required\n")
			return 1
		}, sudo: true, want: []string{"sudo: a password is required", "NOPASSWD"}},
		"no sudo": {exec: func(_ *server, _ string, ch ssh.Channel) int {
			io.WriteString(ch.Stderr(), "sh: 1: exec: sudo: not found\n")
			return 127
		}, sudo: true, want: []string{"sudo: not found", "install sudo"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				st.exec, st.session, st.target.Sudo = c.exec, c.session, c.sudo
				client := st.connect(t)
				defer client.Close()
				if c.cmd.Script == "" {
					c.cmd.Script = "true"
				}
				_, err := client.Exec(t.Context(), c.cmd)
				wantError(t, err, c.want...)
				_, _, err = client.ssh.SendRequest(keepAliveRequest, true, nil)
				if dead := err != nil; dead != c.dead {
					t.Errorf("the connection is down: %v, want %v", dead, c.dead)
				}
			})
		})
	}
}

// A command may end without having read all that it was sent.
func TestStdinNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		client := st.connect(t)
		defer client.Close()
		for want := range 2 {
			st.exec = func(*server, string, ssh.Channel) int { return want }
			res, err := client.Exec(t.Context(), Command{Script: "x", Stdin: strings.NewReader(strings.Repeat("x", 8<<20))})
			if err != nil || res.Code != want {
				t.Errorf("got status %d, %v, want %d", res.Code, err, want)
			}
		}
	})
}

// The beginning and the end of standard error are kept.
func TestStderrIsBounded(t *testing.T) {
	var h headTail
	for i := range 100000 {
		fmt.Fprintf(&h, "%d\n", i)
	}
	got := string(h.bytes())
	if len(got) > 2*half+40 || !strings.HasPrefix(got, "0\n1\n") || !strings.HasSuffix(got, "\n99999\n") || !strings.Contains(got, " bytes left out]") {
		t.Errorf("%d bytes: %.20q ... %.20q", len(got), got, got[len(got)-20:])
	}
}

// A command that is given up leaves the connection to the others.
func TestExecCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		stop := make(chan struct{})
		defer close(stop)
		st.exec = func(s *server, line string, ch ssh.Channel) int {
			if line == "exec sh -c hang" {
				io.WriteString(ch, "begun\n")
				<-stop
			}
			return 0
		}
		client := st.connect(t)
		defer client.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("the probe takes too long"))
		defer cancel()
		begin := time.Now()
		res, err := client.Exec(ctx, Command{Script: "hang"})
		wantError(t, err, "gave up after 30s", "waiting for the command to end", "the probe takes too long")
		if d := time.Since(begin); d != 30*time.Second || string(res.Stdout) != "begun\n" {
			t.Errorf("after %s with %q", d, res.Stdout)
		}
		if _, err := client.Exec(t.Context(), Command{Script: "true"}); err != nil {
			t.Errorf("the next command: %v", err)
		}
	})
}

func TestManyCommandsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		begin := time.Now()
		client := st.connect(t)
		defer client.Close()
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
		if n := trips(begin); n > 7+4*3 {
			t.Errorf("%v round trips: they were not run side by side", n)
		}
	})
}

func TestUseAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		client := st.connect(t)
		client.Close()
		client.Close()
		_, err := client.Exec(t.Context(), Command{Script: "true"})
		wantError(t, err, "the connection is closed")
		wantError(t, client.Upload(t.Context(), []File{{Path: "/x"}}), "the connection is closed")
	})
}
