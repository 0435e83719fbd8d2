package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"
)

// File is a file to be created on the node.
type File struct {
	Path    string // its folder exists, it does not
	Content []byte
	Mode    fs.FileMode // set before the content is written; 0: 0600
}

// Format prints of a file what may be seen.
func (f File) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "%s, %d bytes", f.Path, len(f.Content)) }

// maxUploads is how many files are on their way at once. A file is four round trips.
const maxUploads = 64

// sftpSession is the SFTP of a connection, opened by the first upload.
type sftpSession struct {
	close  func() // ends its session
	client *sftp.Client
}

// Upload creates files as the login user, also where commands run through sudo.
// A file that exists is an error. After an error some of the files may be
// there, whole or in part; when ctx ends, a file may still be written to until
// the connection is closed.
func (c *Client) Upload(ctx context.Context, files []File) error {
	if len(files) == 0 {
		return nil
	}
	begin := time.Now()
	gaveUp := func(what string) error {
		return fmt.Errorf("gave up after %s of waiting for %s: %w", time.Since(begin).Round(time.Millisecond), what, context.Cause(ctx))
	}
	s, err := c.sftp(ctx)
	if err != nil && ctx.Err() != nil {
		return gaveUp("the SFTP session")
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	if !c.spawn(func() { done <- s.putAll(ctx, files) }) {
		return errClosed
	}
	select {
	case err := <-done:
		if errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.EOF) {
			c.forget(s)
			return c.broken(err.Error())
		}
		return err
	case <-ctx.Done():
		c.forget(s)
		c.spawn(s.close)
		return gaveUp(fmt.Sprintf("%d files to be written", len(files)))
	}
}

// sftp returns the SFTP session of the connection, and opens it if there is none.
func (c *Client) sftp(ctx context.Context) (*sftpSession, error) {
	select {
	case s := <-c.files:
		if s != nil {
			c.files <- s
			return s, nil
		}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type opening struct {
		s   *sftpSession
		err error
	}
	done := make(chan opening, 1)
	spawned := c.spawn(func() {
		s, err := c.openSFTP()
		c.files <- s // nil if it failed; the next upload may wait for it
		done <- opening{s, err}
	})
	if !spawned {
		return nil, errClosed
	}
	select {
	case o := <-done:
		return o.s, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// forget makes the next upload open a new session in place of s.
func (c *Client) forget(s *sftpSession) {
	now := <-c.files
	if now == s {
		now = nil
	}
	c.files <- now
}

func (c *Client) openSFTP() (*sftpSession, error) {
	if c.master != nil {
		p, err := c.board("sftp", true)
		if err != nil {
			return nil, err
		}
		c.spawn(func() { _, _ = io.Copy(io.Discard, p.stderr) })
		return c.startSFTP(p.stdout, p.stdin, p.close)
	}
	sess, err := c.ssh.NewSession()
	if err != nil {
		return nil, c.refused("a session for SFTP", err)
	}
	in, err := sess.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := sess.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := sess.RequestSubsystem("sftp"); err != nil {
		_ = sess.Close()
		return nil, c.broken("the server has no SFTP: set `Subsystem sftp internal-sftp` in its sshd_config")
	}
	return c.startSFTP(out, in, func() { _ = sess.Close() })
}

func (c *Client) startSFTP(out io.Reader, in io.WriteCloser, end func()) (*sftpSession, error) {
	client, err := sftp.NewClientPipe(out, in, sftp.UseConcurrentWrites(true))
	if err != nil {
		end()
		return nil, c.broken(fmt.Sprintf("start SFTP: %v (does a login script of the user print something?)", err))
	}
	return &sftpSession{end, client}, nil
}

func (s *sftpSession) putAll(ctx context.Context, files []File) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxUploads)
	for _, f := range files {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.put(f)
		})
	}
	return g.Wait()
}

func (s *sftpSession) put(f File) (err error) {
	h, err := s.client.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		// SFTP 3 has no word for it.
		if _, there := s.client.Lstat(f.Path); there == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("create %s: %w", f.Path, err)
	}
	defer func() {
		if cerr := h.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", f.Path, cerr)
		}
	}()
	mode := f.Mode
	if mode == 0 {
		mode = 0o600
	}
	if err := h.Chmod(mode); err != nil {
		return fmt.Errorf("set the mode of %s: %w", f.Path, err)
	}
	// Only a reader that tells its length is written concurrently.
	if _, err := h.ReadFrom(bytes.NewReader(f.Content)); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}
