package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fwprov/provision/remote"
)

// Summary is how an apply ended.
type Summary struct {
	Changed    int  // changes carried out and kept
	Failed     int  // nodes that could not be brought to their plan
	RolledBack bool // a node went back to what it was
	Seconds    float64
}

// RolledBackError says that a node is as it was before the run.
type RolledBackError struct {
	Node   string
	Cause  error    // why it went back
	Failed []string // what could not be restored
}

func (e *RolledBackError) Error() string {
	s := fmt.Sprintf("node %s went back to what it was: %v", e.Node, e.Cause)
	for i, f := range e.Failed {
		if i == maxFailed {
			return s + fmt.Sprintf("\n  and %d more", len(e.Failed)-i)
		}
		s += fmt.Sprintf("\n  could not be restored: %s (see %s/log on the node)", f, snapshotDir)
	}
	return s
}

// maxFailed is how much of what could not be restored an error names.
const maxFailed = 20

func (e *RolledBackError) Unwrap() error { return e.Cause }

// ErrStale says that a node is no longer what it was when the plan was made.
var ErrStale = errors.New("the node has changed since the plan was made; nothing was changed, run fwprov again")

// Apply carries out a plan that this Runner made, exactly as it is: nodes that
// are not active first, side by side if nobody uses them yet. If one fails, those that come
// after it are left alone. A node that cannot be brought to its plan and
// confirmed over a new connection goes back to what it was. The error joins
// what went wrong: *LockedError, *RolledBackError, ErrStale, or the end of ctx,
// after which the step in hand is still finished. Summary is valid in any case.
func (r *Runner) Apply(ctx context.Context, p *Plan) (Summary, error) {
	start := r.Now()
	sum, err := r.applyPlan(ctx, p)
	sum.Seconds = r.Now().Sub(start).Seconds()
	return sum, err
}

func (r *Runner) applyPlan(ctx context.Context, p *Plan) (Summary, error) {
	var apps []*application
	for _, wave := range p.order() {
		for _, n := range wave {
			if len(n.Changes) > 0 {
				apps = append(apps, newApplication(r, n))
			}
		}
	}
	if len(apps) == 0 {
		return Summary{}, nil
	}
	if err := r.lockFor(ctx, p); err != nil {
		return Summary{}, err
	}
	defer r.Unlock()
	defer func() {
		_ = eachApp(apps, func(a *application) error { a.unstage(ctx); return nil })
	}()
	if err := eachApp(apps, func(a *application) error { return a.prepare(ctx) }); err != nil {
		for _, a := range apps {
			r.emit(Event{Event: NodeFailed, Node: a.n.Name, Error: err.Error()})
		}
		return Summary{Failed: len(apps)}, err
	}
	j, err := r.openJournal(ctx, p.Nodes)
	if err != nil {
		return Summary{Failed: len(apps)}, err
	}
	defer j.close(ctx)
	for _, a := range apps {
		a.journal = j
	}
	sum, err := r.waves(ctx, p, apps)
	if err == nil {
		err = j.complete(ctx, p.Nodes)
	}
	return sum, err
}

// lockFor takes the locks, unless the caller has them from before the plan, and
// makes sure that the plan is still that of the nodes. A lock alone does not: the
// traffic may have moved while somebody was asked.
func (r *Runner) lockFor(ctx context.Context, p *Plan) error {
	taken := len(r.locks) == 0
	if taken {
		if err := r.Lock(ctx, 0); err != nil {
			return err
		}
	}
	facts := make([]Facts, len(r.Nodes))
	err := each(r.Nodes, func(i int, n Node) (err error) {
		if facts[i], err = r.probe(ctx, n, probes(n)); err != nil {
			return err
		}
		return p.Nodes[i].fresh(facts[i], r.wants)
	})
	if err == nil {
		err = r.sameRoles(p, facts)
	}
	if err != nil && taken {
		r.Unlock()
	}
	return err
}

// sameRoles makes sure that the traffic is where it was when the plan was made.
func (r *Runner) sameRoles(p *Plan, facts []Facts) error {
	byName := map[string]Facts{}
	for i, n := range r.Nodes {
		byName[n.Name] = facts[i]
	}
	roles := r.Roles(byName)
	for _, n := range p.Nodes {
		if now := roles[n.Name]; now != n.Role {
			return fmt.Errorf("node %s: it was %s and is %s now: %w", n.Name, n.Role, now, ErrStale)
		}
	}
	return nil
}

// eachApp does something for the nodes side by side.
func eachApp(apps []*application, do func(*application) error) error {
	nodes := make([]Node, len(apps))
	return each(nodes, func(i int, _ Node) error { return do(apps[i]) })
}

// arm lays the snapshot down on the node, from which it can go back by itself.
// A node that has come to hold the traffic since the plan was made is left alone:
// it is not its turn, and nothing was said of what its changes cost.
func (a *application) arm(ctx context.Context) error {
	res, err := a.exec(ctx, "prepare the way back", fileTimeout, a.unlessHolder()+a.guard.armScript(a.r.confirmTimeout()), nil)
	a.armed = err == nil
	if err != nil && res.Code == holder {
		return fmt.Errorf("node %s: it was %s when the plan was made and holds the traffic now; it is left as it is, run fwprov again", a.n.Name, a.n.Role)
	}
	return err
}

// holder is the exit status of a script on a node that holds the traffic and is
// not supposed to.
const holder = 77

