package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// waves changes the nodes in their order and stops at the first failure. Before
// a node that holds the traffic is touched, somebody has to be there who could
// take over.
func (r *Runner) waves(ctx context.Context, p *Plan, apps []*application) (Summary, error) {
	if err := r.halfOfAnAgreement(apps); err != nil {
		return Summary{Failed: len(apps)}, err
	}
	stages := r.stages(p, apps)
	failed := false
	for _, now := range stages {
		if failed || ctx.Err() != nil {
			for _, a := range now {
				a.skip("left as it is")
			}
			continue
		}
		if len(now) == 2 && agrees(now[0], now[1]) {
			r.together(ctx, now[0], now[1])
		} else {
			_ = eachApp(now, func(a *application) error { a.run(ctx); return nil })
		}
		failed = slices.ContainsFunc(now, func(a *application) bool { return a.err != nil })
	}
	return summarise(ctx, apps)
}

// stages are the applications in the order of the nodes; those in one stage are
// carried out side by side, or together.
func (r *Runner) stages(p *Plan, apps []*application) [][]*application {
	var out [][]*application
	for _, wave := range p.order() {
		now := slices.DeleteFunc(slices.Clone(apps), func(a *application) bool { return !slices.Contains(wave, a.n) })
		if len(now) > 0 {
			out = append(out, now)
		}
	}
	if len(out) == 2 && len(out[0]) == 1 && len(out[1]) == 1 && agrees(out[0][0], out[1][0]) {
		return [][]*application{{out[0][0], out[1][0]}}
	}
	return out
}

// agrees reports whether the second node, which holds the traffic, changes what
// it has to agree on with the first, and the first comes to the same.
func agrees(first, active *application) bool {
	return active.n.Role == Active && slices.ContainsFunc(active.n.Changes, func(c Change) bool {
		return c.Together != "" && slices.ContainsFunc(first.n.Changes, func(o Change) bool { return o.Step == c.Step && o.Target == c.Target })
	})
}

// halfOfAnAgreement refuses to change on some nodes only what all of them have
// to agree on.
func (r *Runner) halfOfAnAgreement(apps []*application) error {
	if len(r.Others) == 0 || r.Force {
		return nil
	}
	for _, a := range apps {
		for _, c := range a.n.Changes {
			if c.Together != "" {
				return fmt.Errorf("node %s: all nodes have to agree on what would change (%s), and --limit leaves %s out; nothing was changed: run it without --limit, or with --force if that node is gone",
					a.n.Name, c.Together, r.Others[0].Name)
			}
		}
	}
	return nil
}

// skip leaves a node as it is.
func (a *application) skip(why string) {
	a.skipped = true
	a.r.emit(Event{Event: NodeSkipped, Node: a.n.Name, Message: why})
}

func summarise(ctx context.Context, apps []*application) (Summary, error) {
	var sum Summary
	var errs []error
	for _, a := range apps {
		var back *RolledBackError
		switch {
		case a.skipped && a.err == nil:
			continue
		case a.err == nil:
			sum.Changed += a.done
			continue
		case errors.As(a.err, &back):
			sum.RolledBack = true
			a.done = 0
		}
		sum.Changed += a.done
		sum.Failed++
		errs = append(errs, a.err)
	}
	if len(errs) == 0 && ctx.Err() != nil {
		errs = append(errs, context.Cause(ctx))
	}
	return sum, errors.Join(errs...)
}

// run brings one node to its plan, and looks again over a new connection.
func (a *application) run(ctx context.Context) {
	start := a.r.Now()
	ready, err := a.r.mayTouch(ctx, a.n)
	if err != nil {
		a.err = err
		a.skip("left as it is")
		return
	}
	a.drains = ready && a.n.Drains()
	if a.err = a.carryOut(ctx); a.err != nil {
		a.r.emit(Event{Event: NodeFailed, Node: a.n.Name, Error: a.err.Error()})
		return
	}
	a.r.emit(Event{Event: NodeDone, Node: a.n.Name, Count: a.done, Seconds: a.r.Now().Sub(start).Seconds()})
}

func (a *application) carryOut(ctx context.Context) error {
	rest, err := a.begin(ctx)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		if err := a.look(ctx); err != nil {
			return err
		}
		return a.journal.write(ctx, a.n)
	}
	if err := a.arm(ctx); err != nil {
		return err
	}
	if a.drains {
		err = a.drain(ctx)
	}
	if err == nil {
		err = a.change(ctx, rest, nil)
	}
	if err == nil && a.drains {
		err = a.undrain(ctx)
	}
	if err == nil {
		err = a.confirm(ctx)
	}
	if err != nil {
		return a.back(ctx, err)
	}
	return nil
}

// begin does what harms nothing: packages, and the check of the new files. It
// returns the changes that need the guard. A run that has ended by then has
// nothing to go back from.
func (a *application) begin(ctx context.Context) ([]batch, error) {
	rest := a.n.batches()
	for len(rest) > 0 && rest[0].prepares() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := a.apply(ctx, rest[0]); err != nil {
			return nil, err
		}
		rest = rest[1:]
	}
	err := a.validate(ctx)
	if err == nil && len(rest) > 0 {
		err = context.Cause(ctx)
	}
	return rest, err
}

// change carries out batches, and before each of them what first does.
func (a *application) change(ctx context.Context, batches []batch, first func() error) error {
	for _, b := range batches {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if first != nil {
			if err := first(); err != nil {
				return err
			}
		}
		if err := a.apply(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
