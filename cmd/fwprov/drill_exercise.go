package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"fwprov/cmd/fwprov/drill"
	"fwprov/provision"
	"fwprov/steps"
)

// exercise is one failover of a drill.
type exercise struct {
	*drillRun
	far  *farHost
	rep  *drill.Report
	way  steps.Way
	node string // to be taken down
	name string // of the outage
}

const (
	// warmUp is how long all probes go on before anything is taken down: what does
	// not answer then cannot be probed.
	warmUp = time.Second
	// coolDown is how long they go on after the node has come back.
	coolDown = 2 * time.Second
	// spare is how much longer a node waits than it should, before it puts itself
	// back.
	spare = 20 * time.Second
	// putBackWithin is how long is tried to reach a node that has to be put back.
	putBackWithin = time.Minute
)

// run takes the node down and puts it back. The error is nil if it has come to its
// end, whatever was found; what was taken down is in the report in any case.
func (e *exercise) run(ctx context.Context) error {
	r := e.pair.runner
	if err := r.Replaceable(ctx, e.node); err != nil {
		return err
	}
	p := e.start(ctx)
	defer p.stop()
	sleep(ctx, warmUp)
	p.dropSilent()
	peer := e.pair.Peer(e.node)
	bounds := steps.BoundsOf(e.pair.Pair, e.way, peer)
	x := drill.Exercise{Way: string(e.way), Node: e.node, Peer: peer.Name, Begin: p.begin,
		Floor: drill.Seconds(bounds.Floor), Most: drill.Seconds(bounds.Election)}
	before := e.stick(ctx, e.node, p.client)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	e.rep.State, e.rep.Problems = "unknown", []drill.Problem{}
	x.Down = e.w.now().Round(0)
	err := e.takeDown(ctx)
	if err == nil {
		sleep(ctx, e.down-e.w.now().Sub(x.Down))
	}
	after := e.stick(ctx, peer.Name, p.client)
	x.Back = e.w.now().Round(0)
	err = errors.Join(err, e.putBack(ctx))
	if e.way == steps.ByInterfaces && err == nil && ctx.Err() == nil {
		// Of a connection that was cut the lock may be gone.
		e.pair.runner.Unlock()
		err = e.pair.runner.Lock(ctx, e.lockTimeout)
	}
	sleep(ctx, coolDown)
	p.stop()
	x.End = p.end
	x.Sticky = sticks(steps.StickyServices(e.pair.Pair), p.client, before, after)
	p.judge(&x)
	if err != nil {
		x.Error = err.Error()
	}
	if ctx.Err() == nil {
		err = errors.Join(err, e.verify(ctx, &x))
	}
	e.rep.Exercises = append(e.rep.Exercises, x)
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// takeDown begins the outage, and says what becomes of it to somebody who
// interrupts.
func (e *exercise) takeDown(ctx context.Context) error {
	o := steps.DrillOutage(e.pair.Pair, e.way, e.w.operator+", for a drill")
	o.Name, o.Does, o.Within = e.name, fmt.Sprintf("%s for %s", e.way.Does(e.node), e.down), e.down+spare
	if o.Cuts {
		o.Within = e.down // it cannot be told to come back
	}
	if e.w.outlive != nil {
		e.w.outlive()
	}
	e.w.farewell.set(func() {
		fmt.Fprintf(e.scr.stderr(), "interrupted: %s is put back first; once more leaves that to itself\n", e.node)
	}, func() {
		e.scr.clear()
		fmt.Fprintf(e.scr.stderr(), "The connection was dropped. %s puts itself back within %s: fwprov verify %s tells.\n", e.node, o.Within, e.pair.file)
	})
	return e.pair.runner.TakeDown(ctx, e.node, o)
}

// putBack ends the outage even where the run was interrupted.
func (e *exercise) putBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), putBackWithin,
		fmt.Errorf("not reached within %s; it puts itself back", putBackWithin))
	defer cancel()
	err := e.pair.runner.PutBack(ctx, e.node)
	e.w.farewell.set(nil, nil)
	return err
}

// verify waits until the pair is whole again.
func (e *exercise) verify(ctx context.Context, x *drill.Exercise) error {
	h, err := e.pair.runner.Verify(ctx)
	if err != nil {
		return err
	}
	e.rep.State, e.rep.Problems = string(h.State), []drill.Problem{}
	for _, c := range h.Checks {
		if !c.OK {
			e.rep.Problems = append(e.rep.Problems, drill.Problem{Check: c.Name, Node: c.Node, Detail: c.Detail})
		}
	}
	x.Whole = h.State == provision.Healthy
	x.Healed = drill.Seconds(e.w.now().Sub(x.Back))
	return nil
}

// stick is which server a node's balancer has for a client, by service. What cannot
// be asked is not known.
func (e *exercise) stick(ctx context.Context, node string, client netip.Addr) map[string]string {
	if len(steps.StickyServices(e.pair.Pair)) == 0 || !client.IsValid() {
		return nil
	}
	out, err := e.pair.runner.Ask(ctx, node, "look at the stick tables", steps.StickScript(e.pair.Pair, client))
	if err != nil {
		e.note("the stick tables of %s could not be looked at: %v", node, err)
	}
	return steps.ParseStick(e.pair.Pair, out)
}

func sticks(services []string, client netip.Addr, before, after map[string]string) []drill.Stick {
	out := []drill.Stick{}
	for _, s := range services {
		out = append(out, drill.Stick{Service: s, Client: client.String(), Before: before[s], After: after[s]})
	}
	return out
}

// note says once what could not be probed.
func (e *exercise) note(format string, args ...any) {
	if text := provision.Printable(fmt.Sprintf(format, args...)); !slices.Contains(e.rep.Notes, text) {
		e.rep.Notes = append(e.rep.Notes, text)
	}
}
