package drill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fwprov/steps"
)

// dialPatience is how long a client waits for a connection before it gives up.
const dialPatience = 3 * time.Second

// Dialer opens new connections to one address, at an interval, whatever becomes of
// those before.
type Dialer struct {
	mu     sync.Mutex
	series Series
}

// NewDialer prepares to connect to a service.
func NewDialer(to steps.Target, every time.Duration) *Dialer {
	return &Dialer{series: Series{Vantage: Here, Kind: Connect, Target: to.Addr.String(), Name: to.Name, Every: every}}
}

// Run connects until ctx ends, and waits for what is under way.
func (d *Dialer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(d.series.Every)
	defer tick.Stop()
	dialer := net.Dialer{Timeout: dialPatience}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		i := len(d.series.Samples)
		d.series.Samples = append(d.series.Samples, Sample{Sent: time.Now().Round(0)})
		d.mu.Unlock()
		wg.Go(func() {
			conn, err := dialer.DialContext(context.WithoutCancel(ctx), "tcp4", d.series.Target)
			now := time.Now().Round(0)
			d.mu.Lock()
			if err == nil {
				d.series.Samples[i].Back = now
			} else {
				d.series.Samples[i].Err = plain(err)
			}
			d.mu.Unlock()
			if err == nil {
				_ = conn.Close()
			}
		})
	}
}

// Series are the samples so far.
func (d *Dialer) Series() Series {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.series
	s.Samples = slices.Clone(s.Samples)
	return s
}

// plain is what an error of a connection is about.
func plain(err error) string {
	var errno syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer"
	case errors.Is(err, io.EOF):
		return "closed by the other side"
	}
	return err.Error()
}

// Stream is a connection that is held and talked over.
type Stream struct {
	kind string // routed, proxied
	to   steps.Target
	conn net.Conn
	in   *bufio.Reader

	mu      sync.Mutex
	samples []Sample
	broken  string
	at      time.Time
}

// Open opens a connection and hears its server's greeting, if one is due.
func Open(ctx context.Context, kind string, to steps.Target) (*Stream, error) {
	dialer := net.Dialer{Timeout: dialPatience, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 60}}
	conn, err := dialer.DialContext(ctx, "tcp4", to.Addr.String())
	if err != nil {
		return nil, errors.New(plain(err))
	}
	s := &Stream{kind: kind, to: to, conn: conn, in: bufio.NewReader(conn)}
	if err := s.greet(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// greet learns whether the server understands what is going to be said. Where it
// does not, nothing is said.
func (s *Stream) greet() error {
	_ = s.conn.SetDeadline(time.Now().Add(dialPatience))
	switch s.to.Talk {
	case steps.TalkSMTP:
		line, err := s.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("no greeting: %s", plain(err))
		}
		if !strings.HasPrefix(line, "220") {
			s.to.Talk = steps.TalkNone
		}
	case steps.TalkEcho:
		// A server that says something first is heard out.
		_ = s.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := s.in.ReadString('\n'); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New(plain(err))
		}
	}
	return nil
}

// Local is the client's own address of the connection.
func (s *Stream) Local() net.Addr { return s.conn.LocalAddr() }

// talkEvery is the pause between two exchanges. Mail servers lose patience with a
// client that says NOOP a hundred times, and web servers close a connection after
// as many requests.
func (s *Stream) talkEvery() time.Duration {
	if s.to.Talk == steps.TalkEcho {
		return 20 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// Run talks until ctx ends or the connection does, and closes it.
func (s *Stream) Run(ctx context.Context) {
	defer s.conn.Close()
	_ = s.conn.SetDeadline(time.Time{})
	// What is under way then ends too: it has stalled until the end.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now().Add(lastAnswers)) })
	defer stop()
	if s.to.Talk == steps.TalkNone {
		s.listen(ctx)
		return
	}
	tick := time.NewTicker(s.talkEvery())
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		s.samples = append(s.samples, Sample{Sent: time.Now().Round(0)})
		s.mu.Unlock()
		err := s.exchange(n)
		now := time.Now().Round(0)
		s.mu.Lock()
		switch {
		case err == nil:
			s.samples[n].Back = now
		case ctx.Err() == nil:
			s.broken, s.at = plain(err), now
		case errors.Is(err, os.ErrDeadlineExceeded) && now.Sub(s.samples[n].Sent) > dialPatience:
			s.broken, s.at = "no answer", s.samples[n].Sent
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// listen waits for the end of a connection over which nothing is said. Keepalives
// find out within a second or two whether the other side still knows it.
func (s *Stream) listen(ctx context.Context) {
	_, err := io.Copy(io.Discard, s.in)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = io.EOF
	}
	s.broken, s.at = plain(err), time.Now().Round(0)
}

// exchange says something and hears the answer.
func (s *Stream) exchange(n int) error {
	switch s.to.Talk {
	case steps.TalkHTTP:
		if _, err := fmt.Fprintf(s.conn, "HEAD / HTTP/1.1\r\nHost: %s\r\nUser-Agent: fwprov-drill\r\n\r\n", s.to.Addr.Addr()); err != nil {
			return err
		}
		for {
			line, err := s.in.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) == "" {
				return nil
			}
		}
	case steps.TalkSMTP:
		if _, err := io.WriteString(s.conn, "NOOP\r\n"); err != nil {
			return err
		}
		_, err := s.in.ReadString('\n')
		return err
	}
	out := fmt.Sprintf("%08d\n", n)
	if _, err := io.WriteString(s.conn, out); err != nil {
		return err
	}
	_, err := s.in.ReadString('\n')
	return err
}

// Line tells what became of it by end.
func (s *Stream) Line(end time.Time) Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Line{Kind: s.kind, Target: s.to.Addr.String(), Name: s.to.Name, Talk: string(s.to.Talk), Broken: s.broken, Stalls: []Span{}}
	samples := s.samples
	if s.broken != "" {
		at := s.at
		l.At = &at
		end = at
	}
	l.Stalls = append(l.Stalls, Stalls(samples, end)...)
	l.Longest = Seconds(Longest(l.Stalls))
	return l
}
