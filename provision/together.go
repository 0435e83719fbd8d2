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
// the active node any more. Then the active node gets them, in place. Until both
// are confirmed both can go back, and if they do the active node goes first, the
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
		for _, a := range both {
			r.emit(Event{Event: NodeDone, Node: a.n.Name, Count: a.done, Seconds: r.Now().Sub(start).Seconds()})
		}
		return
	}
	for _, a := range []*application{active, standby} {
		if !a.armed && a.done == 0 {
			a.skip("left as it is")
			continue
		}
		if a.err = err; a.armed {
			a.err = a.back(ctx, err)
		}
		r.emit(Event{Event: NodeFailed, Node: a.n.Name, Error: a.err.Error()})
	}
	if standby.err == nil && active.err == nil {
		standby.err = err
	}
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
	if err := r.awaitReady(ctx, held, active.n.Name, true); err != nil && !r.Force {
		return err
	}
	// The standby waits longer for its confirmation than the active node does.
	longer := func() error {
		_, err := standby.exec(ctx, "ask for more time", r.confirmTimeout(), standby.guard.reachedScript(r.confirmTimeout()+heldLonger), nil)
		return err
	}
	if err := longer(); err != nil {
		return err
	}
	if err := active.arm(ctx); err != nil {
		return err
	}
	if err := active.change(ctx, rest[active], longer); err != nil {
		return err
	}
	if err := longer(); err != nil {
		return err
	}
	if err := active.prove(ctx, nil); err != nil {
		return err
	}
	return r.release(ctx, standby, active)
}

// heldLonger is how much longer a held node waits than its peer: the peer's
// going back has to be over by then.
const heldLonger = 5 * time.Second

// release confirms both nodes in the same moment, and the standby is held no
// longer. From then on there is no way back.
func (r *Runner) release(ctx context.Context, standby, active *application) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.confirmTimeout())
	defer cancel()
	let := "(\nset -eu\n" + standby.n.drainer().Undrain(false) + "\n) </dev/null >&2 || exit 1\n"
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = standby.disarmSurely(within, let) })
	wg.Go(func() { errs[1] = active.disarmSurely(within, "") })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	n := Node{Name: standby.n.Name, Steps: standby.n.steps}
	if err := r.awaitReady(ctx, n, active.n.Name, false); err != nil && !r.Force {
		return err
	}
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
