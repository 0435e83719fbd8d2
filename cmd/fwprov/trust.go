package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fwprov/provision/remote"
)

// trust is whom a session lets in, and how it becomes root. What has to be asked
// is asked once, one question after the other, with nothing else on the terminal
// meanwhile.
type trust struct {
	w         *world
	scr       *screen
	acceptNew bool            // host keys nobody knows are taken as they are
	run       context.Context // of the session: no node waits while a person thinks

	mu      sync.Mutex
	learned map[string]string // by host: the fingerprint that was accepted
}

// dial connects to a node. A host that is not known yet is asked about, or taken
// with --accept-new, and then known for good; one that has changed never is.
func (t *trust) dial(ctx context.Context, target remote.Target, o remote.Options) (*remote.Client, error) {
	tried := map[string]bool{}
	for {
		c, err := remote.Dial(ctx, target, o)
		var unknown *remote.HostKeyUnknownError
		if err == nil || !errors.As(err, &unknown) || tried[unknown.Host] {
			return c, err
		}
		tried[unknown.Host] = true
		if !t.acceptNew && !t.w.canAsk() {
			return nil, err
		}
		if err := t.learn(target.Node, unknown); err != nil {
			return nil, fmt.Errorf("node %s: %w", target.Node, err)
		}
		ctx = t.run // the time that was given did not count on a person
	}
}

// learn makes a host known.
func (t *trust) learn(node string, e *remote.HostKeyUnknownError) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.learned[e.Host] == e.Fingerprint {
		return nil // for the other node, on the way to which it is
	}
	if !t.acceptNew {
		answer, err := t.ask(fmt.Sprintf("%s: the host key of %s is not known yet. It shows\n  %s %s\nCompare that with %s.\n"+
			"Is it the same? yes keeps it in %s: ", node, e.Host, e.Algorithm, e.Fingerprint, e.Compare(), e.KnownHosts), false)
		if err != nil {
			return err
		}
		if answer != "yes" && answer != e.Fingerprint {
			return fmt.Errorf("the host key of %s was not accepted", e.Host)
		}
	}
	if err := e.Remember(); err != nil {
		return err
	}
	if t.learned == nil {
		t.learned = map[string]string{}
	}
	t.learned[e.Host] = e.Fingerprint
	return nil
}

// ask holds everything else back from the terminal until a question is answered.
func (t *trust) ask(question string, hidden bool) (answer string, err error) {
	t.scr.hold(func() { answer, err = t.w.ask(t.run, question, hidden) })
	return answer, err
}

// password is what sudo gets on the nodes; nil where it is neither given nor can
// be asked for.
func (t *trust) password(given *string) *remote.Password {
	switch {
	case given != nil:
		return remote.NewPassword(*given)
	case !t.w.canAsk():
		return nil
	}
	return remote.AskPassword(func(context.Context) (string, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.ask("Password for sudo on the nodes: ", true)
	})
}

// hold keeps the terminal still while something else is on it.
func (s *screen) hold(while func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	while()
}
