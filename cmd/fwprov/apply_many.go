package main

import (
	"context"
	"fmt"
	"io"

	"fwprov/provision"
)

// applied is what is left of a pair's apply.
type applied struct {
	look    *planned // nil if it was planned before
	outcome *outcome // nil if there was nothing to do, or it could not be done
	code    int
	cut     bool // the run has ended before anything was done
	err     error
}

func (r *applied) failed() bool { return r.code != exitOK && !r.cut }

// runMany applies several pairs. Where nobody is asked each pair is planned, changed
// and verified in one go; else all are planned first, and those that differ are
// changed after a yes.
func (a *application) runMany(ctx context.Context) (int, error) {
	f := a.fleet()
	f.locked = a.lockTimeout > 0
	if a.yes || !a.w.inTerm {
		return a.changeMany(ctx, f, f.pairs, nil)
	}
	f.json = false
	out := a.scr.stdout()
	if a.o.json {
		out = a.scr.stderr()
	}
	sum, err := f.plan(ctx, true, out)
	if err != nil {
		return exitError, err
	}
	code := a.interruptedCode()
	if sum.broken > 0 || ctx.Err() != nil {
		code = gravest(code, exitError)
	}
	if ctx.Err() != nil || f.stopped() {
		fmt.Fprintln(a.scr.stderr(), "Nothing was changed.")
		return code, nil
	}
	var pairs []*pair
	var nodes []string
	for _, p := range a.pairs {
		if r := sum.plans[p]; r != nil {
			pairs, nodes = append(pairs, p), append(nodes, r.nodes...)
		}
	}
	if len(pairs) == 0 {
		return code, nil
	}
	if err := a.confirmed(ctx, nodes); err != nil {
		return exitError, err
	}
	a.agreed = true
	then, err := a.changeMany(ctx, f, pairs, sum.plans)
	return gravest(code, then), err
}

// changeMany changes pairs side by side, those in plans by the plan that was shown.
func (a *application) changeMany(ctx context.Context, f *fleet, pairs []*pair, plans map[*pair]*planned) (int, error) {
	var codes []int
	var failed error
	done, changed, broken := 0, 0, 0
	f.begin("done", len(pairs))
	left := sideBySide(ctx, f, pairs, true, func(ctx context.Context, p *pair) *applied {
		defer p.release()
		if r := plans[p]; r != nil {
			plan := r.plan
			r.plan = nil // it is not held longer than it is needed
			return a.change(ctx, f, p, plan)
		}
		return a.planAndChange(ctx, f, p)
	}, func(p *pair, r *applied) {
		f.scr.hide(p.label)
		codes = append(codes, r.code)
		if done++; r.failed() {
			broken++
		} else if r.outcome != nil {
			changed++
		}
		if err := a.tellApplied(f, p, r); err != nil && failed == nil {
			failed = err
		}
	})
	f.scr.clear()
	f.notBegun(ctx, "begun", left)
	if ctx.Err() != nil {
		codes = append(codes, a.interruptedCode(), exitError)
	}
	if failed == nil {
		failed = a.tellAllApplied(left, done, changed, broken)
	}
	return gravest(codes...), failed
}

// planAndChange does all that there is to do on a pair.
func (a *application) planAndChange(ctx context.Context, f *fleet, p *pair) *applied {
	f.enter(p)
	if a.lockTimeout > 0 {
		if err := p.runner.Lock(ctx, a.lockTimeout); err != nil {
			printError(a.scr.stderr(), a.scr.style, labelled(p.label, err))
			return &applied{code: a.code(err)}
		}
	}
	if a.o.json {
		p.runner.Emit = a.jsonEvents(p)
	}
	plan := p.runner.Plan(ctx)
	r := &applied{look: f.planned(ctx, p, plan)}
	switch {
	case r.look.cut:
		r.cut, r.code = true, gravest(exitError, a.interruptedCode())
	case r.look.failed():
		r.code = exitError
	case plan.Changes > 0:
		then := a.change(ctx, f, p, plan)
		then.look = r.look
		return then
	}
	return r
}

// change carries out a pair's plan.
func (a *application) change(ctx context.Context, f *fleet, p *pair, plan *provision.Plan) *applied {
	if !p.place.keep(ctx) {
		return &applied{cut: true, code: gravest(exitError, a.interruptedCode())}
	}
	a.prepare(ctx, p)
	a.listen(p)
	o, err := a.one(ctx, p, plan)
	return &applied{outcome: &o, code: o.code, err: err}
}

// tellApplied says how a pair's apply ended.
func (a *application) tellApplied(f *fleet, p *pair, r *applied) error {
	if r.err != nil {
		return r.err
	}
	if a.o.json {
		if r.look != nil {
			_, _ = io.WriteString(a.scr.stderr(), r.look.errors)
		}
		doc := summaryDocument{Inventory: p.inventory, Event: "summary", NotBegun: r.cut}
		if r.outcome != nil {
			doc.take(*r.outcome)
		} else if r.look != nil {
			doc.Failed = r.look.tally.failed
		}
		return writeJSON(a.scr.stdout(), doc)
	}
	out := a.scr.stdout()
	if r.look != nil && (r.outcome == nil || f.o.verbose) {
		if err := f.tell(out, r.look); err != nil {
			return err
		}
	}
	if r.outcome != nil {
		showSummary(out, a.w.outStyle(), p.label, *r.outcome)
	}
	return nil
}

// tellAllApplied says what the apply of all pairs came to.
func (a *application) tellAllApplied(left []*pair, done, changed, broken int) error {
	out, st := a.scr.stdout(), a.w.outStyle()
	if a.o.json {
		for _, p := range left {
			if err := writeJSON(out, summaryDocument{Inventory: p.inventory, Event: "summary", NotBegun: true}); err != nil {
				return err
			}
		}
		return nil
	}
	text := fmt.Sprintf("%s changed", count(changed, "pair"))
	if same := done - changed - broken; same > 0 {
		text += fmt.Sprintf("; %s as the inventories say", are(same, "pair"))
	}
	if broken > 0 {
		text += st.red(fmt.Sprintf("; %s failed", count(broken, "pair")))
	}
	if len(left) > 0 {
		text += fmt.Sprintf("; %s not begun", count(len(left), "pair"))
	}
	_, err := io.WriteString(out, st.bold(text+".")+"\n")
	return err
}
