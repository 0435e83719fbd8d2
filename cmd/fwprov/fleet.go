package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Several pairs are worked on side by side, each with the order that stands within
// it. What a pair takes while it is worked on (connections, facts, a runner) is given
// back as soon as its result is known, so that a run takes memory for the pairs under
// way and not for all.

// fleet is the pairs of a session on their way.
type fleet struct {
	*session
	places      chan struct{} // holds one for every pair that is worked on
	away        chan struct{} // and for every one that has given its place up
	maxFailures int           // 0: no bound
	total       int           // pairs that there are
	verb        string        // what is done with them: "planned"
	json        bool          // plans are told as JSON
	locked      bool          // pairs are locked before they are planned, and as long as they are kept

	mu            sync.Mutex
	ended, failed int // pairs
}

func (s *session) fleet() *fleet {
	m := s.w.machine()
	n := s.o.parallel
	if n == 0 {
		n = m.parallel()
	}
	return &fleet{session: s, places: make(chan struct{}, n), away: make(chan struct{}, m.away(n)), maxFailures: s.o.maxFailures, json: s.o.json}
}

// result is what a pair has come to.
type result interface {
	failed() bool // counts for --max-failures
}

// sideBySide begins the pairs in their order. tell is called for each pair that was
// begun, one at a time: in the order of the pairs, or, if asTheyEnd, as they end. It
// returns the pairs that were not begun, because too many have failed or ctx has
// ended.
func sideBySide[R result](ctx context.Context, f *fleet, pairs []*pair, asTheyEnd bool, do func(context.Context, *pair) R, tell func(*pair, R)) []*pair {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // for what follows, and around tell
		done = make([]*R, len(pairs))
		next int
	)
	end := func(i int, r R) {
		mu.Lock()
		defer mu.Unlock()
		if asTheyEnd {
			tell(pairs[i], r)
			return
		}
		for done[i] = &r; next < len(done) && done[next] != nil; next++ {
			tell(pairs[next], *done[next])
			done[next] = nil
		}
	}
	begun := 0
	for i, p := range pairs {
		if !f.mayBegin(ctx) {
			break
		}
		begun++
		p.place = &place{fleet: f}
		wg.Go(func() {
			r := do(ctx, p)
			p.place.leave()
			f.count(r.failed())
			end(i, r)
		})
	}
	wg.Wait()
	return pairs[begun:]
}

// mayBegin waits for a place for one more pair.
func (f *fleet) mayBegin(ctx context.Context) bool {
	select {
	case f.places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil || f.maxFailures > 0 && f.failed >= f.maxFailures {
		<-f.places
		return false
	}
	return true
}

// stopped says that so many pairs have failed that none is begun any more.
func (f *fleet) stopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.maxFailures > 0 && f.failed >= f.maxFailures
}

func (f *fleet) count(failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended++
	if failed {
		f.failed++
	}
	f.progress(f.ended, f.failed)
}

// begin starts to count.
func (f *fleet) begin(verb string, total int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verb, f.total, f.ended = verb, total, 0
	f.progress(0, f.failed)
}

// notBegun says which pairs were left out, and why.
func (f *fleet) notBegun(ctx context.Context, verb string, left []*pair) {
	if len(left) == 0 {
		return
	}
	why := ""
	if f.maxFailures > 0 && f.failed >= f.maxFailures {
		why = fmt.Sprintf("%s failed (--max-failures %d)", count(f.failed, "pair"), f.maxFailures)
	} else {
		why = context.Cause(ctx).Error() // nothing else keeps a pair from being begun
	}
	var names []string
	for _, p := range left {
		names = append(names, p.label)
	}
	fmt.Fprintf(f.scr.stderr(), "Not %s (%s): %s\n", verb, why, some(names))
}

// enter prepares a pair for work, unless it is from before.
func (f *fleet) enter(p *pair) {
	if p.runner == nil {
		f.prepare(p)
	}
	if !f.o.verbose {
		p.runner.Emit = newPairEvents(f.scr, p, f.o.quiet).event
	}
}

// release gives back what a pair has taken.
func (p *pair) release() {
	if p.runner != nil {
		p.runner.Close()
		p.runner = nil
	}
}

// plan looks at all pairs and tells of each on out. If keep, the plans that could be
// carried out are kept, by pair.
func (f *fleet) plan(ctx context.Context, keep bool, out io.Writer) (*fleetSum, error) {
	sum := &fleetSum{plans: map[*pair]*planned{}}
	var failed error
	f.begin("planned", len(f.pairs))
	left := sideBySide(ctx, f, f.pairs, false, func(ctx context.Context, p *pair) *planned {
		f.enter(p)
		plan := p.runner.Plan(ctx)
		r := f.planned(ctx, p, plan)
		if keep && r.changes > 0 && r.tally.failed == 0 {
			r.plan = plan
			if !f.locked {
				p.runner.Close() // apply connects anew
			}
		} else {
			p.release()
		}
		return r
	}, func(p *pair, r *planned) {
		if r.cut {
			sum.cut = append(sum.cut, p)
			return
		}
		sum.add(r)
		if r.plan != nil {
			sum.plans[p] = r
		}
		if err := f.tell(out, r); err != nil && failed == nil {
			failed = err
		}
	})
	f.scr.clear()
	left = append(sum.cut, left...)
	if failed == nil {
		failed = f.tellEnd(out, sum, left)
	}
	f.notBegun(ctx, "planned", left)
	return sum, failed
}

// tell says what was found of one pair.
func (f *fleet) tell(out io.Writer, r *planned) error {
	_, err := io.WriteString(f.scr.stderr(), r.errors)
	if f.json {
		_, err = out.Write(r.document)
	} else if text := r.line; text != "" {
		if f.o.verbose {
			text += "\n" + r.full
		}
		_, err = io.WriteString(out, text)
	}
	return err
}

// tellEnd says what the plans of all pairs come to.
func (f *fleet) tellEnd(out io.Writer, sum *fleetSum, left []*pair) error {
	if f.json {
		for _, p := range left {
			if err := writeJSON(out, planDocument{Inventory: p.inventory, Nodes: []nodeDocument{}, NotBegun: true}); err != nil {
				return err
			}
		}
		return nil
	}
	text := ""
	if !f.o.verbose && !f.o.quiet {
		text = strings.Join(sum.full, "")
	}
	if text != "" {
		text = "\n" + text
	}
	_, err := io.WriteString(out, text+sum.text(f.w.outStyle()))
	if err == nil && sum.differ > pairsInFull && !f.o.verbose && !f.o.quiet {
		fmt.Fprintln(f.scr.stderr(), "The changes themselves: fwprov plan FILE for one pair, --verbose for all.")
	}
	return err
}
