package main

import (
	"errors"

	"fwprov/provision"
)

// left lists the nodes that are not what the plan makes them.
func (a *application) left(p *pair, plan *provision.Plan) []string {
	var out []string
	for _, n := range plan.Nodes {
		if len(n.Changes) > 0 && !p.done[n.Name] {
			out = append(out, n.Name)
		}
	}
	return out
}

// summarise ends the run's JSON, with one line for each pair. Without outcomes
// nothing was tried.
func (a *application) summarise(plans []*provision.Plan, outcomes []*outcome) error {
	if !a.o.json {
		return nil
	}
	for i, p := range a.pairs {
		doc := summaryDocument{Inventory: p.inventory, Event: "summary"}
		if outcomes == nil && plans != nil {
			doc.Failed = unplanned(plans[i])
		} else if outcomes != nil && outcomes[i] != nil {
			doc.take(*outcomes[i])
		}
		if err := writeJSON(a.scr.stdout(), doc); err != nil {
			return err
		}
	}
	return nil
}

func (d *summaryDocument) take(o outcome) {
	d.Changed, d.Failed, d.RolledBack = o.summary.Changed, o.summary.Failed, o.summary.RolledBack
	d.Seconds, d.State, d.Left = tenths(o.summary.Seconds), o.state, o.left
}

func unplanned(p *provision.Plan) int {
	n := 0
	for _, node := range p.Nodes {
		if node.Err != nil {
			n++
		}
	}
	return n
}

// code is the exit code for a failed apply.
func (a *application) code(err error) int {
	codes := []int{exitError, a.interruptedCode()}
	var back *provision.RolledBackError
	if errors.As(err, &back) {
		codes = append(codes, exitRolledBack)
	}
	if provision.Locked(err) {
		codes = append(codes, exitLocked)
	}
	return gravest(codes...)
}

func (a *application) interruptedCode() int {
	select {
	case <-a.interrupted:
		return exitInterrupted
	default:
		return exitOK
	}
}
