package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Options are what a fleet is like.
type Options struct {
	Nodes       int // an even number, at most 60,000
	Unreachable int // nodes, each of another pair, that nothing is heard of
}

// Fleet is the simulated pairs. Its files are those of an operator who has a
// thousand sites: inventories, a key, known_hosts and ssh_config.
type Fleet struct {
	listener net.Listener
	silent   net.Listener
	full     []net.Conn // what fills the queue of silent
	answers  Answers
	nodes    map[string]*node // by address
	user     ssh.PublicKey
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

type node struct {
	name string // in its pair
	key  ssh.Signer
}

// Address is where a node is, one of the loopback interface; silent ones are apart
// from the others.
func Address(n int, silent bool) string {
	second := 10 + n/62500
	if silent {
		second = 99
	}
	return fmt.Sprintf("127.%d.%d.%d", second, n/250%250, n%250+1)
}

// Start writes the operator's files to the home folder and serves the nodes until
// Close: inventories/site0000.hcl and so on, .ssh/id_ed25519, .ssh/known_hosts and
// .ssh/config.
func Start(home string, o Options) (*Fleet, error) {
	pair, err := Load(Inventory(0, "127.0.0.1", "127.0.0.2"), "pair.hcl")
	if err != nil {
		return nil, err
	}
	f := &Fleet{nodes: map[string]*node{}, conns: map[net.Conn]bool{}}
	if f.answers, err = Read(pair); err != nil {
		return nil, err
	}
	if f.listener, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil {
		return nil, err
	}
	if err := f.write(home, o); err != nil {
		f.Close()
		return nil, err
	}
	f.serving.Go(f.accept)
	return f, nil
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (f *Fleet) write(home string, o Options) error {
	for _, dir := range []string{".ssh", "inventories"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			return err
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if f.user, err = ssh.NewPublicKey(public); err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	config := fmt.Sprintf("Host *\n\tPort %d\n", port(f.listener))
	if o.Unreachable > 0 {
		if err := f.silence(); err != nil {
			return err
		}
		config = fmt.Sprintf("Host 127.99.*\n\tPort %d\n", port(f.silent)) + config
	}
	var known strings.Builder
	for i := 0; i < o.Nodes; i += 2 {
		var hosts [2]string
		for k, name := range []string{"fw01", "fw02"} {
			silent := k == 1 && o.Unreachable > 0 && i/2%max(1, o.Nodes/2/o.Unreachable) == 0 && i/2/max(1, o.Nodes/2/o.Unreachable) < o.Unreachable
			hosts[k] = Address(i+k, silent)
			if silent {
				continue
			}
			_, hostKey, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			signer, err := ssh.NewSignerFromKey(hostKey)
			if err != nil {
				return err
			}
			f.nodes[hosts[k]] = &node{name, signer}
			known.WriteString(knownhosts.Line([]string{fmt.Sprintf("[%s]:%d", hosts[k], port(f.listener))}, signer.PublicKey()) + "\n")
		}
		if err := os.WriteFile(filepath.Join(home, "inventories", fmt.Sprintf("site%04d.hcl", i/2)), Inventory(i/2, hosts[0], hosts[1]), 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(home, ".ssh", "id_ed25519"), pem.EncodeToMemory(block), 0o600),
		os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(known.String()), 0o600),
		os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(config), 0o600),
	)
}

// silence opens a port at which nothing is heard: its queue is full, so that the
// kernel drops what else comes.
func (f *Fleet) silence() error {
	var err error
	if f.silent, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil {
		return err
	}
	raw, err := f.silent.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	var listening error
	if err := raw.Control(func(fd uintptr) { listening = syscall.Listen(int(fd), 0) }); err != nil || listening != nil {
		return errors.Join(err, listening)
	}
	for range 8 {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.99.0.1:%d", port(f.silent)), 200*time.Millisecond)
		if err != nil {
			return nil // it is full
		}
		f.full = append(f.full, c)
	}
	return errors.New("the queue of a listening socket cannot be filled")
}

// Close ends all connections and waits for what served them.
func (f *Fleet) Close() {
	if f.silent != nil {
		f.silent.Close()
	}
	for _, c := range f.full {
		c.Close()
	}
	f.listener.Close()
	f.mu.Lock()
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.serving.Wait()
}

func (f *Fleet) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[c] = true
		f.mu.Unlock()
		f.serving.Go(func() {
			f.serve(c)
			c.Close()
			f.mu.Lock()
			delete(f.conns, c)
			f.mu.Unlock()
		})
	}
}

// serve is one connection to a node.
func (f *Fleet) serve(c net.Conn) {
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	n := f.nodes[host]
	if err != nil || n == nil {
		return
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(f.user.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(n.key)
	conn, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go func() {
		for r := range reqs {
			_ = r.Reply(false, nil) // the end of the connection is seen elsewhere
		}
	}()
	for ch := range chans {
		f.session(n, ch)
	}
	_ = conn.Wait() // the client has gone
}

// session answers one command.
func (f *Fleet) session(n *node, fresh ssh.NewChannel) {
	if fresh.ChannelType() != "session" {
		_ = fresh.Reject(ssh.UnknownChannelType, "there are sessions only")
		return
	}
	ch, reqs, err := fresh.Accept()
	if err != nil {
		return
	}
	for r := range reqs {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		out, status := f.answer(n, string(r.Payload[4:]))
		_, _ = ch.Write([]byte(out)) // a client that has gone hears nothing
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = ch.Close()
	}
}

var probed = regexp.MustCompile(`@([0-9a-z]{10,}) manifest`)

// answer is what a node prints for a command line, and its exit status.
func (f *Fleet) answer(n *node, line string) (string, uint32) {
	if line == "true" {
		return "", 0
	}
	// The line is cut into words of bounded length: the mark may be in two of them.
	m := probed.FindStringSubmatch(joined(line))
	if m == nil {
		return "", 127
	}
	return f.answers.answer(n.name, m[1], time.Now()), 0
}

// joined is a command line without its quotes and the blanks between its words.
func joined(line string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			quoted = !quoted
		case !quoted && c == ' ':
		case !quoted && c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
