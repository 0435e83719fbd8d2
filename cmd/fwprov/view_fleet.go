package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"fwprov/provision"
)

// Of several pairs nobody wants to read all: each that differs or fails has a line,
// and the plan itself is shown where few differ or all of it is asked for.

// pairsInFull is how many pairs' plans are shown unasked.
const pairsInFull = 3

// row is the live line of a pair, with what each of its nodes is doing.
type row struct {
	scr   *screen
	name  string
	nodes []string
	doing map[string]string // "" for the pair itself
}

func (r *row) show(node, text string) {
	r.doing[node] = text
	var parts []string
	for _, n := range append([]string{""}, r.nodes...) {
		if d := r.doing[n]; d != "" {
			parts = append(parts, strings.TrimSpace(n+" "+d))
		}
	}
	if len(parts) == 0 {
		r.scr.hide(r.name)
		return
	}
	r.scr.show(r.name, strings.Join(parts, ", "))
}

// newPairEvents shows the events of one pair among several.
func newPairEvents(scr *screen, p *pair, quiet bool) *eventView {
	v := newEventView(scr, p.label, quiet, false)
	v.row = &row{scr: scr, name: p.label, doing: map[string]string{}}
	for _, n := range p.Nodes {
		v.row.nodes = append(v.row.nodes, n.Name)
	}
	return v
}

// planned is what is left of a pair's plan when the pair is let go.
type planned struct {
	tally
	cut      bool            // not a failure of the pair: the run has ended
	line     string          // for people; "" if there is nothing to tell
	full     string          // the plan for people, with its diffs
	document []byte          // for programs
	errors   string          // for standard error
	nodes    []string        // those that would change
	plan     *provision.Plan // only as long as somebody may want it carried out
}

func (r *planned) failed() bool { return r.tally.failed > 0 && !r.cut }

// planned digests a plan.
func (f *fleet) planned(ctx context.Context, p *pair, plan *provision.Plan) *planned {
	r := &planned{}
	r.add(plan)
	r.cut = r.tally.failed > 0 && ctx.Err() != nil
	for _, n := range plan.Nodes {
		if len(n.Changes) > 0 {
			r.nodes = append(r.nodes, nodeName(p.label, n.Name))
		}
	}
	if !r.cut && r.tally.failed > 0 {
		var b bytes.Buffer
		planErrors(&b, f.scr.style, p.label, plan)
		alone(&b, p, plan)
		r.errors = b.String()
	}
	if f.json {
		var b bytes.Buffer
		_ = writeJSON(&b, newPlanDocument(p.inventory, plan)) // to memory
		r.document = b.Bytes()
		return r
	}
	r.line = r.sentence(f.w.outStyle(), p, plan)
	if r.changes > 0 {
		var b bytes.Buffer
		planView{out: &b, style: f.w.outStyle()}.plan(p.label, plan)
		r.full = b.String()
	}
	return r
}

// sentence is the line of a pair.
func (r *planned) sentence(st style, p *pair, plan *provision.Plan) string {
	var changed, failed, steps []string
	for _, n := range plan.Nodes {
		if n.Err != nil {
			failed = append(failed, n.Name)
		} else if len(n.Changes) > 0 {
			changed = append(changed, n.Name)
		}
		for _, c := range n.Changes {
			if !slices.Contains(steps, c.Step) {
				steps = append(steps, c.Step)
			}
		}
	}
	var parts []string
	if len(changed) > 0 {
		text := fmt.Sprintf("%s on %s", count(r.changes, "change"), list(changed))
		if r.disruptive > 0 {
			text += st.yellow(fmt.Sprintf(", %d of them disruptive", r.disruptive))
		}
		parts = append(parts, text+" ("+strings.Join(steps, ", ")+")")
	}
	if len(failed) > 0 {
		parts = append(parts, st.red("not planned: "+list(failed)))
	}
	if len(parts) == 0 {
		return ""
	}
	return st.bold(p.label) + ": " + strings.Join(parts, "; ") + "\n"
}

// fleetSum is what the plans of several pairs come to.
type fleetSum struct {
	tally
	pairs, same, differ, broken int // those looked at, and among them; one may both differ and be broken
	full                        []string
	cut                         []*pair            // those that the end of the run has cut short
	plans                       map[*pair]*planned // those that are kept
}

// add counts a pair, and keeps its plan if it may be shown.
func (s *fleetSum) add(r *planned) {
	s.pairs++
	s.changes += r.changes
	s.disruptive += r.disruptive
	s.changed += r.changed
	s.tally.failed += r.tally.failed
	if r.tally.failed > 0 {
		s.broken++
	}
	if r.changes == 0 {
		if r.tally.failed == 0 {
			s.same++
		}
		return
	}
	if s.differ++; s.differ > pairsInFull {
		s.full = nil
	} else {
		s.full = append(s.full, r.full)
	}
}

// text sums up, for the end.
func (s *fleetSum) text(st style) string {
	if s.changes == 0 && s.broken == 0 {
		return st.bold(st.green("No changes.")) + fmt.Sprintf(" %s as the inventories say.\n", are(s.pairs, "pair"))
	}
	text := "No changes"
	if s.same == 0 {
		text = "No plan"
	}
	if s.changes > 0 {
		text = fmt.Sprintf("Plan: %s on %s of %s", count(s.changes, "change"), count(s.changed, "node"), count(s.differ, "pair"))
	}
	if s.disruptive > 0 {
		text += fmt.Sprintf(", %d of them disruptive", s.disruptive)
	}
	if s.broken > 0 {
		text += fmt.Sprintf("; %s of %s could not be planned", count(s.tally.failed, "node"), count(s.broken, "pair"))
	}
	if s.same > 0 {
		text += fmt.Sprintf("; %s as the inventories say", are(s.same, "pair"))
	}
	return st.bold(text+".") + "\n"
}

// are is "1 pair is" or "2 pairs are".
func are(n int, noun string) string {
	if n == 1 {
		return count(n, noun) + " is"
	}
	return count(n, noun) + " are"
}

// progress shows how far the run is.
func (f *fleet) progress(ended, failed int) {
	if f.scr == nil {
		return
	}
	text := fmt.Sprintf("%d of %s %s", ended, count(f.total, "pair"), f.verb)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	f.scr.sum(text)
}
