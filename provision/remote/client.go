// Package remote is SSH and SFTP for the engine: one connection to a node, found
// and checked as OpenSSH does it, over which commands run and files go up.
//
// x/crypto/ssh knows no deadline after the TCP connection. They are all here:
// Dial ends within Options.Timeout a hop, every call with its context, and a
// connection that has gone silent is cut and says so.
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// Options are what all connections of a run share.
type Options struct {
	ConfigFile  string        // ssh_config; "": ~/.ssh/config, then /etc/ssh/ssh_config; "none": no file
	HomeDir     string        // for ~; "": that of the user
	AgentSocket string        // "": $SSH_AUTH_SOCK; "none": no agent. IdentityAgent in ssh_config goes before it
	Timeout     time.Duration // to connect and log in, for each hop; default 15 s. ConnectTimeout in ssh_config goes before it
	KeepAlive   time.Duration // of silence until the server is asked for a sign of life; default 5 s. After three times as much the connection is cut
	// Fresh wants a connection of its own. Without it a master of ssh that is there
	// (ControlPath in ssh_config) is used for the node. None is ever made.
	Fresh  bool
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// OnUnknownHost is asked about a host that no known_hosts file has; nil
	// from it lets this connection go on. Without it the error is returned. It
	// must return when its context ends, which is that of the login.
	OnUnknownHost func(context.Context, *HostKeyUnknownError) error
	// KnownHosts keeps what was read of known_hosts files for the next connection;
	// nil: nothing.
	KnownHosts *KnownHosts
	JumpHosts  *JumpHosts // bounds the logins at jump hosts; nil: not at all
	// Password is what sudo gets where it wants one; nil: only sudo without.
	Password *Password
}

func (o Options) withDefaults() (Options, error) {
	if o.HomeDir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return o, fmt.Errorf("find ~/.ssh: %w", err)
		}
		o.HomeDir = home
	}
	switch o.AgentSocket {
	case "":
		o.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	case "none":
		o.AgentSocket = ""
	}
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 5 * time.Second
	}
	if o.Dialer == nil {
		o.Dialer = (&net.Dialer{}).DialContext
	}
	return o, nil
}

const (
	keepAliveRequest = "keepalive@openssh.com"
	keepAliveMissed  = 3
	// sshd allows 10 sessions for a connection (MaxSessions); one is for SFTP.
	maxSessions = 9
)

// Client is a connection to a node. It may be used by several goroutines.
type Client struct {
	ssh      *ssh.Client // nil over a master
	master   *master     // nil for a connection of our own
	jumps    []*ssh.Client
	link     *link
	addr     string
	node     string
	sudo     bool
	password *Password
	sessions chan struct{}     // holds one for every command that runs
	files    chan *sftpSession // holds what the first upload has opened, nil before
	heard    *watchedConn      // the connection to the node itself

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // goroutines that end with the connection
}

// spawn runs f in a goroutine that Close waits for. It reports false if the
// connection is closed already.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}

// Dial connects to a node, checks its host key and logs in, unless there is a
// master of ssh, which has done so. Its errors name the node; a *HostKeyUnknownError or *HostKeyChangedError is among them.
func Dial(ctx context.Context, t Target, o Options) (*Client, error) {
	c, err := dial(ctx, t, o)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", t.Node, err)
	}
	return c, nil
}

func dial(ctx context.Context, t Target, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r, err := newResolver(o)
	if err != nil {
		return nil, err
	}
	c := &Client{node: t.Node, sudo: t.Sudo, password: o.Password, sessions: make(chan struct{}, maxSessions), files: make(chan *sftpSession, 1)}
	c.files <- nil
	if !o.Fresh {
		for _, path := range r.controlPaths(t) {
			if c.ride(ctx, path) {
				return c, nil
			}
		}
	}
	hops, err := r.route(t)
	if err != nil {
		return nil, err
	}
	leave, err := o.JumpHosts.enter(ctx, hops)
	if err != nil {
		return nil, err
	}
	defer leave()
	for i, h := range hops {
		if err := c.hop(ctx, h, o); err != nil {
			if c.link != nil {
				_ = c.Close()
			}
			if i < len(hops)-1 {
				err = fmt.Errorf("jump host %s: %w", h.host, err)
			}
			if len(h.skipped) > 0 {
				err = fmt.Errorf("%w (not read, since fwprov does not evaluate that Match: %s)", err, strings.Join(h.skipped, ", "))
			}
			return nil, err
		}
		if i == len(hops)-2 {
			leave()
		}
	}
	c.spawn(func() { c.heard.keepAlive(c.ssh, o.KeepAlive, c.addr) })
	c.spawn(func() { c.link.cut(lostError(c.ssh.Wait())) })
	return c, nil
}

