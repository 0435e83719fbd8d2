package e2e

import (
	"bufio"
	"context"
	endian "encoding/binary" // binary is the program under test
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// traffic is what a client sends through the pair while something is done to
// it: pings every 10 ms to every VIP and to the servers, one routed and one
// proxied TCP connection that are held, and a new proxied one every 100 ms.
type traffic struct {
	r       *rig
	stop    context.CancelFunc
	pings   []*pinger
	streams []*stream
	fresh   *dialer
	wg      sync.WaitGroup
}

const (
	pingEvery = 10 * time.Millisecond
	dialEvery = 100 * time.Millisecond
	patience  = 5 * time.Second // what a client waits for before it gives up
)

// send starts the traffic and returns when all of it flows. The service of the
// inventory greets and sends back what it gets, and its servers can be reached
// on their own address.
func (r *rig) send() *traffic {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t := &traffic{r: r, stop: stop}
	r.t.Cleanup(stop)
	svc := r.pair.Services[0]
	vip := fmt.Sprintf("%s:%d", svc.Address, svc.Port)
	for i, addr := range r.pinged() {
		conn, err := r.lab.Dial(ctx, "client", "ip4:icmp", addr)
		if err != nil {
			r.t.Fatal(err)
		}
		t.pings = append(t.pings, &pinger{name: addr, id: uint16(os.Getpid() + i), conn: conn.(*net.IPConn)})
	}
	first := svc.Servers[0]
	for name, addr := range map[string]string{"routed": fmt.Sprintf("%s:%d", first.Address, first.Port), "proxied": vip} {
		s := &stream{name: name}
		r.eventually(20*time.Second, "a "+name+" connection to "+addr, func() string {
			var err error
			if s.conn, s.in, err = greeted(ctx, r, heldPort(time.Now()), addr); err != nil {
				return err.Error()
			}
			return ""
		})
		t.streams = append(t.streams, s)
	}
	slices.SortFunc(t.streams, func(a, b *stream) int { return strings.Compare(a.name, b.name) })
	t.fresh = &dialer{r: r, addr: vip}
	for _, p := range t.pings {
		t.wg.Go(func() { p.send(ctx) })
		t.wg.Go(p.receive)
	}
	for _, s := range t.streams {
		t.wg.Go(func() { s.talk(ctx) })
	}
	t.wg.Go(func() { t.fresh.run(ctx) })
	for _, p := range t.pings {
		r.eventually(5*time.Second, "pings of "+p.name, func() string {
			if p.answered() < 20 {
				return "no answers"
			}
			return ""
		})
	}
	return t
}

// pinged are the VIPs and the servers.
func (r *rig) pinged() []string {
	var out []string
	for _, v := range r.pair.VIPs() {
		out = append(out, v.Addr.String())
	}
	for _, s := range r.pair.Services[0].Servers {
		out = append(out, s.Address.String())
	}
	return out
}

// felt is what the client noticed.
type felt struct {
	sent, lost int           // pings
	outage     time.Duration // the longest time without an answer from one address
	whom       string        // that address
	broken     []string      // connections that were held and are gone
	stall      time.Duration // the longest time a held connection waited for an answer
	dialed     int           // new connections
	failed     []string      // those that did not come about
	slowest    time.Duration // of those that did
	refused    time.Duration // from the first that failed to the last
}

func (f felt) String() string {
	return fmt.Sprintf("%d of %d pings lost, longest outage %.2fs (%s); held connections broken %q, longest stall %.2fs; %d of %d new connections failed, slowest %.2fs",
		f.lost, f.sent, f.outage.Seconds(), f.whom, f.broken, f.stall.Seconds(), len(f.failed), f.dialed, f.slowest.Seconds())
}

// end stops the traffic and tells what became of it.
func (t *traffic) end() felt {
	time.Sleep(500 * time.Millisecond) // the traffic goes on for a moment after what was done
	t.stop()
	for _, p := range t.pings {
		_ = p.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // for the last answers
	}
	t.wg.Wait()
	var f felt
	for _, p := range t.pings {
		defer p.conn.Close()
		if !slices.Contains(t.r.pinged(), p.name) {
			continue // it has left the inventory meanwhile
		}
		lost, outage := p.result()
		f.sent += len(p.sent)
		f.lost += lost
		if outage > f.outage {
			f.outage, f.whom = outage, p.name
		}
	}
	for _, s := range t.streams {
		if s.err != nil {
			f.broken = append(f.broken, s.name+": "+s.err.Error())
		}
		f.stall = max(f.stall, s.stall)
		_ = s.conn.Close()
	}
	f.dialed, f.failed, f.slowest, f.refused = t.fresh.count, t.fresh.failed, t.fresh.slowest, t.fresh.refused()
	return f
}

// pinger sends echo requests to one address.
type pinger struct {
	name string
	id   uint16
	conn *net.IPConn

	mu   sync.Mutex
	sent []time.Time
	back []bool
}

func (p *pinger) send(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		seq := len(p.sent)
		p.sent, p.back = append(p.sent, time.Now()), append(p.back, false)
		p.mu.Unlock()
		_, _ = p.conn.Write(echoRequest(p.id, seq)) // "host unreachable" of an earlier one is no answer either
	}
}

