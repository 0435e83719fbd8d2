package remote

import (
	"context"
	"fmt"
	"sync"
)

// JumpHosts bounds how many connections of a run log in to a jump host at once: sshd
// refuses at random what goes beyond 10 (MaxStartups). The zero value is ready, and
// nil bounds nothing. It is safe for concurrent use.
type JumpHosts struct {
	mu     sync.Mutex
	places map[string]chan struct{} // by address
}

const maxLogins = 8 // others may log in there, too

// enter waits until one more may log in on the way that begins with hops[0]; what it
// returns, which may be called again, lets the next in. Without a jump host nothing
// is waited for.
func (j *JumpHosts) enter(ctx context.Context, hops []hop) (leave func(), err error) {
	if j == nil || len(hops) < 2 {
		return func() {}, nil
	}
	addr := hops[0].addr()
	j.mu.Lock()
	places := j.places[addr]
	if places == nil {
		places = make(chan struct{}, maxLogins)
		if j.places == nil {
			j.places = map[string]chan struct{}{}
		}
		j.places[addr] = places
	}
	j.mu.Unlock()
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("jump host %s: gave up waiting for others that log in there: %w", hops[0].host, context.Cause(ctx))
	}
}
