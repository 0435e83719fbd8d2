package remote

import (
	"io"
	"net"
	"sync"
	"time"
)

// wire is a connection in memory whose bytes take a while, for tests in which
// time is not real.
type wire struct {
	in, out *lane
	far     net.Addr
}

// lane is one direction of a wire.
type lane struct {
	delay time.Duration

	mu      sync.Mutex
	queue   []parcel
	changed chan struct{} // closed and replaced when anything here changes
	over    bool          // the reader has closed
	cut     bool          // what is written gets lost
}

type parcel struct {
	at   time.Time
	data []byte // nil: the end
}

// newWire returns both ends of a connection to addr.
func newWire(addr string, delay time.Duration) (near, far *wire) {
	a, b := &lane{delay: delay, changed: make(chan struct{})}, &lane{delay: delay, changed: make(chan struct{})}
	host, _, _ := net.SplitHostPort(addr)
	at := &net.TCPAddr{IP: net.ParseIP(host), Port: 22}
	return &wire{a, b, at}, &wire{b, a, at}
}

func (l *lane) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// unplug makes a wire lose everything from now on, without a word to either end.
func (w *wire) unplug() {
	w.in.change(func() { w.in.cut = true })
	w.out.change(func() { w.out.cut = true })
}

func (l *lane) send(p []byte) {
	l.change(func() {
		if !l.cut {
			l.queue = append(l.queue, parcel{time.Now().Add(l.delay), p})
		}
	})
}

func (w *wire) Write(p []byte) (int, error) {
	w.in.mu.Lock()
	closed := w.in.over
	w.in.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	w.out.send(append([]byte{}, p...))
	return len(p), nil
}

func (w *wire) Read(p []byte) (int, error) {
	for {
		n, wait, changed, err := w.in.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take returns what has arrived, or how long to wait for it.
func (l *lane) take(p []byte) (n int, wait time.Duration, changed chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return 0, 0, nil, net.ErrClosed
	case len(l.queue) == 0:
		return 0, time.Hour, l.changed, nil
	}
	first := &l.queue[0]
	if wait := time.Until(first.at); wait > 0 {
		return 0, wait, l.changed, nil
	}
	if first.data == nil {
		return 0, 0, nil, io.EOF
	}
	n = copy(p, first.data)
	if first.data = first.data[n:]; len(first.data) == 0 {
		l.queue = l.queue[1:]
	}
	return n, 0, nil, nil
}

func (w *wire) Close() error {
	w.in.change(func() { w.in.over = true })
	w.out.send(nil)
	return nil
}

func (w *wire) LocalAddr() net.Addr              { return w.far }
func (w *wire) RemoteAddr() net.Addr             { return w.far }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
