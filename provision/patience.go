package provision

import (
	"context"
	"sync"
	"time"
)

// patience returns a function that gives the nodes, whose changes are not
// confirmed, the whole time-out once more, as often as that is needed. It is
// called while something is waited for: a wait is no reason to go back.
func (r *Runner) patience(armed []*application) func(context.Context) error {
	next := r.Now()
	return func(ctx context.Context) error {
		if r.Now().Before(next) {
			return nil
		}
		next = r.Now().Add(r.confirmTimeout() / 3)
		return eachApp(armed, func(a *application) error { return a.give(ctx, r.confirmTimeout()) })
	}
}

// give lets a node whose changes are not confirmed wait so long from now on.
func (a *application) give(ctx context.Context, d time.Duration) error {
	_, err := a.exec(ctx, "ask for more time", a.r.confirmTimeout(), a.guard.reachedScript(d), nil)
	return err
}

// outlasting does work that may take long, and lets a node wait longer than its
// peer, whose deadline the work moves, whenever this ends. It is told every beat.
func outlasting(work func() error, beat time.Duration, longer func() error) error {
	done := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				_ = longer() // what it means shows at the next step
			}
		}
	})
	err := work()
	close(done)
	told.Wait()
	return err
}