// hop connects to the next server on the way and logs in there. The time for
// it is the hop's, or else Options.Timeout.
func (c *Client) hop(ctx context.Context, h hop, o Options) error {
	keys, err := newHostKeys(h, o.KnownHosts)
	if err != nil {
		return err
	}
	limit := cmp.Or(h.timeout, o.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timeoutError(limit))
	defer cancel()
	creds := loadCredentials(ctx, h)
	defer creds.close()

	conn, err := c.connect(ctx, h, o)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", h.addr(), connectError(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { c.link.cut(context.Cause(ctx)) })
	defer stop()

	v := verdict{keys: keys}
	if o.OnUnknownHost != nil {
		v.ask = func(e *HostKeyUnknownError) error { return o.OnUnknownHost(ctx, e) }
	}
	config := &ssh.ClientConfig{User: h.user, HostKeyAlgorithms: keys.algorithms(), HostKeyCallback: v.check}
	if len(creds.signers) > 0 {
		config.Auth = []ssh.AuthMethod{ssh.PublicKeys(creds.signers...)}
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, h.addr(), config)
	// stop reports whether the time has not run out.
	if err == nil && stop() {
		if c.ssh != nil {
			c.jumps = append(c.jumps, c.ssh)
		}
		c.ssh, c.addr, c.heard = ssh.NewClient(sc, chans, reqs), h.addr(), conn
		return nil
	}
	known, refusal := v.get()
	switch {
	case refusal != nil:
		return refusal
	case known:
		return fmt.Errorf("log in to %s as %s: %w", h.addr(), h.user, loginError(ctx, err, creds))
	}
	return fmt.Errorf("agree on keys with %s: %w", h.addr(), handshakeError(ctx, err))
}

// connect opens the way to the next hop: the first by TCP, the others through
// the one before.
func (c *Client) connect(ctx context.Context, h hop, o Options) (*watchedConn, error) {
	if c.ssh == nil {
		conn, err := o.Dialer(ctx, "tcp", h.addr())
		if err != nil {
			return nil, err
		}
		c.link = &link{root: conn, down: make(chan struct{})}
		return c.link.watch(conn), nil
	}
	conn, err := c.ssh.DialContext(ctx, "tcp", h.addr())
	if err != nil {
		return nil, err
	}
	return c.link.watch(conn), nil
}

// Rides returns the socket of the master of ssh whose connection this is, or "" if
// it is one of its own.
func (c *Client) Rides() string {
	if c.master == nil {
		return ""
	}
	return c.master.path
}

// Close ends the connection and all that runs over it, and waits for the
// goroutines it had. A master goes on. It can be called again.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.link.cut(errClosed)
	for _, j := range append([]*ssh.Client{c.ssh}, c.jumps...) {
		if j != nil {
			// The error is the one that Close has made.
			_ = j.Wait()
		}
	}
	c.work.Wait()
	return nil
}

var errClosed = errors.New("the connection is closed")

// timeoutError is the cause of a context that ends after a while.
type timeoutError time.Duration

func (e timeoutError) Error() string        { return "no answer within " + time.Duration(e).String() }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

func connectError(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		<-ctx.Done() // the dialer knows of its end by a clock of its own, a moment earlier
	}
	var refused *ssh.OpenChannelError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w (is it up, is SSH let through, and is its table of connections not full?)", context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is sshd running, and is it the right port?)", err)
	case errors.As(err, &refused):
		return fmt.Errorf("the jump host cannot: %s (%s)", refused.Message, refused.Reason)
	}
	return err
}

func handshakeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (something accepts connections there: is it sshd?)", context.Cause(ctx))
	}
	return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "ssh: handshake failed: "))
}

func loginError(ctx context.Context, err error, creds *credentials) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else {
		err = errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), "ssh: "))
	}
	tried := "no key was there to be tried"
	if len(creds.offered) > 0 {
		tried = "tried " + strings.Join(creds.offered, ", ")
	}
	if len(creds.missed) > 0 {
		tried += "; could not use: " + strings.Join(creds.missed, "; ")
	}
	return fmt.Errorf("%w (%s)", err, tried)
}
