package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/provision"
)

func applyCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make the nodes what the inventory says",
		ArgsUsage: "FILE... or P",
		Description: "On a terminal it shows the plan and asks first; with --yes, or without a terminal, it does not ask.\n" +
			"P is a plan that fwprov plan --out P has saved, and was agreed to by that: it is not asked for again, and\n" +
			"refused if the inventory's meaning, the nodes or this program are not what they were.\n" +
			"A node that cannot be confirmed over a new connection goes back to what it was, by itself if need be.\n" +
			"Afterwards the pair is verified. Several inventories are several pairs, changed side by side, each in its\n" +
			"own order; one that fails does not stop the others. --parallel 1 --max-failures 1 goes through them carefully.",
		Flags: slices.Concat([]cli.Flag{jsonFlag(), parallelFlag(), maxFailuresFlag()}, applyFlags(), variableFlags(), nodeFlags(), stepFlags()),
		Action: func(c *cli.Context) error {
			if err := checkApplyFlags(c); err != nil {
				return err
			}
			saved, err := savedArgument(c)
			if err != nil {
				return err
			}
			var s *session
			if saved != nil {
				s, err = saved.begin(c.Context, w, c)
			} else {
				s, err = begin(c.Context, w, c)
			}
			if err != nil {
				return err
			}
			defer s.end()
			a := newApplication(c, s)
			a.saved = saved
			return a.execute(c.Context)
		},
	}
}

// applyFlags are those of commands that change nodes.
func applyFlags() []cli.Flag {
	return []cli.Flag{
		boolFlag("yes", "do not ask"),
		boolFlag("force", "change the node that holds the VIPs even if its peer could not take over, or is left out by --limit"),
		&cli.DurationFlag{Name: "confirm-timeout", Value: provision.DefaultConfirmTimeout, Usage: "how long a node waits to be confirmed before it goes back: a `DURATION` of at least 5s"},
		lockFlag(),
	}
}

func checkApplyFlags(c *cli.Context) error {
	if d := c.Duration("confirm-timeout"); d < 5*time.Second {
		return fmt.Errorf("--confirm-timeout %s: a node needs at least 5s to be reached again", d)
	}
	return checkLockTimeout(c)
}

func lockFlag() cli.Flag {
	return &cli.DurationFlag{Name: "lock-timeout", Usage: "wait this `DURATION` for a node that somebody else applies to", DefaultText: "fail at once"}
}

func checkLockTimeout(c *cli.Context) error {
	if d := c.Duration("lock-timeout"); d < 0 {
		return fmt.Errorf("--lock-timeout %s: a duration above zero, such as 1m", d)
	}
	return nil
}

// application is one run of apply.
type application struct {
	*session
	interrupted <-chan struct{}
	yes         bool
	lockTimeout time.Duration
	prepare     func(context.Context, *pair) // sets what a pair's runner needs to apply
	saved       *savedPlan                   // what has to be carried out; nil: whatever is planned
	agreed      bool                         // somebody has seen the plans and wants them

	mu       sync.Mutex
	changing []*changing // pairs that are being changed
}

// changing is a pair that is being changed, for those who interrupt that.
type changing struct {
	nodes   []string
	timeout time.Duration // after which they go back
}

func newApplication(c *cli.Context, s *session) *application {
	a := &application{session: s, interrupted: c.Context.Done(), yes: c.Bool("yes"), lockTimeout: c.Duration("lock-timeout")}
	a.prepare = func(ctx context.Context, p *pair) {
		p.runner.ConfirmTimeout = c.Duration("confirm-timeout")
		p.runner.Record = s.record(ctx, p)
		p.runner.Force = c.Bool("force")
	}
	if len(s.pairs) == 1 {
		a.prepare(c.Context, s.pairs[0])
	}
	return a
}

// execute is run with the deadline of the session, and its exit code as an error.
func (a *application) execute(ctx context.Context) error {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	run := a.run
	if len(a.pairs) > 1 {
		run = a.runMany
	}
	code, err := run(ctx)
	if err != nil {
		return err
	}
	return exitWith(code)
}

// listen follows the events of a pair, besides showing them.
func (a *application) listen(p *pair) {
	show := p.runner.Emit
	if a.o.json {
		show = a.jsonEvents(p)
	}
	p.done = map[string]bool{}
	p.runner.Emit = func(e provision.Event) {
		if e.Event == provision.NodeDone {
			p.done[e.Node] = true
		}
		show(e)
	}
}

