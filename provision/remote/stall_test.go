package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A server that stops answering, at each stage: nothing hangs, and the error
// tells what was waited for.
func TestServerStopsAnswering(t *testing.T) {
	for name, c := range map[string]struct {
		stall func(s *server, stop <-chan struct{})
		after time.Duration // since Dial
		want  []string
	}{
		"after TCP": {func(s *server, _ <-chan struct{}) {
			s.accept = func(net.Conn) bool { return false }
		}, 15 * time.Second, []string{"node fw01: agree on keys with 192.0.2.1:22", "no answer within 15s"}},
		"after its version": {func(s *server, _ <-chan struct{}) {
			s.accept = func(c net.Conn) bool { io.WriteString(c, "SSH-2.0-test\r\n"); return false }
		}, 15 * time.Second, []string{"agree on keys", "no answer within 15s"}},
		"in auth": {func(s *server, stop <-chan struct{}) {
			s.auth = func() { <-stop }
		}, 15 * time.Second, []string{"log in to 192.0.2.1:22 as root", "no answer within 15s", "id_ed25519 (SHA256:"}},
		"at the session": {func(s *server, _ <-chan struct{}) {
			s.session = func(ssh.NewChannel) bool { return false }
		}, 60700 * time.Millisecond, []string{"gave up after 1m0s of waiting for a session", "no answer within 1m0s"}},
		"at exec": {func(s *server, _ <-chan struct{}) {
			s.session = func(nc ssh.NewChannel) bool { nc.Accept(); return false }
		}, 60700 * time.Millisecond, []string{"gave up after 1m0s of waiting for the command to start"}},
		"in the output": {func(s *server, stop <-chan struct{}) {
			s.exec = func(_ *server, _ string, ch ssh.Channel) int { io.WriteString(ch, "half a li"); <-stop; return 0 }
		}, 60700 * time.Millisecond, []string{"gave up after 1m0s of waiting for the command to end"}},
		"unplugged in the output": {func(s *server, stop <-chan struct{}) {
			s.exec = func(_ *server, _ string, ch ssh.Channel) int {
				io.WriteString(ch, "half a li")
				s.unplug()
				<-stop
				return 0
			}
		}, 15900 * time.Millisecond, []string{"connection lost: 192.0.2.1:22 has not sent anything for 15s"}},
		"unplugged at the session": {func(s *server, _ <-chan struct{}) {
			s.session = func(ssh.NewChannel) bool { s.unplug(); return false }
		}, 15700 * time.Millisecond, []string{"connection lost: 192.0.2.1:22 has not sent anything for 15s"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				stop := make(chan struct{})
				defer close(stop)
				c.stall(st.server, stop)
				begin := time.Now()
				client, err := Dial(t.Context(), st.target, st.opts)
				if err == nil {
					ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, timeoutError(time.Minute))
					defer cancel()
					_, err = client.Exec(ctx, Command{Script: "true"})
				}
				wantError(t, err, c.want...)
				if d := time.Since(begin) - 2*st.delay; d > c.after || d < c.after-time.Second {
					t.Errorf("after %s, want %s", d, c.after)
				}
				if client != nil {
					client.Close()
				}
			})
		})
	}
}

func TestNobodyThere(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.opts.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		_, err := Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "node fw01: connect to 192.0.2.1:22: no answer within 15s")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no exceeded deadline", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("Ctrl-C")) })
		begin := time.Now()
		_, err = Dial(ctx, st.target, st.opts)
		wantError(t, err, "Ctrl-C")
		if d := time.Since(begin); d != time.Second {
			t.Errorf("cancelled after %s, want 1s", d)
		}
	})
}

// Silence alone is no reason: the server answers for as long as it is asked.
func TestLongCommandIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.exec = func(_ *server, _ string, ch ssh.Channel) int {
			<-time.After(time.Hour)
			io.WriteString(ch, "done")
			return 0
		}
		client := st.connect(t)
		defer client.Close()
		res, err := client.Exec(t.Context(), Command{Script: "true"})
		if err != nil || string(res.Stdout) != "done" {
			t.Errorf("got %q, %v", res.Stdout, err)
		}
	})
}

