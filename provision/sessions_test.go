package provision

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"fwprov/provision/remote"
)

// narrow is a connection of a server that lets it have one session, and keeps that
// of an upload open, as SFTP does.
type narrow struct {
	*machine
	one sync.Mutex
}

func (n *narrow) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	if !n.one.TryLock() {
		return remote.Result{}, fmt.Errorf("refused: %w", remote.ErrNoSession)
	}
	defer n.one.Unlock()
	return n.machine.Exec(ctx, cmd)
}

func (n *narrow) Upload(ctx context.Context, files []remote.File) error {
	if !n.one.TryLock() {
		return fmt.Errorf("refused: %w", remote.ErrNoSession)
	}
	return n.machine.Upload(ctx, files)
}

// TestOneSession: the lock, the upload and the commands of an apply each have a
// connection of their own where the server gives one no more than a session.
func TestOneSession(t *testing.T) {
	m := guardMachine(t)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	dial := r.Dial
	r.Dial = func(ctx context.Context, node string, fresh bool) (Conn, error) {
		if _, err := dial(ctx, node, fresh); err != nil {
			return nil, err
		}
		return &narrow{machine: m}, nil
	}
	defer r.Close()
	sum, err := r.Apply(context.Background(), r.Plan(context.Background()))
	if err != nil || sum.Changed != 5 {
		t.Errorf("%+v, %v", sum, err)
	}
	if m.dials != 4 {
		t.Errorf("%d connections, want one for the lock, one for the files, one for the commands, and the one that confirms", m.dials)
	}
}
