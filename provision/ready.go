package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReadyChecker is a step that knows whether a node could take the traffic over.
type ReadyChecker interface {
	Step
	// ReadyProbe is like Probe, joined into one command of its own.
	ReadyProbe() Probe
	// Ready judges, from the facts of all nodes by name, whether the named node
	// would serve if the others stopped now. Facts are nil of a node that could
	// not be reached. A node that is held is kept from taking over on purpose;
	// that alone does not count against it.
	Ready(node string, nodes map[string]Facts, held bool) []Check
	// ReadyWithin is how long it may take after a change until Ready is content.
	ReadyWithin() time.Duration
}

// NotReadyError says that a node holds the traffic alone, and was left as it is.
type NotReadyError struct {
	Node   string  // that node
	Peer   string  // the one that could not take over
	Failed []Check // what was looked at and is not as it has to be
	Within time.Duration
}

func (e *NotReadyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %s is left as it is, because %s could not take over from it", e.Node, e.Peer)
	if e.Within > 0 {
		fmt.Fprintf(&b, " within %s", e.Within)
	}
	b.WriteString(":" + e.Reasons())
	return b.String()
}

// Reasons are what was looked at and is not as it has to be, a line each.
func (e *NotReadyError) Reasons() string {
	var b strings.Builder
	for _, c := range e.Failed {
		fmt.Fprintf(&b, "\n  %s: %s", c.Name, c.Detail)
		if c.Hint != "" {
			b.WriteString(" (" + c.Hint + ")")
		}
	}
	return b.String()
}

// all are the nodes of the pair, those that this run does not change too.
func (r *Runner) all() []Node { return append(slices.Clone(r.Nodes), r.Others...) }

// readiness looks at all nodes once, with the probes of their ReadyCheckers.
func (r *Runner) readiness(ctx context.Context) (map[string]Facts, map[string]error) {
	nodes := r.all()
	facts, errs := make([]Facts, len(nodes)), make([]error, len(nodes))
	_ = each(nodes, func(i int, n Node) error {
		var ps []namedProbe
		for _, s := range n.Steps {
			if c, ok := s.(ReadyChecker); ok {
				ps = append(ps, namedProbe{s.Name(), c.ReadyProbe()})
			}
		}
		facts[i], errs[i] = r.probe(ctx, n, ps)
		return nil
	})
	byName, failed := map[string]Facts{}, map[string]error{}
	for i, n := range nodes {
		byName[n.Name] = facts[i]
		if errs[i] != nil {
			failed[n.Name] = errs[i]
		}
	}
	return byName, failed
}

// judge returns what keeps a node from taking over, nothing if it is ready.
func (r *Runner) judge(n Node, facts map[string]Facts, errs map[string]error, held bool) []Check {
	if err := errs[n.Name]; err != nil {
		return r.tellChecks([]Check{{Name: "reach", Node: n.Name, Detail: err.Error(), Lasts: true}})
	}
	var failed []Check
	for _, s := range n.Steps {
		if c, ok := s.(ReadyChecker); ok {
			failed = append(failed, slices.DeleteFunc(c.Ready(n.Name, facts, held), func(c Check) bool { return c.OK })...)
		}
	}
	return r.tellChecks(failed)
}

// readyWithin is the longest time that one of the steps gives its node.
func readyWithin(n Node) time.Duration {
	var d time.Duration
	for _, s := range n.Steps {
		if c, ok := s.(ReadyChecker); ok {
			d = max(d, c.ReadyWithin())
		}
	}
	return d
}

// awaitReady waits until a node could take over from active.
func (r *Runner) awaitReady(ctx context.Context, n Node, active string, held bool, armed ...*application) error {
	within, patience := readyWithin(n), r.patience(armed)
	deadline, waited := r.Now().Add(within), time.Duration(0)
	r.emit(Event{Event: Waiting, Node: n.Name, Message: fmt.Sprintf("until it could take over from %s, at most %s", active, within)})
	for {
		facts, errs := r.readiness(ctx)
		failed := r.judge(n, facts, errs, held)
		switch {
		case len(failed) == 0:
			r.emit(Event{Event: Checked, Node: n.Name, Target: "ready", Message: "could take over from " + active})
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !r.Now().Before(deadline) || slices.ContainsFunc(failed, func(c Check) bool { return c.Lasts }):
			for _, c := range failed {
				r.emit(Event{Event: Checked, Node: c.Node, Target: c.Name, Message: c.Detail, Error: c.Detail})
			}
			return &NotReadyError{Node: active, Peer: n.Name, Failed: failed, Within: waited}
		}
		if err := patience(ctx); err != nil {
			return err
		}
		waited = within
		r.Sleep(ctx, readyPause)
	}
}

// readyPause is the time between two looks.
const readyPause = 300 * time.Millisecond

// peers are the nodes that would have to serve instead of the named one.
func (r *Runner) peers(node string) []Node {
	return slices.DeleteFunc(r.all(), func(n Node) bool { return n.Name == node })
}

// mayTouch makes sure that somebody could take over from a node that holds the
// traffic, before it is changed. With Force that is looked at too, but does not
// stop the run; ready tells what was found.
func (r *Runner) mayTouch(ctx context.Context, n *NodePlan) (ready bool, err error) {
	if n.Role != Active {
		return true, nil
	}
	for _, peer := range r.peers(n.Name) {
		if err := r.awaitReady(ctx, peer, n.Name, false); err != nil {
			if !r.Force || ctx.Err() != nil {
				return false, err
			}
			message := fmt.Sprintf("is changed because of --force: %v", err)
			var not *NotReadyError
			if errors.As(err, &not) {
				message = fmt.Sprintf("is changed because of --force, although %s could not take over:%s", not.Peer, not.Reasons())
			}
			r.emit(Event{Event: Forced, Node: n.Name, Message: message})
			return false, nil
		}
	}
	return true, nil
}
