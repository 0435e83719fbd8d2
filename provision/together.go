package provision

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// together changes two nodes in what they have to agree on. The standby is held:
// it has the new settings and is kept from taking over, since it would not hear
// the active node any more. Then the active node gets them, in place. Until the
// active node is confirmed both can go back, and if they do the active node goes first, the
// standby being held until it has gone back too. What is done here costs the pair
// its redundancy for as long as it takes, and nothing else, unless the change
// itself is disruptive.
func (r *Runner) together(ctx context.Context, standby, active *application) {
	start := r.Now()
	both := []*application{standby, active}
	rest := map[*application][]batch{}
	for _, a := range both {
		if rest[a], a.err = a.begin(ctx); a.err != nil {
			r.emit(Event{Event: NodeFailed, Node: a.n.Name, Error: a.err.Error()})
			for _, other := range both {
				if other != a {
					other.skip("left as it is")
				}
			}
			return
		}
	}
	err := r.jointly(ctx, standby, active, rest)
	if err == nil {
		err = r.inReserve(ctx, standby, active)
	}
	for _, a := range []*application{active, standby} {
		switch {
		case a.kept && (a == active || err == nil):
			r.emit(Event{Event: NodeDone, Node: a.n.Name, Count: a.done, Seconds: r.Now().Sub(start).Seconds()})
			continue
		case !a.armed && a.done == 0:
			a.skip("left as it is")
			continue
		case a == standby && a.armed:
			a.err = a.back(ctx, r.letGo(ctx, standby, active, err))
		case a.armed:
			a.err = a.back(ctx, err)
		default:
			a.err = err
		}
		r.emit(Event{Event: NodeFailed, Node: a.n.Name, Error: a.err.Error()})
	}
	if standby.err == nil && active.err == nil {
		standby.err = err
	}
}

// letGo lets a standby that is about to go back take over again, if the active node
// is as it was too. If it is not, or may not be, the standby must not: the two
// would not hear each other. It returns the cause of going back, and what comes of
// it.
func (r *Runner) letGo(ctx context.Context, standby, active *application, cause error) error {
	if !standby.held {
		return cause
	}
	var back *RolledBackError
	if errors.As(active.err, &back) {
		err := standby.guardedRun(ctx, "let go", standby.n.drainer().Release())
		if err == nil {
			return cause
		}
		cause = errors.Join(cause, err)
	}
	return fmt.Errorf("%w\n  node %s is kept drained, also when it is rebooted, until fwprov undrain takes it back: first make sure by fwprov apply that it has the settings of %s, or both would hold the VIPs",
		cause, standby.n.Name, active.n.Name)
}

func (r *Runner) jointly(ctx context.Context, standby, active *application, rest map[*application][]batch) error {
	d := standby.n.drainer()
	if d == nil {
		return fmt.Errorf("node %s: no step can keep it from taking over", standby.n.Name)
	}
	if err := standby.arm(ctx); err != nil {
		return err
	}
	r.emit(Event{Event: Draining, Node: standby.n.Name, Message: "kept from taking over until both nodes are changed"})
	if err := standby.guardedRun(ctx, "hold", d.Drain(false, r.Operator)); err != nil {
		return err
	}
	if err := standby.change(ctx, rest[standby], nil); err != nil {
		return err
	}
	if err := standby.prove(ctx, d.Suspended()); err != nil {
		return err
	}
	held := Node{Name: standby.n.Name, Steps: standby.n.steps}
	if err := r.awaitReady(ctx, held, active.n.Name, true, standby); err != nil && !r.Force {
		return err
	}
	// The standby waits longer for its confirmation than the active node does, which
	// is reached within its time-out and then has all of it once more.
	var one sync.Mutex
	longer := func() error {
		one.Lock()
		defer one.Unlock()
		return standby.give(ctx, r.confirmTimeout()+heldLonger)
	}
	if err := longer(); err != nil {
		return err
	}
	if err := active.arm(ctx); err != nil {
		return err
	}
	if err := outlasting(func() error { return active.change(ctx, rest[active], longer) }, heldLonger/3, longer); err != nil {
		return err
	}
	if err := standby.give(ctx, 2*r.confirmTimeout()+heldLonger); err != nil {
		return err
	}
	if err := active.prove(ctx, nil); err != nil {
		return err
	}
	if err := longer(); err != nil {
		return err
	}
	return r.release(ctx, standby, active)
}

// heldLonger is how much longer a held node waits than its peer: the peer's
// going back has to be over by then.
const heldLonger = 5 * time.Second

// release confirms both nodes, the active one first. What can fail is done while
// both can still go back. From the moment in which one of them may have been
// confirmed the standby is held whatever happens, until it is confirmed too: its
// old settings may no longer be those of its peer.
func (r *Runner) release(ctx context.Context, standby, active *application) error {
	d := standby.n.drainer()
	standby.held = true
	err := eachApp([]*application{standby, active}, func(a *application) error {
		prepare := a.journal.script(a.n)
		if a == standby {
			prepare += d.Hold(r.Operator+" that came to no end") + "sync\n"
		}
		err := a.guardedRun(ctx, "prepare to confirm", ":\n"+prepare)
		a.recorded = err == nil
		return err
	})
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for _, a := range []*application{active, standby} {
		then := ""
		if a == standby {
			then = d.Release() + d.Undrain(false)
		}
		within, cancel := context.WithTimeout(ctx, r.confirmTimeout())
		err := a.disarmSurely(within, then)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// inReserve waits until the standby could take over, when both nodes are changed and
// confirmed. It does not matter to that whether the run is ended meanwhile.
func (r *Runner) inReserve(ctx context.Context, standby, active *application) error {
	n := Node{Name: standby.n.Name, Steps: standby.n.steps}
	err := r.awaitReady(ctx, n, active.n.Name, false)
	var not *NotReadyError
	switch {
	case err == nil || r.Force || ctx.Err() != nil:
	case errors.As(err, &not):
		return fmt.Errorf("node %s is changed and confirmed, and so is %s, but it could not take over within %s:%s",
			n.Name, active.n.Name, not.Within, not.Reasons())
	default:
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.confirmTimeout())
	defer cancel()
	return standby.look(within)
}

// prove looks at the node over a new connection. Facts in except need not be as
// planned yet.
func (a *application) prove(ctx context.Context, except []string) error {
	a.r.emit(Event{Event: Confirming, Node: a.n.Name})
	ctx = context.WithoutCancel(ctx)
	if err := a.reach(ctx, a.r.confirmTimeout()); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, a.r.confirmTimeout())
	defer cancel()
	return a.look(within, except...)
}
