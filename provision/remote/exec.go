package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Command is a script for sh on the node.
type Command struct {
	Script string // POSIX sh; no secret, since command lines are public on the node
	// Private keeps the script out of command lines, for what nobody else on the
	// node has to know. Costs one more round trip.
	Private bool
	Stdin   io.Reader // what the script reads; nil: nothing. Costs one more round trip
	// OnLine gets each line of standard output without its newline as it
	// comes. It must not block, and is not called after Exec has returned.
	OnLine    func(line string)
	MaxOutput int // bytes of standard output, default 64 MiB; more is an error and closes the connection
}

const defaultMaxOutput = 64 << 20

// Result is what a command has left.
type Result struct {
	Stdout []byte
	Stderr []byte // of more than 64 KiB the first and the last half
	Code   int    // exit status
}

// Exec runs a command and waits for it. It fails if the command could not be run
// or was cut off; an exit status other than 0 is no error. When ctx ends first,
// the command's session is closed and other commands on the connection go on. The
// command itself gets a SIGTERM where the server allows it (sshd does not for
// root, and a master of ssh sends none); else it runs until it meets the end of its
// input or output.
func (c *Client) Exec(ctx context.Context, cmd Command) (Result, error) {
	if c.sudo {
		return c.elevated(ctx, cmd)
	}
	return c.bare(ctx, cmd, nil)
}

// bare runs a command, with the password that sudo is to get if it is not nil.
func (c *Client) bare(ctx context.Context, cmd Command, password *string) (Result, error) {
	line, stdin, err := c.invocation(cmd, password)
	if err != nil {
		return Result{}, err
	}
	e := &execution{client: c, line: line, stdout: lineWriter{onLine: cmd.OnLine, max: cmd.MaxOutput}, stage: "a free session"}
	if e.stdout.max == 0 {
		e.stdout.max = defaultMaxOutput
	}
	e.stdin.r = stdin
	begin := time.Now()
	done := make(chan ending, 1)
	select {
	case c.sessions <- struct{}{}:
		running := c.spawn(func() {
			if c.master != nil {
				done <- e.runOver()
			} else {
				done <- e.run()
			}
			<-c.sessions
		})
		if !running {
			return Result{}, errClosed
		}
	case <-ctx.Done():
	case <-c.link.down:
		if c.master != nil {
			return Result{}, c.notRun(c.link.cause)
		}
		return Result{}, c.link.cause
	}
	var end ending
	select {
	case end = <-done:
		e.end()
	case <-ctx.Done():
		end.err = fmt.Errorf("gave up after %s of waiting for %s: %w", time.Since(begin).Round(time.Millisecond), e.abort(), context.Cause(ctx))
	}
	return Result{Stdout: e.stdout.all.Bytes(), Stderr: e.stderr.bytes(), Code: end.code}, end.err
}

// ending is how a command has ended.
type ending struct {
	code int
	err  error
}

// execution is one run of a command.
type execution struct {
	client *Client
	line   string
	stdin  stdinReader

	mu     sync.Mutex // for all below, and around what the session writes
	ended  bool       // Exec has returned or is about to
	stage  string     // what is being waited for
	stop   func()     // asks for the end of the command; nil before there is one
	stdout lineWriter
	stderr headTail
}

// at notes what is waited for next. It reports false if Exec does not wait any
// more.
func (e *execution) at(stage string, stop func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stage, e.stop = stage, stop
	return !e.ended
}

func (e *execution) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

// abort ends the session without waiting for it, and returns what was being
// waited for.
func (e *execution) abort() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	if e.stop != nil {
		// Writing blocks when the other side does not read.
		e.client.spawn(e.stop)
	}
	return e.stage
}

// stop asks for the end of a command. Errors say that it is over already.
func stop(sess *ssh.Session) {
	_ = sess.Signal(ssh.SIGTERM)
	_ = sess.Close()
}

func (e *execution) run() ending {
	c := e.client
	e.at("a session", nil)
	sess, err := c.ssh.NewSession()
	if err != nil {
		return ending{err: c.refused("a session", err)}
	}
	// It is over by then, or there is nobody to tell.
	defer func() { _ = sess.Close() }()
	ask := func() { stop(sess) }
	if !e.at("the command to start", ask) {
		return ending{}
	}
	sess.Stdout, sess.Stderr = locked{e, &e.stdout}, locked{e, &e.stderr}
	if e.stdin.r != nil {
		sess.Stdin = &e.stdin
	}
	if err := sess.Start(e.line); err != nil {
		return ending{err: c.broken("the server refused to run a command (a restricted key?)")}
	}
	if !e.at("the command to end", ask) {
		stop(sess)
	}
	err = sess.Wait()
	e.flush()
	return e.outcome(err)
}