// A jump host that lives does not hide that the node is gone.
func TestNodeBehindJumpHostIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		_, node := st.jumpHost(t)
		stop := make(chan struct{})
		defer close(stop)
		node.exec = func(*server, string, ssh.Channel) int { node.unplug(); <-stop; return 0 }
		client := st.connect(t)
		defer client.Close()
		begin := time.Now()
		_, err := client.Exec(t.Context(), Command{Script: "true"})
		wantError(t, err, "connection lost: 10.0.0.1:22 has not sent anything for 15s")
		if d := time.Since(begin); d > 16*time.Second {
			t.Errorf("found after %s", d)
		}
	})
}

// jumpHost makes the site's server a jump host, and adds a node behind it.
func (st *site) jumpHost(t *testing.T) (jump, node *server) {
	jump = st.server
	node = newServer(t, "admin", jump.users["root"])
	st.servers["10.0.0.1:22"] = node
	st.know("10.0.0.1", node)
	st.target = Target{Node: "fw01", Host: "10.0.0.1", User: "admin", ProxyJump: "root@192.0.2.1"}
	return jump, node
}

// However many nodes are behind it, no more log in to a jump host at once than its
// sshd lets in, and one that does not answer is waited for all the same.
func TestJumpHostIsNotOverrun(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		jump, _ := st.jumpHost(t)
		st.opts.JumpHosts = &JumpHosts{}
		var now, most atomic.Int32
		jump.auth = func() {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			now.Add(-1)
		}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				client, err := Dial(t.Context(), st.target, st.opts)
				if err != nil {
					t.Error(err)
					return
				}
				client.Close()
			})
		}
		wg.Wait()
		if n := most.Load(); n != maxLogins {
			t.Errorf("%d logged in at once", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range maxLogins {
			if _, err := st.opts.JumpHosts.enter(ctx, []hop{{host: "192.0.2.1", port: 22}, {}}); err != nil {
				t.Error(err)
			}
		}
		time.AfterFunc(time.Minute, cancel)
		_, err := Dial(ctx, st.target, st.opts)
		wantError(t, err, "node fw01: jump host 192.0.2.1: gave up waiting")
	})
}

func TestJumpHost(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		jump, node := st.jumpHost(t)
		client := st.connect(t)
		res, err := client.Exec(t.Context(), Command{Script: "echo hi"})
		if err != nil || string(res.Stdout) != "hi\n" || len(jump.lines) != 0 || len(node.lines) != 1 {
			t.Errorf("got %q, %v; ran %q on the jump host, %q on the node", res.Stdout, err, jump.lines, node.lines)
		}
		client.Close()

		jump.users = nil
		_, err = Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "node fw01: jump host 192.0.2.1: log in to 192.0.2.1:22 as root")
		_, other := newKey(t, "ed25519")
		jump.hostKeys = []ssh.Signer{other}
		_, err = Dial(t.Context(), st.target, st.opts)
		var changed *HostKeyChangedError
		if !errors.As(err, &changed) || changed.Host != "192.0.2.1" {
			t.Errorf("a jump host with another key: %v", err)
		}
	})
	bubble(t, func(t *testing.T, st *site) {
		st.jumpHost(t)
		delete(st.servers, "10.0.0.1:22")
		_, err := Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "node fw01: connect to 10.0.0.1:22: the jump host cannot: No route to host")
	})
}

// A dialer that notices the end before the context does: the error is the same.
func TestDialerIsEarly(t *testing.T) {
	for _, cause := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded} {
		bubble(t, func(t *testing.T, st *site) {
			st.opts.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
				deadline, _ := ctx.Deadline()
				time.Sleep(time.Until(deadline) - time.Nanosecond)
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: cause}
			}
			_, err := Dial(t.Context(), st.target, st.opts)
			wantError(t, err, "no answer within 15s", "is SSH let through")
		})
	}
}
