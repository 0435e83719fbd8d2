package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"fwprov/provision/remote"
)

// sshServer lets everybody in, as a host that nobody knows.
type sshServer struct {
	addr string

	mu  sync.Mutex
	key ssh.Signer
}

// shows returns the key that the host shows.
func (s *sshServer) shows() ssh.Signer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *sshServer) change(key ssh.Signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshServer{addr: l.Addr().String(), key: newSigner(t)}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
				config.AddHostKey(s.shows())
				c, chans, reqs, err := ssh.NewServerConn(conn, config)
				if err != nil {
					conn.Close()
					return
				}
				go ssh.DiscardRequests(reqs)
				for n := range chans {
					_ = n.Reject(ssh.Prohibited, "nothing here")
				}
				_ = c.Wait()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return s
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newHome is a home folder with a key and a known_hosts file.
func newHome(t *testing.T, known string) string {
	t.Helper()
	home := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"id_ed25519": string(pem.EncodeToMemory(block)), "known_hosts": known} {
		if err := errors.Join(os.MkdirAll(home+"/.ssh", 0o700), os.WriteFile(filepath.Join(home, ".ssh", name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func (s *sshServer) target(t *testing.T, node string) remote.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Target{Node: node, Host: host, Port: p, User: "root"}
}

func TestUnknownHosts(t *testing.T) {
	for name, c := range map[string]struct {
		term      bool
		typed     string
		acceptNew bool
		want      [2]string // in the errors of the two nodes; "" for none
		asks      int
	}{
		"nobody to ask":         {want: [2]string{"or give --accept-new", "or give --accept-new"}},
		"accept-new":            {acceptNew: true},
		"accept-new, and there": {acceptNew: true, term: true},
		"yes to both":           {term: true, typed: "yes\nyes\n", asks: 2},
		"no answer":             {term: true, want: [2]string{"there was no answer", "there was no answer"}, asks: 2},
		"no":                    {term: true, typed: "no\ny\n", want: [2]string{"was not accepted", "was not accepted"}, asks: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w, stdout, stderr := testWorld(t)
			w.inTerm, w.errTerm, w.outTerm, w.stdin = c.term, c.term, c.term, strings.NewReader(c.typed)
			w.environ = []string{"TERM=dumb"}
			home := newHome(t, "")
			servers := []*sshServer{newSSHServer(t), newSSHServer(t)}
			tr := &trust{w: w, scr: newScreen(w, false), acceptNew: c.acceptNew, run: t.Context()}
			opts := remote.Options{HomeDir: home, ConfigFile: "none", AgentSocket: "none"}
			dial := func() [2]error {
				var errs [2]error
				var both sync.WaitGroup
				for i, s := range servers {
					both.Go(func() {
						client, err := tr.dial(t.Context(), s.target(t, []string{"fw01", "fw02"}[i]), opts)
						if errs[i] = err; err == nil {
							client.Close()
						}
					})
				}
				both.Wait()
				return errs
			}
			for i, err := range dial() {
				if (err == nil) != (c.want[i] == "") || err != nil && !strings.Contains(err.Error(), c.want[i]) {
					t.Errorf("node %d: %v, want %q", i+1, err, c.want[i])
				}
			}
			out := stderr.String()
			if stdout.Len() > 0 || strings.Count(out, "is not known yet") != c.asks {
				t.Errorf("%d questions wanted:\n%s%s", c.asks, stdout, out)
			}
			// One question after the other, each whole.
			for i, part := range strings.SplitAfter(out, home+"/.ssh/known_hosts: ") {
				if i < c.asks && (strings.Count(part, "SHA256:") != 1 || strings.Count(part, "is not known yet") != 1) {
					t.Errorf("mixed:\n%s", out)
				}
			}
			if c.want[0] != "" {
				return
			}
			// Both are known from now on, and nobody is asked again.
			tr.acceptNew = false
			stderr.Reset()
			if errs := dial(); errs[0] != nil || errs[1] != nil || stderr.Len() > 0 {
				t.Errorf("a second time: %v\n%s", errs, stderr)
			}
			// Neither a person nor a flag lets in a host that shows another key.
			tr.acceptNew = c.acceptNew
			servers[0].change(newSigner(t))
			if errs := dial(); errs[0] == nil || !strings.Contains(errs[0].Error(), "HAS CHANGED") || errs[1] != nil || stderr.Len() > 0 {
				t.Errorf("changed: %v\n%s", errs, stderr)
			}
		})
	}
}

// The fingerprint in full is as good as yes; an interrupt ends the question.
func TestAnswers(t *testing.T) {
	s := newSSHServer(t)
	w, _, _ := testWorld(t)
	w.inTerm, w.errTerm = true, true
	w.environ = []string{"TERM=dumb"}
	w.stdin = strings.NewReader(ssh.FingerprintSHA256(s.shows().PublicKey()) + "\n")
	opts := remote.Options{HomeDir: newHome(t, ""), ConfigFile: "none", AgentSocket: "none"}
	tr := &trust{w: w, scr: newScreen(w, false), run: t.Context()}
	c, err := tr.dial(t.Context(), s.target(t, "fw01"), opts)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	ctx, cancel := context.WithCancel(t.Context())
	var asking blocking
	w.stdin, w.lines = asking.reader(cancel), nil
	tr.run, opts.HomeDir = ctx, newHome(t, "")
	tr.learned = nil
	if _, err := tr.dial(ctx, s.target(t, "fw01"), opts); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	asking.end()
}

// blocking is a terminal at which nobody types, and which is interrupted.
type blocking struct{ done chan struct{} }

func (b *blocking) reader(interrupt func()) *readerFunc {
	b.done = make(chan struct{})
	return &readerFunc{func([]byte) (int, error) {
		interrupt()
		<-b.done
		return 0, errors.New("closed")
	}}
}

func (b *blocking) end() { close(b.done) }

type readerFunc struct{ read func([]byte) (int, error) }

func (r *readerFunc) Read(p []byte) (int, error) { return r.read(p) }

// The password of sudo is asked for once, however many nodes want it, and not
// at all where it was given or nobody is there.
func TestSudoPassword(t *testing.T) {
	pipe := func(text string) int {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		w.Close()
		fd := int(r.Fd())
		t.Cleanup(func() { r.Close() })
		return fd
	}
	for name, c := range map[string]struct {
		env   []string
		fd    int
		stdin string
		term  bool
		want  string // "-" for none
		err   string
	}{
		"not given":                {fd: -1, want: "-"},
		"environment":              {fd: -1, env: []string{sudoPasswordEnv + "=open sesame"}, want: "open sesame"},
		"descriptor":               {fd: pipe("open sesame\nmore"), env: []string{sudoPasswordEnv + "=other"}, want: "open sesame"},
		"no newline":               {fd: pipe("open sesame"), want: "open sesame"},
		"standard input":           {fd: 0, stdin: "open sesame\n", want: "open sesame"},
		"a terminal":               {fd: 0, term: true, err: "would be seen"},
		"empty":                    {fd: pipe(""), err: "it is empty"},
		"endless":                  {fd: pipe(strings.Repeat("x", 5000)), err: "too long"},
		"not open":                 {fd: 999, err: "no such file descriptor is open"},
		"empty in the environment": {fd: -1, env: []string{sudoPasswordEnv + "="}, want: "-"},
	} {
		w, _, _ := testWorld(t)
		w.environ, w.stdin, w.inTerm = c.env, strings.NewReader(c.stdin), c.term
		got, err := w.sudoPassword(t.Context(), c.fd)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
		case err != nil || (got == nil) != (c.want == "-") || got != nil && *got != c.want:
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	w, _, _ := testWorld(t)
	tr := &trust{w: w, scr: newScreen(w, false), run: t.Context()}
	if p := tr.password(nil); p != nil {
		t.Error("a password without anybody to ask")
	}
}

// What children inherit and what /proc shows has no secret in it any more, and
// all else is as it was.
func TestForgetSecrets(t *testing.T) {
	if os.Getenv("FWPROV_TEST_FORGET") != "" {
		if err := forgetSecrets(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("/proc/self/environ")
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"sesame1", "sesame2", "sesame3"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s is still there", secret)
			}
		}
		for _, kept := range []string{"FWPROV_TEST_FORGET=yes", "FWPROV_AGE_IDENTITY=file", "FWPROV_SUDO_PASSWORD=*", "LAST=one"} {
			if !bytes.Contains(append([]byte{0}, b...), []byte("\x00"+kept)) {
				t.Errorf("%s is gone: %q", kept, b)
			}
		}
		for _, line := range os.Environ() {
			if isSecretEnv(line) {
				t.Errorf("children inherit %s", line)
			}
		}
		return
	}
	cmd := testCommand(t, "TestForgetSecrets")
	cmd.Env = append(os.Environ(), "FWPROV_TEST_FORGET=yes", "FWPROV_SUDO_PASSWORD=sesame1", "FWPROV_AGE_IDENTITY=file",
		"FWPROV_AGE_PASSPHRASE=sesame2", "FWPROV_VAR_vrrp_password=sesame3", "FWPROV_VAR_empty=", "LAST=one")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// testCommand is this program, running one test.
func testCommand(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), self, "-test.run", "^"+name+"$")
}
