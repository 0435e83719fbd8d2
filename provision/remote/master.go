package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// A master of ssh (ControlMaster) is asked for sessions as ssh itself asks, see
// PROTOCOL.mux of OpenSSH: each is a connection to its socket, by which the master
// is handed the three files of the session. A session is two round trips. The
// master looks after the connection to the node (ServerAliveInterval); here every
// wait has its deadline.
//
// The other way that masters know, the proxy mode of ssh.NewControlClientConn,
// harms the operator. A master dies, and all sessions with it, when such a
// client leaves after the server has refused it a session ("no remote_id", up to
// 10.0 at least), which MaxSessions 1 is enough for. And it asks nobody where
// ControlMaster is "ask".

// Messages of the protocol.
const (
	muxVersion    = 4
	muxHello      = 0x00000001
	muxNewSession = 0x10000002
	muxOpened     = 0x80000006
	muxExit       = 0x80000004
)

// Limits of waiting for a master. They are short: without it the node is reached
// all the same.
const (
	muxWithin  = time.Second     // for its words, which come from this machine
	openWithin = 4 * time.Second // for the server to open a session
)

// maxMux bounds in bytes what a master says at once.
const maxMux = 64 << 10

// master is an ssh whose connection is ridden.
type master struct{ path string }

// connect opens a connection to the master. It fails where there is none, or none
// that may be trusted.
func (m *master) connect(ctx context.Context) (*net.UnixConn, error) {
	if err := trusted(m.path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, muxWithin, timeoutError(muxWithin))
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", m.path)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err = trustedPeer(conn)
	if err == nil {
		err = muxSend(conn, ssh.Marshal(struct{ Type, Version uint32 }{muxHello, muxVersion}))
	}
	var hello struct {
		Version uint32
		Rest    []byte `ssh:"rest"`
	}
	if err == nil {
		err = muxReceive(conn, muxHello, &hello)
	}
	if err == nil && hello.Version != muxVersion {
		err = fmt.Errorf("it speaks version %d", hello.Version)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func muxSend(conn net.Conn, message []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}

// muxReceive reads a message of a type into what ssh.Unmarshal can fill.
func muxReceive(conn net.Conn, want uint32, into any) error {
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	size, got := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > maxMux {
		return fmt.Errorf("a message of %d bytes", size)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	if got != want {
		var refusal struct {
			ID     uint32
			Reason string
		}
		if ssh.Unmarshal(body, &refusal) == nil {
			return fmt.Errorf("%s", refusal.Reason)
		}
		return fmt.Errorf("message %#x instead of %#x", got, want)
	}
	return ssh.Unmarshal(body, into)
}

// passenger is a session over a master.
type passenger struct {
	conn                  *net.UnixConn
	stdin, stdout, stderr *os.File
	once                  sync.Once
	closed                chan struct{}
}

// close ends the session. Errors say that it is over already.
func (p *passenger) close() {
	p.once.Do(func() {
		close(p.closed)
		for _, c := range []io.Closer{p.conn, p.stdin, p.stdout, p.stderr} {
			_ = c.Close()
		}
	})
}

// start asks the master for a session that runs a command line or, of SFTP, a
// subsystem.
func (m *master) start(line string, subsystem bool) (*passenger, error) {
	conn, err := m.connect(context.Background())
	if err != nil {
		return nil, err
	}
	p := &passenger{conn: conn, closed: make(chan struct{})}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	for i, ours := range []**os.File{&p.stdin, &p.stdout, &p.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		if i == 0 {
			r, w = w, r
		}
		*ours, theirs = r, append(theirs, w)
	}
	request := struct {
		Type, ID                   uint32
		Reserved                   string
		TTY, X11, Agent, Subsystem uint32
		Escape                     uint32
		Term, Line                 string
	}{Type: muxNewSession, Escape: 0xffffffff, Line: line}
	if subsystem {
		request.Subsystem = 1
	}
	// It has room for a command line at once, or the master is stuck.
	_ = conn.SetWriteDeadline(time.Now().Add(muxWithin))
	err = muxSend(conn, ssh.Marshal(request))
	for _, f := range theirs {
		if err == nil {
			_, _, err = conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(f.Fd())), nil)
		}
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// opened waits until the server has opened the session.
func (p *passenger) opened() error {
	return muxReceive(p.conn, muxOpened, &struct{ ID, Session uint32 }{})
}

// exit waits for the exit status.
func (p *passenger) exit() (code int, err error) {
	var status struct{ Session, Code uint32 }
	err = muxReceive(p.conn, muxExit, &status)
	return int(status.Code), err
}

// ride connects by a master that is there, and reports whether there is one.
func (c *Client) ride(ctx context.Context, path string) bool {
	m := &master{path: path}
	conn, err := m.connect(ctx)
	if err != nil {
		return false
	}
	c.master, c.link = m, &link{root: conn, down: make(chan struct{})}
	c.spawn(func() {
		// It has nothing to say on this one until it ends.
		_, _ = conn.Read(make([]byte, 1))
		c.link.cut(m.lost())
	})
	return true
}

func (m *master) lost() error {
	return fmt.Errorf("connection lost: the ssh whose connection this was has ended or does not answer (ControlPath %s)", m.path)
}

// masterBroken is broken over a master.
func (c *Client) masterBroken(otherwise string) error {
	conn, err := c.master.connect(context.Background())
	if err != nil {
		c.link.cut(c.master.lost())
	} else {
		_ = conn.Close()
	}
	select {
	case <-c.link.down:
		return c.link.cause
	default:
		return errors.New(otherwise)
	}
}

// board opens a session over the master.
func (c *Client) board(line string, subsystem bool) (*passenger, error) {
	p, err := c.master.start(line, subsystem)
	if err != nil {
		return nil, c.notRun(err)
	}
	answer := make(chan error, 1)
	attended := c.spawn(func() {
		select {
		case <-c.link.down:
			p.close()
		case <-p.closed:
		}
	}) && c.spawn(func() { answer <- p.opened() })
	if !attended {
		p.close()
		return nil, errClosed
	}
	late := time.NewTimer(openWithin)
	defer late.Stop()
	select {
	case err = <-answer:
	case <-late.C:
		// A master may die if it is left before the server has answered.
		c.spawn(func() { <-answer; p.close() })
		return nil, c.notRun(fmt.Errorf("it has not opened a session within %s", openWithin))
	}
	if err != nil {
		p.close()
		return nil, c.notRun(err)
	}
	return p, nil
}

// notRun says why a command was not begun, which another connection may do.
func (c *Client) notRun(why error) error {
	err := c.masterBroken(fmt.Sprintf("by way of the ssh at %s: %v", c.master.path, why))
	if errors.Is(err, errClosed) {
		return err
	}
	return noSession(err.Error())
}

// runOver runs a command over the master.
func (e *execution) runOver() ending {
	c := e.client
	e.at("a session", nil)
	p, err := c.board(e.line, false)
	if err != nil {
		return ending{err: err}
	}
	defer p.close()
	if !e.at("the command to end", p.close) {
		return ending{}
	}
	var printing sync.WaitGroup
	// What cannot be written cuts the connection, and what cannot be read is over.
	printing.Go(func() { _, _ = io.Copy(locked{e, &e.stdout}, p.stdout) })
	printing.Go(func() { _, _ = io.Copy(locked{e, &e.stderr}, p.stderr) })
	go func() {
		if e.stdin.r != nil {
			// A command may end without having read all that it was sent.
			_, _ = io.Copy(p.stdin, &e.stdin)
		}
		_ = p.stdin.Close()
	}()
	code, err := p.exit()
	printing.Wait()
	e.flush()
	switch {
	case e.stdin.failed() != nil:
		return ending{err: fmt.Errorf("read what the command is to be sent: %w", e.stdin.failed())}
	case err != nil:
		return ending{err: c.broken("the command ended without an exit status (was it killed?)")}
	}
	return ending{code: code}
}