// run applies the session's only pair.
func (a *application) run(ctx context.Context) (int, error) {
	for _, p := range a.pairs {
		a.listen(p)
	}
	if a.lockTimeout > 0 {
		// Who waits for another plans when it is his turn. Otherwise Apply takes the
		// locks, so that a run that changes nothing needs none.
		for _, p := range a.pairs {
			if err := p.runner.Lock(ctx, a.lockTimeout); err != nil {
				printError(a.scr.stderr(), a.scr.style, labelled(p.label, err))
				return a.code(err), a.summarise(nil, nil)
			}
		}
	}
	plans := a.plan(ctx)
	changes := 0
	for _, p := range plans {
		changes += p.Changes
	}
	if a.saved != nil && plans[0].Err() == nil {
		if err := a.saved.compare(ctx, a.pairs[0], plans[0]); err != nil {
			printError(a.scr.stderr(), a.scr.style, reason(ctx, err))
			fmt.Fprintf(a.scr.stderr(), "Nothing was changed. Make the plan again: fwprov plan %s --out %s\n", a.saved.body.Inventory, a.saved.file)
			return gravest(exitError, a.interruptedCode()), a.summarise(nil, nil)
		}
		a.agreed = true
	}
	asking := changes > 0 && !a.yes && a.w.inTerm && a.saved == nil
	a.show(plans, asking)
	if code := a.planFailures(plans); code != exitOK {
		a.alone(plans)
		fmt.Fprintln(a.scr.stderr(), "Nothing was changed.")
		return gravest(code, a.interruptedCode()), a.summarise(plans, nil)
	}
	if asking {
		if err := a.confirm(ctx, plans); err != nil {
			return exitError, err
		}
		a.agreed = true
	}
	return a.carryOut(ctx, plans)
}

// show prints the plan: with its diffs where somebody decides on it.
func (a *application) show(plans []*provision.Plan, asking bool) {
	out, st := a.scr.stdout(), a.w.outStyle()
	if a.o.json {
		if !asking {
			return
		}
		out, st = a.scr.stderr(), a.scr.style
	}
	view := planView{out: out, style: st, brief: a.o.quiet || !asking}
	for i, p := range plans {
		if asking || !a.o.quiet {
			view.plan(a.pairs[i].label, p)
		} else {
			view.told(p)
		}
	}
	view.total(plans)
}

// confirm asks whether the plan is wanted. The error is nil if it is.
func (a *application) confirm(ctx context.Context, plans []*provision.Plan) error {
	var names []string
	for i, p := range plans {
		for _, n := range p.Nodes {
			if len(n.Changes) > 0 {
				names = append(names, nodeName(a.pairs[i].label, n.Name))
			}
		}
	}
	return a.confirmed(ctx, names)
}