// echoRequest is an ICMP echo request. The sequence number has 16 bits; what is
// above stands in the data.
func echoRequest(id uint16, seq int) []byte {
	b := make([]byte, 16)
	b[0] = 8
	endian.BigEndian.PutUint16(b[4:], id)
	endian.BigEndian.PutUint16(b[6:], uint16(seq))
	endian.BigEndian.PutUint64(b[8:], uint64(seq))
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(endian.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	endian.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

func (p *pinger) receive() {
	b := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed):
			return
		case err != nil || n < 16 || b[0] != 0 || endian.BigEndian.Uint16(b[4:]) != p.id:
			continue
		}
		p.mu.Lock()
		if seq := endian.BigEndian.Uint64(b[8:]); seq < uint64(len(p.back)) {
			p.back[seq] = true
		}
		p.mu.Unlock()
	}
}

func (p *pinger) answered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, ok := range p.back {
		if ok {
			n++
		}
	}
	return n
}

// result counts what got no answer, and the longest time between two pings that
// did, less one interval.
func (p *pinger) result() (lost int, outage time.Duration) {
	last := p.sent[0]
	for i, ok := range p.back {
		if !ok {
			lost++
			outage = max(outage, p.sent[i].Sub(last))
			continue
		}
		last = p.sent[i]
	}
	return lost, outage
}

// heldPort is the local port of a connection that is held. HAProxy talks to the
// servers under the client's address, and does not know which of its ports the
// client itself uses towards them: one that both took would end the connection.
// HAProxy's are those that the kernel gives away, 32768 and above.
func heldPort(now time.Time) net.Addr {
	return &net.TCPAddr{Port: 10000 + int(now.UnixMicro()/100%20000)}
}

// greeted opens a connection from the client and reads the server's first line.
func greeted(ctx context.Context, r *rig, from net.Addr, addr string) (net.Conn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := r.lab.DialFrom(ctx, "client", "tcp", from, addr)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, in, nil
}

// stream is a connection that is held and talked over.
type stream struct {
	name  string
	conn  net.Conn
	in    *bufio.Reader
	stall time.Duration
	err   error
}

// talk sends eight bytes every 10 ms and waits for their echo, at most half a
// minute, in which TCP sends again what was lost.
func (s *stream) talk(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	out, back := make([]byte, 8), make([]byte, 8)
	for n := uint64(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		start := time.Now()
		_ = s.conn.SetDeadline(start.Add(30 * time.Second))
		endian.BigEndian.PutUint64(out, n)
		if _, s.err = s.conn.Write(out); s.err != nil {
			return
		}
		if _, s.err = io.ReadFull(s.in, back); s.err != nil {
			return
		}
		if !slices.Equal(out, back) {
			s.err = fmt.Errorf("got back %x for %x", back, out)
			return
		}
		s.stall = max(s.stall, time.Since(start))
	}
}

// dialer opens a new connection every 100 ms.
type dialer struct {
	r    *rig
	addr string

	mu      sync.Mutex
	count   int
	failed  []string
	when    []time.Time // the failed ones began
	slowest time.Duration
}

// refused is how long new connections have failed. Those that fail come to know it
// at different times.
func (d *dialer) refused() time.Duration {
	if len(d.when) == 0 {
		return 0
	}
	slices.SortFunc(d.when, time.Time.Compare)
	return d.when[len(d.when)-1].Sub(d.when[0]) + dialEvery
}

func (d *dialer) run(ctx context.Context) {
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wg.Go(func() {
			start := time.Now()
			conn, _, err := greeted(context.WithoutCancel(ctx), d.r, nil, d.addr)
			took := time.Since(start)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.count++
			if err != nil {
				d.failed = append(d.failed, err.Error())
				d.when = append(d.when, start)
				return
			}
			d.slowest = max(d.slowest, took)
			_ = conn.Close()
		})
	}
}