// flush hands on a last line that has no newline.
func (e *execution) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended {
		e.stdout.flush()
	}
}

// outcome translates what Wait says.
func (e *execution) outcome(err error) ending {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case errors.As(err, &exit) && exit.Signal() != "":
		return ending{exit.ExitStatus(), fmt.Errorf("the command was killed by SIG%s", exit.Signal())}
	case errors.As(err, &missing):
		return ending{err: e.client.broken("the command ended without an exit status")}
	case e.stdin.failed() != nil:
		return ending{err: fmt.Errorf("read what the command is to be sent: %w", e.stdin.failed())}
	case errors.As(err, &exit):
		return ending{code: exit.ExitStatus()}
	case err != nil && !errors.Is(err, io.EOF): // EOF: the command did not read all its input
		return ending{err: e.client.broken(err.Error())}
	}
	return ending{}
}

// ErrNoSession says that the server does not let this connection have one more
// session, as sshd does beyond MaxSessions. Nothing was run. A new connection may
// have what this one may not, and if this one rides a master of ssh, one with
// Options.Fresh may.
var ErrNoSession = errors.New("MaxSessions in its sshd_config may be too low")

// noSession is an ErrNoSession in the words of a master.
type noSession string

func (e noSession) Error() string        { return string(e) }
func (e noSession) Is(target error) bool { return target == ErrNoSession }

// refused explains why a channel could not be opened.
func (c *Client) refused(what string, err error) error {
	var open *ssh.OpenChannelError
	if errors.As(err, &open) {
		return fmt.Errorf("the server refused %s: %s (%s): %w", what, open.Message, open.Reason, ErrNoSession)
	}
	return c.broken(err.Error())
}

// broken returns why the connection is down or, if it is not, an error that
// says what else has gone wrong.
func (c *Client) broken(otherwise string) error {
	if c.master != nil {
		return c.masterBroken(otherwise)
	}
	if _, _, err := c.ssh.SendRequest(keepAliveRequest, true, nil); err == nil {
		return errors.New(otherwise)
	}
	<-c.link.down
	return c.link.cause
}

// locked is a writer of a session that falls silent when Exec returns.
type locked struct {
	e *execution
	w io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	if l.e.ended {
		return len(p), nil
	}
	n, err := l.w.Write(p)
	if err != nil {
		l.e.client.link.cut(err)
	}
	return n, err
}

// stdinReader remembers the error of the caller's reader, which x/crypto/ssh
// does not tell from others.
type stdinReader struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

func (s *stdinReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *stdinReader) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// lineWriter collects up to max bytes and hands their lines on.
type lineWriter struct {
	all    bytes.Buffer
	told   int // bytes of all that were handed on
	max    int
	onLine func(string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if w.all.Len()+len(p) > w.max {
		return 0, fmt.Errorf("the command printed more than %d bytes", w.max)
	}
	w.all.Write(p)
	for w.onLine != nil {
		n := bytes.IndexByte(w.all.Bytes()[w.told:], '\n')
		if n < 0 {
			break
		}
		line := string(w.all.Bytes()[w.told : w.told+n])
		w.told += n + 1
		w.onLine(line)
	}
	return len(p), nil
}

// flush hands on a last line that has no newline.
func (w *lineWriter) flush() {
	if rest := w.all.Bytes()[w.told:]; w.onLine != nil && len(rest) > 0 {
		w.told = w.all.Len()
		w.onLine(string(rest))
	}
}

// half is how much of the beginning and of the end of standard error is kept.
const half = 32 << 10

// headTail keeps the beginning and the end of what is written to it.
type headTail struct {
	head, tail []byte
	dropped    int
}

func (h *headTail) Write(p []byte) (int, error) {
	n := len(p)
	fits := min(half-len(h.head), len(p))
	h.head = append(h.head, p[:fits]...)
	h.tail = append(h.tail, p[fits:]...)
	if over := len(h.tail) - half; over > 0 {
		h.dropped += over
		h.tail = append(h.tail[:0], h.tail[over:]...)
	}
	return n, nil
}

func (h *headTail) bytes() []byte {
	if h.dropped == 0 {
		return append(h.head, h.tail...)
	}
	return fmt.Appendf(h.head, "\n[%d bytes left out]\n%s", h.dropped, h.tail)
}