// confirmed asks about the changes on nodes that were shown.
func (a *application) confirmed(ctx context.Context, names []string) error {
	if !a.w.canAsk() {
		return errors.New("standard input is a terminal, but there is none to ask on: give --yes to apply without a question")
	}
	answer, err := a.w.ask(ctx, fmt.Sprintf("\nMake these changes on %s? Only yes is taken as one: ", some(names)), false)
	if err != nil {
		return err
	}
	if answer != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// outcome is how one pair's apply ended.
type outcome struct {
	summary provision.Summary
	left    []string        // nodes that are not as planned
	state   provision.State // "" if it was not verified
	code    int
}

// carryOut applies and verifies the pair.
func (a *application) carryOut(ctx context.Context, plans []*provision.Plan) (int, error) {
	outcomes := make([]*outcome, len(plans))
	var codes []int
	for i, p := range a.pairs {
		if plans[i].Changes == 0 {
			continue
		}
		o, err := a.one(ctx, p, plans[i])
		if err != nil {
			return exitError, err
		}
		outcomes[i] = &o
		codes = append(codes, o.code)
	}
	return gravest(codes...), a.summarise(plans, outcomes)
}

func (a *application) one(ctx context.Context, p *pair, plan *provision.Plan) (outcome, error) {
	defer a.watch(p, plan)()
	sum, err := p.runner.Apply(ctx, plan)
	if errors.Is(err, provision.ErrStale) && !a.agreed {
		plan, sum, err = a.again(ctx, p)
	}
	o := outcome{summary: sum, left: a.left(p, plan)}
	if !a.o.json && p.place == nil {
		showSummary(a.scr.stdout(), a.w.outStyle(), p.label, o)
	}
	if err != nil {
		printError(a.scr.stderr(), a.scr.style, labelled(p.label, err))
		o.code = a.code(err)
		return o, nil
	}
	if p.limited() {
		fmt.Fprintf(a.scr.stderr(), "The pair was not verified, because of --limit: fwprov verify %s does it.\n", p.file)
		return o, nil
	}
	h, err := p.runner.Verify(ctx)
	if err != nil {
		printError(a.scr.stderr(), a.scr.style, fmt.Errorf("verify %s: %w", p.Name, reason(ctx, err)))
		o.code = gravest(exitError, a.interruptedCode())
		return o, nil
	}
	o.state = h.State
	if h.State != provision.Healthy {
		o.code = exitUnhealthy
	}
	return o, a.showHealth(p, h)
}

// again plans and applies a pair that somebody else has changed since it was
// planned, holding the locks. That is for runs where nobody has agreed to a plan.
func (a *application) again(ctx context.Context, p *pair) (*provision.Plan, provision.Summary, error) {
	fmt.Fprintf(a.scr.stderr(), "%s: it is not any more what the plan was made for; planning again\n", pairName(p.label))
	err := p.runner.Lock(ctx, 0)
	if err != nil {
		return &provision.Plan{}, provision.Summary{}, err
	}
	plan := p.runner.Plan(ctx)
	if !a.o.json {
		view := planView{out: a.scr.stdout(), style: a.w.outStyle(), brief: true}
		view.plan(p.label, plan)
		view.total([]*provision.Plan{plan})
	}
	if err := plan.Err(); err != nil {
		return plan, provision.Summary{Failed: unplanned(plan)}, err
	}
	sum, err := p.runner.Apply(ctx, plan)
	return plan, sum, err
}

func (a *application) showHealth(p *pair, h provision.Health) error {
	if p.place == nil {
		a.scr.clear()
	}
	if !a.o.json {
		if p.place == nil || h.State != provision.Healthy {
			healthView{out: a.scr.stdout(), style: a.w.outStyle(), brief: true}.health(p.label, h)
		}
		return nil
	}
	for _, c := range h.Checks {
		e := provision.Event{Time: a.w.now(), Event: provision.Checked, Node: c.Node, Target: c.Name, Message: c.Detail}
		if !c.OK {
			e.Error = c.Detail
		}
		if err := writeJSON(a.scr.stdout(), eventDocument{p.inventory, e}); err != nil {
			return err
		}
	}
	return nil
}

// watch tells who interrupts the apply of a pair what becomes of it, and lets it go
// on when its output is cut off. What it returns ends that.
func (a *application) watch(p *pair, plan *provision.Plan) (end func()) {
	if a.w.outlive != nil {
		a.w.outlive()
	}
	c := &changing{timeout: p.runner.ConfirmTimeout}
	for _, n := range plan.Nodes {
		if len(n.Changes) > 0 {
			c.nodes = append(c.nodes, nodeName(p.label, n.Name))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changing = append(a.changing, c)
	a.w.farewell.set(func() {
		fmt.Fprintln(a.scr.stderr(), "interrupted: the step in hand is finished, then the node is confirmed or goes back; once more drops the connection")
	}, a.dropped)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.changing = slices.DeleteFunc(a.changing, func(o *changing) bool { return o == c })
		if len(a.changing) == 0 {
			a.w.farewell.set(nil, nil)
		}
	}
}

// dropped says what becomes of the nodes when the connections are dropped.
func (a *application) dropped() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var nodes []string
	var timeout time.Duration
	for _, c := range a.changing {
		nodes = append(nodes, c.nodes...)
		timeout = max(timeout, c.timeout)
	}
	a.scr.clear()
	fmt.Fprintf(a.scr.stderr(), "The connection was dropped. Of %s, a node that was being changed goes back to what it was by itself within %s.\n", some(nodes), timeout)
}

// jsonEvents prints every event as a line of JSON.
func (a *application) jsonEvents(p *pair) func(provision.Event) {
	return func(e provision.Event) {
		e.Seconds = tenths(e.Seconds)
		_ = writeJSON(a.scr.stdout(), eventDocument{p.inventory, e})
	}
}

// reason is why ctx ended, if that is what err is about.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}
