package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// line is a long line between the admin host and the nodes, which tells how often
// they had to wait for each other.
type line struct {
	r      *rig
	config string        // ssh_config of a client that is to use it
	delay  time.Duration // each way

	mu    sync.Mutex
	trips map[string]*trips
}

// trips counts, for one node, the longest chain of question and answer: what a
// client sends is one deeper than the deepest answer that it has got.
type trips struct {
	asked    int // the deepest question that has arrived at the node
	answered int // the deepest answer that has arrived at the client
}

// stretch makes the way to the nodes longer for clients that are given the line's
// ssh_config.
func (r *rig) stretch(roundTrip time.Duration) *line {
	r.t.Helper()
	l := &line{r: r, delay: roundTrip / 2, trips: map[string]*trips{}}
	var b strings.Builder
	for _, n := range r.pair.Nodes {
		listener, err := r.lab.Listen("admin", "tcp", "127.0.0.1:0")
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { listener.Close() })
		l.trips[n.Name] = &trips{}
		addr := net.JoinHostPort(n.Outside.String(), "22")
		go l.serve(listener, n.Name, addr)
		fmt.Fprintf(&b, "Host %s %s\n  HostName 127.0.0.1\n  Port %d\n  HostKeyAlias %s\n", n.Name, n.Outside, listener.Addr().(*net.TCPAddr).Port, n.Outside)
	}
	own, err := os.ReadFile(filepath.Join(r.lab.Home(), ".ssh", "config"))
	if err != nil {
		r.t.Fatal(err)
	}
	l.config = filepath.Join(r.t.TempDir(), "ssh_config")
	if err := os.WriteFile(l.config, append([]byte(b.String()), own...), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (l *line) serve(listener net.Listener, node, addr string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go l.carry(client, node, addr)
	}
}

// carry takes a connection over the line.
func (l *line) carry(client net.Conn, node, addr string) {
	defer client.Close()
	t := l.trips[node]
	l.mu.Lock()
	connect := t.answered + 1
	l.mu.Unlock()
	time.Sleep(l.delay) // the line is as long as that, there
	server, err := l.r.lab.Dial(l.r.t.Context(), "admin", "tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	time.Sleep(l.delay) // and back
	l.deeper(&t.answered, connect)

	var both sync.WaitGroup
	both.Go(func() { l.pump(client, server, func() int { return t.answered + 1 }, &t.asked) })
	both.Go(func() { l.pump(server, client, func() int { return t.asked }, &t.answered) })
	both.Wait()
}

func (l *line) deeper(count *int, depth int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*count = max(*count, depth)
}

// pump takes one direction, each piece with its delay.
func (l *line) pump(from, to net.Conn, depth func() int, arrived *int) {
	type piece struct {
		due   time.Time
		depth int
		data  []byte
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			l.mu.Lock()
			d := depth()
			l.mu.Unlock()
			pieces <- piece{time.Now().Add(l.delay), d, buf[:n]}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		l.deeper(arrived, p.depth)
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	// The end arrives with the last piece; nobody reads what comes after it.
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	for range pieces {
	}
}

// taken tells how many round trips a node has cost since it was asked last.
func (l *line) taken(node string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.trips[node].answered
	*l.trips[node] = trips{}
	return n
}
