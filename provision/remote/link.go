package remote

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// link is the TCP connection below all hops. Closing it is the one way to end
// whatever waits in x/crypto/ssh.
type link struct {
	root  net.Conn
	once  sync.Once
	down  chan struct{} // closed after cause is set
	cause error
}

// cut closes the connection. The first cause is the one that is reported.
func (l *link) cut(cause error) {
	l.once.Do(func() {
		l.cause = cause
		close(l.down)
		// It is thrown away, and what it says is of no use to anybody.
		_ = l.root.Close()
	})
}

// watchedConn notes when something was received.
type watchedConn struct {
	net.Conn
	link  *link
	start time.Time
	heard atomic.Int64 // since start
}

func (l *link) watch(c net.Conn) *watchedConn {
	return &watchedConn{Conn: c, link: l, start: time.Now()}
}

func (w *watchedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard.Store(int64(time.Since(w.start)))
	}
	return n, err
}

// keepAlive asks for a sign of life after every interval of silence, and cuts
// the connection when there has been none for keepAliveMissed intervals. Data is a sign,
// too: an answer may be queued for long behind it.
func (w *watchedConn) keepAlive(c *ssh.Client, interval time.Duration, addr string) {
	var asking sync.WaitGroup
	defer asking.Wait()
	var asked atomic.Bool
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.link.down:
			return
		case <-timer.C:
		}
		silence := time.Since(w.start) - time.Duration(w.heard.Load())
		if silence >= keepAliveMissed*interval {
			w.link.cut(fmt.Errorf("connection lost: %s has not sent anything for %s", addr, silence.Round(time.Millisecond)))
			return
		}
		if silence >= interval && asked.CompareAndSwap(false, true) {
			asking.Go(func() {
				// If it fails, the connection is down, and Wait says so.
				_, _, _ = c.SendRequest(keepAliveRequest, true, nil)
				asked.Store(false)
			})
		}
		timer.Reset(interval - silence%interval)
	}
}

// lostError explains the end of a connection that nobody here has closed.
func lostError(err error) error {
	if err == nil || err == io.EOF {
		return fmt.Errorf("connection lost: closed by the other side")
	}
	return fmt.Errorf("connection lost: %w", err)
}
