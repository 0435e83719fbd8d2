package drill

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/syntax"

	"fwprov/steps"
)

func TestClock(t *testing.T) {
	var c Clock
	c = c.Compared(ms(0), ms(1050), ms(100))
	c = c.Compared(ms(200), ms(1203), ms(206)) // a shorter way
	c = c.Compared(ms(300), ms(9999), ms(400))
	if want := (Clock{time.Second, 3 * time.Millisecond, true}); c != want {
		t.Errorf("got %v", c)
	}
	if got := c.Ours(ms(1500)); !got.Equal(ms(500)) {
		t.Errorf("got %v", got)
	}
}

func TestMoves(t *testing.T) {
	lines := []string{
		"[2027-01-15T08:00:00.250000] 2: eth0    inet 192.0.2.1/24 scope global secondary eth0\\       valid_lft forever preferred_lft forever",
		"[2027-01-15T08:00:00.500000] Deleted 2: eth0    inet 192.0.2.1/24 scope global eth0",
		"[2027-01-15T08:00:00.600000] Deleted 2: eth0    inet 192.0.2.9/24 scope global eth0", // no VIP
		"[yesterday] 2: eth0    inet 192.0.2.1/24 scope global eth0",
		"has 192.0.2.1", "has 127.0.0.1", "nonsense",
	}
	start := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	got := Moves(lines, "fw01", []string{"192.0.2.1"}, Clock{Ahead: 50 * time.Millisecond, Known: true}, start)
	want := []Move{
		{start.Add(200 * time.Millisecond), "fw01", "192.0.2.1", true},
		{start.Add(450 * time.Millisecond), "fw01", "192.0.2.1", false},
		{start, "fw01", "192.0.2.1", true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

var farServices = []steps.Target{{Addr: netip.MustParseAddrPort("192.0.2.1:25"), Name: "mail"}}

func TestFarSeries(t *testing.T) {
	lines := strings.Split(`every 0.01
ping 192.0.2.1 PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
ping 192.0.2.1 [1800000000.011000] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=1.00 ms
ping 192.0.2.1 [1800000000.041000] 64 bytes from 192.0.2.1: icmp_seq=4 ttl=64 time=1.00 ms
ping 192.0.2.1 [1800000000.042000] From 192.0.2.7 icmp_seq=3 Destination Host Unreachable
connect 192.0.2.1:25 1800000000210000000 1800000000250000000 failed
connect 192.0.2.1:25 1800000000010000000 1800000000015000000 ok
connect 192.0.2.1:25 x`, "\n")
	got := FarSeries(lines, "probe", farServices, Clock{Ahead: 10 * time.Millisecond, Known: true}, ms(60))
	want := []Series{
		{"probe", Ping, "192.0.2.1", "", 10 * time.Millisecond, []Sample{{Sent: ms(0), Back: ms(1)}, {Sent: ms(10)}, {Sent: ms(20)}, {Sent: ms(30), Back: ms(31)}}},
		{"probe", Connect, "192.0.2.1:25", "mail", farConnect, []Sample{{Sent: ms(0), Back: ms(5)}, {Sent: ms(200)}}},
	}
	near := cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < 10*time.Microsecond }) // of a float
	if d := cmp.Diff(want, got, near); d != "" {
		t.Error(d)
	}
	if got := FarSeries(lines, "probe", nil, Clock{}, ms(1000))[0].Samples; len(got) < 90 || !got[len(got)-1].Back.IsZero() {
		t.Errorf("a host that gets no answers any more has lost %d", len(got))
	}
}

// What another host says may be anything.
func FuzzFarSeries(f *testing.F) {
	f.Add("every 0.01\nping 192.0.2.1 [1800000000.011000] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=1.00 ms\nconnect 192.0.2.1:25 1 2 ok\nhas 192.0.2.1\n")
	f.Fuzz(func(_ *testing.T, out string) {
		lines := strings.Split(out, "\n")
		for _, s := range FarSeries(lines, "probe", farServices, Clock{}, ms(1000)) {
			Find(s)
		}
		HeldBy(Moves(lines, "fw01", []string{"192.0.2.1"}, Clock{}, ms(0)), ms(0), ms(1000))
	})
}

func TestFarScriptIsPOSIX(t *testing.T) {
	for _, services := range [][]steps.Target{nil, farServices} {
		script := FarScript([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, services, 10*time.Millisecond, time.Minute)
		if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), ""); err != nil {
			t.Errorf("%v in\n%s", err, script)
		}
	}
}

// TestFollower lets a script be what it would be elsewhere.
func TestFollower(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := NewFollower()
	follow := func(_ context.Context, _ string, in io.Reader, onLine func(string)) error {
		onLine("has 192.0.2.1")
		for scan := bufio.NewScanner(in); scan.Scan(); {
			onLine("clock 1800000000000000000")
		}
		return nil
	}
	go func() { <-f.Ready(); cancel() }()
	f.Run(ctx, follow, "")
	lines, clock, err := f.Heard()
	if err != nil || !clock.Known || !cmp.Equal(lines, []string{"has 192.0.2.1"}) {
		t.Errorf("%q, %v, %v", lines, clock, err)
	}
}

// TestStream talks to an echo server that goes away.
func TestStream(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		in := bufio.NewReader(conn)
		for range 3 {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, line)
		}
		_ = conn.Close()
	}()
	s, err := Open(context.Background(), "routed", steps.Target{Addr: netip.MustParseAddrPort(l.Addr().String()), Talk: steps.TalkEcho})
	if err != nil {
		t.Fatal(err)
	}
	s.Run(context.Background())
	got := s.Line(time.Now())
	if got.Broken == "" || got.At == nil || len(s.samples) != 4 {
		t.Errorf("%+v after %d exchanges", got, len(s.samples))
	}
}

// TestPinger pings this machine, where it may.
func TestPinger(t *testing.T) {
	p, err := NewPinger([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, 5*time.Millisecond, 77)
	if err != nil {
		t.Skipf("this user may not send pings: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	p.Run(ctx)
	for _, s := range p.Series() {
		if f := Find(s); f.Sent == 0 || f.Lost > 0 {
			t.Errorf("%+v", f)
		}
	}
}

// TestNote hands the pinger packets that are not its own.
func TestNote(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	p := &Pinger{token: 1, addrs: []netip.Addr{addr}, series: []Series{{Samples: make([]Sample, 1)}}}
	reply := func(token, target, seq uint32) []byte {
		b := echoRequest(token, target, seq)
		b[0] = 0
		return b
	}
	for _, b := range [][]byte{nil, {0}, echoRequest(1, 0, 0), reply(2, 0, 0), reply(1, 1, 0), reply(1, 0, 1)} {
		p.note(b, addr, ms(1))
	}
	p.note(reply(1, 0, 0), netip.MustParseAddr("192.0.2.2"), ms(1))
	if !p.series[0].Samples[0].Back.IsZero() {
		t.Error("a packet of somebody else counts")
	}
	p.raw = true
	p.note(append([]byte{0x45, 19: 0}, reply(1, 0, 0)...), addr, ms(1))
	if p.series[0].Samples[0].Back.IsZero() {
		t.Error("an answer does not count")
	}
}
