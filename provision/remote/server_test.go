package remote

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// newKey returns a fresh key: ed25519, ecdsa or rsa.
func newKey(t testing.TB, kind string) (private any, signer ssh.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err = ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer
}

// writeKey writes a private key file, encrypted if there is a passphrase.
func writeKey(t testing.TB, path string, private any, passphrase string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(block)))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// server is an SSH server in memory. Its fields may be set before it is used.
type server struct {
	t        testing.TB
	hostKeys []ssh.Signer
	users    map[string]ssh.PublicKey // who may log in, with what
	accept   func(net.Conn) bool      // false: nothing more is done
	auth     func()                   // before a key is looked at
	session  func(ssh.NewChannel) bool
	exec     func(s *server, line string, ch ssh.Channel) (status int) // negative: none is sent
	noSFTP   bool
	ca       ssh.PublicKey

	mu      sync.Mutex
	conns   []net.Conn
	tried   []string // fingerprints of the keys that were offered
	lines   []string // commands that were run
	waiting sync.WaitGroup
}

// network is where a test's servers are found by address.
type network struct {
	servers map[string]*server
	delay   time.Duration // one way
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	s := n.servers[addr]
	if s == nil {
		return nil, fmt.Errorf("dial tcp %s: connection refused", addr)
	}
	near, far := newWire(addr, n.delay)
	syn := time.NewTimer(2 * n.delay)
	defer syn.Stop()
	select {
	case <-syn.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	s.conns = append(s.conns, far)
	s.mu.Unlock()
	s.waiting.Go(func() { s.serve(far, n) })
	return near, nil
}

// unplug cuts all connections of a server silently.
func (s *server) unplug() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.(*wire).unplug()
	}
}

// end closes what is left and waits for the server's goroutines.
func (s *server) end() {
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.waiting.Wait()
}

func (s *server) serve(conn net.Conn, n *network) {
	if s.accept != nil && !s.accept(conn) {
		return
	}
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return s.ca != nil && bytes.Equal(k.Marshal(), s.ca.Marshal()) }}
	config := &ssh.ServerConfig{MaxAuthTries: 6, PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if s.auth != nil {
			s.auth()
		}
		s.mu.Lock()
		if f := ssh.FingerprintSHA256(key); len(s.tried) == 0 || s.tried[len(s.tried)-1] != f {
			s.tried = append(s.tried, f)
		}
		s.mu.Unlock()
		if _, ok := key.(*ssh.Certificate); ok && s.ca != nil {
			return checker.Authenticate(m, key)
		}
		if want := s.users[m.User()]; want != nil && bytes.Equal(want.Marshal(), key.Marshal()) {
			return nil, nil
		}
		return nil, errors.New("not this key")
	}}
	for _, k := range s.hostKeys {
		config.AddHostKey(k)
	}
	sc, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		conn.Close()
		return
	}
	s.waiting.Go(func() { ssh.DiscardRequests(reqs) })
	for nc := range chans {
		s.waiting.Go(func() { s.channel(nc, n) })
	}
	sc.Wait()
}

func (s *server) channel(nc ssh.NewChannel, n *network) {
	switch nc.ChannelType() {
	case "session":
		if s.session == nil || s.session(nc) {
			s.runSession(nc)
		}
	case "direct-tcpip":
		var to struct {
			Host string
			Port uint32
			From string
			Src  uint32
		}
		if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
			s.t.Error(err)
		}
		conn, err := n.dial(context.Background(), "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
		if err != nil {
			nc.Reject(ssh.ConnectionFailed, "No route to host")
			return
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			conn.Close()
			return
		}
		s.waiting.Go(func() { ssh.DiscardRequests(reqs) })
		s.waiting.Go(func() { io.Copy(conn, ch); conn.Close() })
		io.Copy(ch, conn)
		ch.Close()
	}
}

func (s *server) runSession(nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	for req := range reqs {
		var arg struct{ Text string }
		switch {
		case req.Type == "exec" && ssh.Unmarshal(req.Payload, &arg) == nil:
			s.mu.Lock()
			s.lines = append(s.lines, arg.Text)
			s.mu.Unlock()
			s.waiting.Go(func() {
				run := s.exec
				if run == nil {
					run = shell
				}
				req.Reply(true, nil)
				if status := run(s, arg.Text, ch); status >= 0 {
					ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(status)}))
				}
				ch.Close()
			})
		case req.Type == "subsystem" && ssh.Unmarshal(req.Payload, &arg) == nil && arg.Text == "sftp" && !s.noSFTP:
			req.Reply(true, nil)
			files, err := sftp.NewServer(ch)
			if err != nil {
				s.t.Error(err)
				return
			}
			s.waiting.Go(func() {
				files.Serve()
				ch.Close()
			})
		case req.Type == "signal":
		default:
			s.mu.Lock()
			s.lines = append(s.lines, "request "+req.Type)
			s.mu.Unlock()
			req.Reply(false, nil)
		}
	}
}

// shell runs a command as sshd does for a user whose shell is sh. Time stands
// still while a process runs, so it must not wait for the network.
func shell(_ *server, line string, ch ssh.Channel) int {
	in, err := io.ReadAll(ch)
	if err != nil {
		return 255
	}
	c := exec.Command("/bin/sh", "-c", line)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(in), &out, &errs
	var exit *exec.ExitError
	err = c.Run()
	ch.Write(out.Bytes())
	ch.Stderr().Write(errs.Bytes())
	if errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		return 255
	}
	return 0
}

// site is a home folder whose key is accepted and whose known_hosts knows the
// one server, fw01 at 192.0.2.1.
type site struct {
	*network
	*server
	home   string
	target Target
	opts   Options
}

func newSite(t testing.TB) *site {
	t.Helper()
	st := &site{home: t.TempDir(), target: Target{Node: "fw01", Host: "192.0.2.1"}}
	private, key := newKey(t, "ed25519")
	writeKey(t, filepath.Join(st.home, ".ssh", "id_ed25519"), private, "")
	st.server = newServer(t, "root", key.PublicKey())
	st.network = &network{servers: map[string]*server{"192.0.2.1:22": st.server}, delay: 50 * time.Millisecond}
	st.know("192.0.2.1", st.server)
	st.opts = Options{HomeDir: st.home, ConfigFile: "none", AgentSocket: "none", Dialer: st.dial}
	return st
}

func newServer(t testing.TB, user string, key ssh.PublicKey) *server {
	_, hostKey := newKey(t, "ed25519")
	return &server{t: t, hostKeys: []ssh.Signer{hostKey}, users: map[string]ssh.PublicKey{user: key}}
}

// know appends a server's keys to known_hosts.
func (st *site) know(host string, s *server) {
	var b strings.Builder
	for _, k := range s.hostKeys {
		b.WriteString(knownhosts.Line([]string{host}, k.PublicKey()) + "\n")
	}
	path := filepath.Join(st.home, ".ssh", "known_hosts")
	old, _ := os.ReadFile(path)
	write(s.t, path, string(old)+b.String())
}

func (st *site) connect(t testing.TB) *Client {
	t.Helper()
	c, err := Dial(t.Context(), st.target, st.opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError fails unless err has all the parts in its text.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not contain %q", err, p)
		}
	}
}
