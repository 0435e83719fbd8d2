package drill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pinger sends echo requests to addresses in turn, over one socket.
type Pinger struct {
	fd     int
	raw    bool // the answers come with their IP header
	token  uint32
	every  time.Duration // between two requests to one address
	addrs  []netip.Addr
	mu     sync.Mutex
	series []Series
}

// NewPinger opens the socket: one that needs no privileges where the system lets
// this user have it (net.ipv4.ping_group_range), else a raw one, which root may.
// token tells its answers from those of others.
func NewPinger(addrs []netip.Addr, every time.Duration, token uint32) (*Pinger, error) {
	p := &Pinger{token: token, every: every, addrs: addrs}
	var err error
	if p.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); err != nil {
		var rawErr error
		if p.fd, rawErr = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); rawErr != nil {
			return nil, fmt.Errorf("no socket for pings: %w, and raw: %w (let this user have one: sysctl net.ipv4.ping_group_range)", err, rawErr)
		}
		p.raw = true
	}
	// The kernel knows when an answer came; this process may be late to look.
	err = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err == nil {
		tv := unix.NsecToTimeval(int64(lookEvery))
		err = unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	}
	if err != nil {
		_ = unix.Close(p.fd)
		return nil, fmt.Errorf("set up the socket for pings: %w", err)
	}
	for _, a := range addrs {
		p.series = append(p.series, Series{Vantage: Here, Kind: Ping, Target: a.String(), Every: every})
	}
	return p, nil
}

// Here is the vantage of probes that fwprov itself sends.
const Here = "here"

// lookEvery is how often a reader that hears nothing looks whether it is over.
const lookEvery = 50 * time.Millisecond

// lastAnswers is how long is waited for them.
const lastAnswers = 300 * time.Millisecond

// Run sends until ctx ends, waits for the last answers and closes the socket.
func (p *Pinger) Run(ctx context.Context) {
	var reader sync.WaitGroup
	over := make(chan struct{})
	reader.Go(func() { p.receive(over) })
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-ctx.Done():
			time.AfterFunc(lastAnswers, func() { close(over) })
			reader.Wait()
			_ = unix.Close(p.fd)
			return
		case <-tick.C:
		}
		for i := range p.addrs {
			p.send(i)
		}
	}
}

func (p *Pinger) send(i int) {
	p.mu.Lock()
	s := &p.series[i]
	seq := len(s.Samples)
	s.Samples = append(s.Samples, Sample{Sent: time.Now().Round(0)})
	p.mu.Unlock()
	// "host unreachable" of an earlier one is no answer either.
	_ = unix.Sendto(p.fd, echoRequest(p.token, uint32(i), uint32(seq)), 0, &unix.SockaddrInet4{Addr: p.addrs[i].As4()})
}

// payload is the length of what an echo request carries after its header: the
// token, which address it goes to, and its number.
const payload = 12

// echoRequest is an ICMP echo request.
func echoRequest(token, target, seq uint32) []byte {
	b := make([]byte, 8+payload)
	b[0] = 8
	binary.BigEndian.PutUint16(b[4:], uint16(token))
	binary.BigEndian.PutUint16(b[6:], uint16(seq))
	binary.BigEndian.PutUint32(b[8:], token)
	binary.BigEndian.PutUint32(b[12:], target)
	binary.BigEndian.PutUint32(b[16:], seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

// receive notes answers until over is closed.
func (p *Pinger) receive(over <-chan struct{}) {
	b, control := make([]byte, 1500), make([]byte, 128)
	for {
		select {
		case <-over:
			return
		default:
		}
		n, m, _, from, err := unix.Recvmsg(p.fd, b, control, 0)
		if err != nil {
			if errors.Is(err, unix.EBADF) {
				return
			}
			continue // nothing came, or an error of an earlier request
		}
		if addr, ok := from.(*unix.SockaddrInet4); ok {
			p.note(b[:n], netip.AddrFrom4(addr.Addr), arrival(control[:m]))
		}
	}
}

// note takes one packet, which may be anybody's.
func (p *Pinger) note(b []byte, from netip.Addr, at time.Time) {
	if p.raw {
		if len(b) < 20 || len(b) < int(b[0]&0x0f)*4 {
			return
		}
		b = b[int(b[0]&0x0f)*4:]
	}
	if len(b) < 8+payload || b[0] != 0 || binary.BigEndian.Uint32(b[8:]) != p.token {
		return
	}
	i, seq := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(i) >= len(p.addrs) || p.addrs[i] != from || int(seq) >= len(p.series[i].Samples) {
		return
	}
	if s := &p.series[i].Samples[seq]; s.Back.IsZero() {
		s.Back = at
	}
}

// arrival is when the kernel got a packet, as its control messages say, or now.
func arrival(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now().Round(0)
}

// Series are the samples so far.
func (p *Pinger) Series() []Series {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Series, len(p.series))
	for i, s := range p.series {
		out[i] = s
		out[i].Samples = append([]Sample(nil), s.Samples...)
	}
	return out
}
