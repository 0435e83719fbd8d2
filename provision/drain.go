package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fwprov/provision/remote"
)

// Drainer is a step that can take the traffic off a node, so that a peer takes
// over, and keep it off.
type Drainer interface {
	Step
	// Drain and Undrain return sh fragments, run as root under set -eu. Drain
	// returns when the node has let go of the traffic, or fails. One that is kept
	// outlives reboots; any other is gone after one, and the step's Undo ends it.
	// who names the operator. Undrain of a node that is not drained does nothing.
	Drain(kept bool, who string) string
	Undrain(kept bool) string
	// Holds returns a sh fragment that only reads, and succeeds where the node
	// holds the traffic.
	Holds() string
	// Hold keeps a node that is drained so across its way back and reboots, until
	// Release, which leaves alone what others have drained; what is left of it is
	// ended like what an operator has drained.
	Hold(who string) string
	Release() string
	// Suspended are the keys of facts that a drained node need not have.
	Suspended() []string
}

// Drains reports whether the traffic is taken off the node before it is
// changed.
func (n *NodePlan) Drains() bool {
	return n.Role == Active && n.drainer() != nil &&
		slices.ContainsFunc(n.Changes, func(c Change) bool { return c.Disruptive }) &&
		!slices.ContainsFunc(n.Changes, func(c Change) bool { return c.Together != "" })
}

func (n *NodePlan) drainer() Drainer { return drainer(n.steps) }

func drainer(steps []Step) Drainer {
	for _, s := range steps {
		if d, ok := s.(Drainer); ok {
			return d
		}
	}
	return nil
}

// settleRoles takes out of a plan what concerns only the node that holds the
// traffic: elsewhere nothing interrupts it.
func (n *NodePlan) settleRoles() {
	if n.Role == Active {
		return
	}
	for i := range n.Changes {
		n.Changes[i].Disruptive, n.Changes[i].Cost = false, ""
	}
}

// guardedRun runs a fragment under the guard.
func (a *application) guardedRun(ctx context.Context, what, fragment string) error {
	_, err := a.exec(ctx, what, stepTimeout, a.guard.guarded(a.r.confirmTimeout())+"(\nset -eu\n"+fragment+"\n) </dev/null >&2\n", nil)
	return err
}

// drain takes the traffic off the node, and makes sure that a peer has it. If
// none comes to have it, the node takes it back.
func (a *application) drain(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	a.r.emit(Event{Event: Draining, Node: a.n.Name, Message: "handing over to its peer"})
	err := a.guardedRun(ctx, "drain", a.n.drainer().Drain(false, a.r.Operator))
	if err == nil {
		err = a.r.awaitHandover(context.WithoutCancel(ctx), a.n.Name, a)
	}
	if err != nil {
		// The way back does it too, but takes longer.
		return errors.Join(err, a.undrain(ctx))
	}
	a.r.emit(Event{Event: Drained, Node: a.n.Name, Message: "its peer has taken over"})
	return nil
}

func (a *application) undrain(ctx context.Context) error {
	return a.guardedRun(ctx, "undrain", a.n.drainer().Undrain(false))
}

// awaitHandover waits until a peer holds the traffic instead of the node from.
func (r *Runner) awaitHandover(ctx context.Context, from string, armed ...*application) error {
	peer := r.peers(from)[0]
	within, patience := readyWithin(peer), r.patience(armed)
	deadline := r.Now().Add(within)
	for {
		facts, errs := r.readiness(ctx)
		roles := r.Roles(facts)
		failed := r.judge(peer, facts, errs, false)
		if len(failed) == 0 && roles[from] != Active && roles[peer.Name] == Active {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !r.Now().Before(deadline) {
			if len(failed) == 0 {
				return fmt.Errorf("node %s: %s did not take over within %s", from, peer.Name, within)
			}
			return fmt.Errorf("node %s: %s did not take over: %w", from, peer.Name, &NotReadyError{Node: from, Peer: peer.Name, Failed: failed, Within: within})
		}
		if err := patience(ctx); err != nil {
			return err
		}
		r.Sleep(ctx, handoverPause)
	}
}

// handoverPause is the time between two looks at a handover.
const handoverPause = 100 * time.Millisecond

// Drain takes the traffic off a node until Undrain, across reboots. It refuses,
// with a *NotReadyError, where no peer could serve instead. The locks are
// taken for the time it takes.
func (r *Runner) Drain(ctx context.Context, node string) error {
	n, d, err := r.begin(ctx, node)
	if err != nil {
		return err
	}
	defer r.Unlock()
	for _, peer := range r.peers(node) {
		if err := r.awaitReady(ctx, peer, node, false); err != nil {
			return err
		}
	}
	facts, errs := r.readiness(ctx)
	if err := errs[node]; err != nil {
		return err
	}
	active := r.Roles(facts)[node] == Active
	r.emit(Event{Event: Draining, Node: node, Message: "handing over to its peer"})
	ctx = context.WithoutCancel(ctx) // what was begun is finished
	err = r.fragment(ctx, n.Name, "drain", d.Drain(true, r.Operator))
	if err == nil && active {
		err = r.awaitHandover(ctx, node)
	}
	if err != nil {
		return errors.Join(err, r.fragment(ctx, n.Name, "undrain", d.Undrain(true)))
	}
	r.emit(Event{Event: Drained, Node: node, Message: "its peer serves"})
	return nil
}

// Undrain takes a node back that Drain has taken out, and waits until it could
// take over again. If it cannot, the error is a *NotReadyError.
func (r *Runner) Undrain(ctx context.Context, node string) error {
	n, d, err := r.begin(ctx, node)
	if err != nil {
		return err
	}
	defer r.Unlock()
	if err := r.fragment(context.WithoutCancel(ctx), n.Name, "undrain", d.Undrain(true)); err != nil {
		return err
	}
	return r.awaitReady(ctx, n, r.peers(node)[0].Name, false)
}

// begin takes the locks to drain or undrain a node.
func (r *Runner) begin(ctx context.Context, node string) (Node, Drainer, error) {
	i := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Name == node })
	if i < 0 {
		return Node{}, nil, fmt.Errorf("there is no node %s", node)
	}
	d := drainer(r.Nodes[i].Steps)
	if d == nil {
		return Node{}, nil, fmt.Errorf("node %s has nothing that could be drained", node)
	}
	return r.Nodes[i], d, r.Lock(ctx, 0)
}

// fragment runs a sh fragment on a node.
func (r *Runner) fragment(ctx context.Context, node, what, script string) error {
	_, err := r.exec(ctx, node, what, stepTimeout, remote.Command{Script: scriptHead + "(\nset -eu\n" + script + "\n) </dev/null >&2\n"})
	return err
}
