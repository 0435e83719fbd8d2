// Command fwprov turns two stock Linux machines into one redundant,
// load-balancing firewall from one inventory, over SSH.
//
// One file holds one command: it computes. What it found is shown by the files
// named view_*.go, for people and as JSON. Nothing but main reads the process's
// own arguments, environment, clock and terminal.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"os/user"
	"strings"
	"time"

	"golang.org/x/term"

	"fwprov/provision"
)

func main() { os.Exit(realMain()) }

func realMain() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	w := &world{
		args:     os.Args,
		environ:  os.Environ(),
		stdin:    os.Stdin,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		inTerm:   term.IsTerminal(int(os.Stdin.Fd())),
		outTerm:  term.IsTerminal(int(os.Stdout.Fd())),
		errTerm:  term.IsTerminal(int(os.Stderr.Fd())),
		size:     terminalSize,
		password: readPassword,
		now:      time.Now,
		id:       strings.ToLower(rand.Text()),
		operator: operator(),
		machine:  thisMachine,
		outlive:  outlive,
	}
	// That they can still be seen by this user is no reason not to run.
	_ = forgetSecrets()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, endings()...)
	go obey(signals, &w.farewell, cancel, os.Exit)
	return run(ctx, w)
}

// operator is "alice from admin1" or, of somebody logged in there over SSH, "alice
// from admin1 (203.0.113.7)": who holds a lock and who has applied. With sudo it
// is who called it.
func operator() string {
	name, host := os.Getenv("SUDO_USER"), "somewhere"
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	from := ""
	if peer, _, ok := strings.Cut(os.Getenv("SSH_CONNECTION"), " "); ok {
		from = " (" + peer + ")"
	}
	return strings.ReplaceAll(provision.Printable(name+" from "+host+from), "\n", " ")
}

func terminalSize() (columns, rows int) {
	columns, rows, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// readPassword reads a line from the terminal without showing it. Interrupted,
// it leaves the terminal as it was.
func readPassword(ctx context.Context) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	return await(ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		return string(b), err
	}, func() { _ = term.Restore(fd, before) })
}

// await returns what read returns, or ends early with ctx: a read from a
// terminal cannot be interrupted, so it is left behind.
func await(ctx context.Context, read func() (string, error), undo func()) (string, error) {
	type answer struct {
		text string
		err  error
	}
	c := make(chan answer, 1)
	go func() {
		text, err := read()
		c <- answer{text, err}
	}()
	select {
	case a := <-c:
		return a.text, a.err
	case <-ctx.Done():
		undo()
		return "", ctx.Err()
	}
}