// unlessHolder ends a script on such a node.
func (a *application) unlessHolder() string {
	d := a.n.drainer()
	if a.n.Role == Active || d == nil {
		return ""
	}
	return fmt.Sprintf("%sif (\n%s\n) </dev/null >/dev/null 2>&1; then exit %d; fi\n", scriptHead, strings.TrimRight(d.Holds(), "\n"), holder)
}

// confirm looks at the node over a new connection, that it can still be reached
// is what must be proven, and lets it stay as it is now.
func (a *application) confirm(ctx context.Context) error {
	a.r.emit(Event{Event: Confirming, Node: a.n.Name})
	if err := a.reach(context.WithoutCancel(ctx), a.r.confirmTimeout()); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.r.confirmTimeout())
	defer cancel()
	if err := a.look(within); err != nil {
		return err
	}
	return a.disarmSurely(within, "")
}

// disarm lets the node stay as it is now. Then the commands of then are run.
func (a *application) disarm(ctx context.Context, then string) error {
	last := ""
	if !a.recorded {
		last = a.journal.script(a.n)
	}
	_, err := a.exec(ctx, "confirm", a.r.confirmTimeout(), a.guard.disarmScript(last, then), nil)
	if err == nil {
		a.confirmed()
	}
	return err
}

// reach opens a new connection to the node, over which the node gives us the
// whole time-out once more.
func (a *application) reach(ctx context.Context, timeout time.Duration) error {
	within, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not confirmed within %s (--confirm-timeout)", timeout))
	defer cancel()
	for {
		err := a.r.renew(within, a.n.Name)
		if err == nil {
			break
		}
		a.r.Log.Debug("confirm", "node", a.n.Name, "error", err)
		a.r.Sleep(within, time.Second)
		if within.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(within), err)
		}
	}
	_, err := a.exec(within, "ask for time to look", timeout, a.guard.reachedScript(timeout), nil)
	return err
}

// disarmSurely is disarm with a second and a third try over new connections: what
// must not happen is that a node keeps a change of which its operator is told that
// it was taken back, or that two nodes end up with different settings, because of
// a connection that was cut.
func (a *application) disarmSurely(ctx context.Context, then string) error {
	err := a.disarm(ctx, then)
	for n := 0; err != nil && n < 2 && ctx.Err() == nil; n++ {
		if a.r.renew(ctx, a.n.Name) != nil {
			a.r.Sleep(ctx, time.Second)
			continue
		}
		if f, asked := a.ask(ctx, fileTimeout, stateScript); asked == nil && f.confirmed {
			a.confirmed() // the answer was lost, not the command
			return nil
		}
		err = a.disarm(ctx, then)
	}
	return err
}

// confirmed notes that the node stays as it is.
func (a *application) confirmed() {
	a.armed, a.kept = false, true
	a.journal.written(a.n.Name)
}

// ask runs a script that ends with stateScript.
func (a *application) ask(ctx context.Context, timeout time.Duration, script string) (fate, error) {
	res, err := a.r.exec(context.WithoutCancel(ctx), a.n.Name, "ask what became of it", timeout, remote.Command{Script: script, MaxOutput: maxResult})
	return fateOf(a.r.ID, string(res.Stdout)), err
}

// While a node says that it is going back it is waited for: a stop of a daemon may
// take its minute and a half, and there may be many interfaces.
const (
	backGrace  = 30 * time.Second // after the time-out, for one that does not answer
	backWithin = 10 * time.Minute
)

// back lets the node go back, or waits until it has done so by itself.
func (a *application) back(ctx context.Context, cause error) error {
	ctx = context.WithoutCancel(ctx)
	a.r.emit(Event{Event: GoingBack, Node: a.n.Name, Error: cause.Error()})
	last := a.r.Now().Add(a.r.confirmTimeout() + backWithin)
	deadline := a.r.Now().Add(a.r.confirmTimeout() + backGrace)
	f, err := a.ask(ctx, time.Minute, a.guard.backScript())
	for {
		switch {
		case err != nil:
		case f.wentBack:
			for i := range f.failed {
				f.failed[i] = a.r.clean(f.failed[i])
			}
			a.r.emit(Event{Event: RolledBack, Node: a.n.Name, Error: fmt.Sprint(f.failed)})
			return &RolledBackError{Node: a.n.Name, Cause: cause, Failed: f.failed}
		case f.confirmed:
			a.confirmed()
			return fmt.Errorf("node %s was confirmed all the same, and keeps the change: %w", a.n.Name, cause)
		case !f.pending:
			return fmt.Errorf("node %s does not say what became of it (was it rebooted?); fwprov plan tells what is left to do: %w", a.n.Name, cause)
		default:
			deadline = a.r.Now().Add(backGrace)
		}
		if now := a.r.Now(); !now.Before(deadline) || !now.Before(last) {
			if err == nil {
				return fmt.Errorf("node %s is still going back to what it was (see %s/rollback.log on the node): %w", a.n.Name, RunDir, cause)
			}
			return fmt.Errorf("node %s cannot be asked what became of it; it goes back by itself within %s unless it was confirmed: %w", a.n.Name, a.r.confirmTimeout(), cause)
		}
		a.r.Sleep(ctx, time.Second)
		again, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err = a.r.renew(again, a.n.Name); err == nil {
			f, err = a.ask(again, 5*time.Second, stateScript)
		}
		cancel()
	}
}
