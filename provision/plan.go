package provision

import (
	"errors"
	"fmt"
	"slices"
)

// Plan is what would change on the nodes. It is a value: printed, compared,
// and applied as it is.
type Plan struct {
	Changes int         `json:"changes"`
	Nodes   []*NodePlan `json:"nodes"`

	inUse bool // somebody may be using the nodes, even if none is active
}

// NodePlan is what would change on one node.
type NodePlan struct {
	Name    string   `json:"name"`
	Role    Role     `json:"role"`
	Changes []Change `json:"changes"`
	Notices []string `json:"notices,omitempty"` // what others have to do
	Err     error    `json:"-"`                 // why there is no plan

	facts     Facts // as probed
	predicted Facts // as they will be
	steps     []Step
}

// Err joins the errors of all nodes.
func (p *Plan) Err() error {
	var errs []error
	for _, n := range p.Nodes {
		errs = append(errs, n.Err)
	}
	return errors.Join(errs...)
}

// plan asks the steps in order, each with the facts that the earlier ones will
// have made true. It is pure but for storing its result.
func (n *NodePlan) plan(wants func(step string) bool) error {
	n.Changes, n.Notices = []Change{}, nil
	if detail, hint := tellLost(n.Name, n.facts); detail != "" {
		n.Notices = append(n.Notices, "node "+n.Name+" "+detail+"\n"+hint)
	}
	f := n.facts
	var findings Findings
	for _, s := range n.steps {
		if !wants(s.Name()) {
			continue
		}
		changes, err := s.Plan(f)
		var found Findings
		if errors.As(err, &found) {
			findings = append(findings, found...)
			continue
		}
		if err != nil {
			return fmt.Errorf("plan step %s: %w", s.Name(), err)
		}
		if len(changes) > 0 {
			f = f.With(made(changes)...)
		}
		n.Changes = append(n.Changes, changes...)
		if t, ok := s.(Noticer); ok {
			n.Notices = append(n.Notices, t.Notices(n.facts)...)
		}
	}
	n.predicted = f
	if len(findings) > 0 {
		n.Changes = []Change{}
		return findings
	}
	return nil
}

// made are the facts that changes make true, in their order.
func made(changes []Change) []Facts {
	out := make([]Facts, len(changes))
	for i, c := range changes {
		out[i] = c.Makes
	}
	return out
}

// batch is the changes of one step that are carried out by one command.
type batch struct {
	step    Step
	changes []Change
	owed    reload // by earlier batches
	last    bool   // nothing may be owed after it
}

// batches orders the changes: step by step, and at the end the late ones in the
// reverse order.
func (n *NodePlan) batches() []batch {
	var out, late []batch
	for _, s := range n.steps {
		var now, then []Change
		for _, c := range n.Changes {
			switch {
			case c.Step != s.Name():
			case c.Late:
				then = append(then, c)
			default:
				now = append(now, c)
			}
		}
		if len(now) > 0 {
			out = append(out, batch{step: s, changes: now})
		}
		slices.Reverse(then)
		if len(then) > 0 {
			late = append([]batch{{step: s, changes: then}}, late...)
		}
	}
	out = append(out, late...)
	var owed reload
	for i := range out {
		out[i].owed, out[i].last = owed, i == len(out)-1
		for _, c := range out[i].changes {
			_, owed = owed.before(c)
		}
	}
	return out
}

// expected returns the facts that the node's changes promise, as the last
// change that speaks of each leaves it.
func (n *NodePlan) expected() Facts {
	out := Facts{}
	for _, b := range n.batches() {
		for _, c := range b.changes {
			for k, v := range c.Makes {
				out[k] = v
			}
		}
	}
	return out
}
