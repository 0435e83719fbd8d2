package provision

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// State is how well a pair serves.
type State string

// The states.
const (
	Healthy  State = "healthy"
	Degraded State = "degraded" // it serves, but a fault more would hurt
	Down     State = "down"
)

// Health is what Verify found.
type Health struct {
	State  State   `json:"state"`
	Checks []Check `json:"checks"`
}

// Judge makes one state of checks.
func Judge(checks []Check) State {
	state := Healthy
	for _, c := range checks {
		switch {
		case c.OK:
		case c.Down:
			return Down
		default:
			state = Degraded
		}
	}
	return state
}

// Settler is a Verifier whose checks may need time to come true after a change:
// elections, adverts, health checks. Settle is how long at most.
type Settler interface {
	Settle() time.Duration
}

// LocalVerifier is a Verifier that also looks from the machine fwprov runs on, while
// the nodes are asked.
type LocalVerifier interface {
	VerifyLocal(ctx context.Context) []Check
}

// verifyPause is the time between two looks.
const verifyPause = 500 * time.Millisecond

// Verify looks at the whole pair, until all is well or the Settlers' time is
// over unless it is to look once, and returns what it saw last. An error is only an ended context: a node
// that cannot be reached is a failed check.
func (r *Runner) Verify(ctx context.Context) (Health, error) {
	deadline := r.Now().Add(r.settle())
	for first := true; ; first = false {
		h := r.look(ctx)
		if h.State == Healthy || r.Once || !r.Now().Before(deadline) || ctx.Err() != nil {
			return h, ctx.Err()
		}
		if first {
			r.emit(Event{Event: Waiting, Message: fmt.Sprintf("for the pair to settle, at most %s", deadline.Sub(r.Now()).Round(time.Second))})
		}
		r.Sleep(ctx, verifyPause)
	}
}

func (r *Runner) settle() time.Duration {
	var d time.Duration
	for _, n := range r.Nodes {
		for _, s := range n.Steps {
			if t, ok := s.(Settler); ok {
				d = max(d, t.Settle())
			}
		}
	}
	return d
}

// look runs every Verifier's probe on all nodes and lets each judge once.
func (r *Runner) look(ctx context.Context) Health {
	if len(r.Nodes) == 0 {
		return Health{State: Healthy}
	}
	facts := make([]Facts, len(r.Nodes))
	errs := make([]error, len(r.Nodes))
	// First all are connected: what one node does, another may have to see.
	_ = each(r.Nodes, func(i int, n Node) error {
		_, errs[i] = r.conn(ctx, n.Name)
		return nil
	})
	local := r.lookLocally(ctx)
	_ = each(r.Nodes, func(i int, n Node) error {
		if errs[i] != nil {
			return nil
		}
		var ps []namedProbe
		for _, s := range n.Steps {
			if v, ok := s.(Verifier); ok {
				p := v.VerifyProbe()
				if r.Once {
					p.Wait = ""
				}
				ps = append(ps, namedProbe{s.Name(), p})
			}
		}
		from := r.Now()
		facts[i], errs[i] = r.probe(ctx, n, ps)
		facts[i].between(from, r.Now())
		return nil
	})
	byName := map[string]Facts{}
	var checks []Check
	for i, n := range r.Nodes {
		byName[n.Name] = facts[i]
		c := Check{Name: "reach", Node: n.Name, OK: errs[i] == nil, Detail: "answers over SSH"}
		if errs[i] != nil {
			c.Detail = errs[i].Error()
			c.Why, c.Hint = "nothing is known of this node: if it is off, nobody takes over from its peer", "ssh to it by hand, or its console"
		}
		checks = append(checks, c)
		if detail, hint := tellLost(n.Name, facts[i]); detail != "" {
			checks = append(checks, Check{Name: "way back", Node: n.Name, Detail: "it " + detail, Hint: hint,
				Why: "that part of it is neither as it was nor as the inventory says, until an apply or somebody mends it"})
		}
	}
	for _, s := range r.Nodes[0].Steps {
		if v, ok := s.(Verifier); ok {
			checks = append(checks, v.Verify(byName)...)
		}
	}
	checks = r.tellChecks(append(checks, <-local...))
	if !slices.ContainsFunc(errs, func(err error) bool { return err == nil }) {
		return Health{State: Down, Checks: checks}
	}
	return Health{State: Judge(checks), Checks: checks}
}

// lookLocally looks from here while the nodes are asked, and sends what it saw.
func (r *Runner) lookLocally(ctx context.Context) <-chan []Check {
	seen := make(chan []Check, 1)
	go func() {
		var out []Check
		for _, s := range r.Nodes[0].Steps {
			if v, ok := s.(LocalVerifier); ok {
				out = append(out, v.VerifyLocal(ctx)...)
			}
		}
		seen <- out
	}()
	return seen
}

// between makes facts of when a node was asked.
func (f Facts) between(from, until time.Time) {
	if f != nil {
		f["asked from"], f["asked until"] = strconv.FormatInt(from.UnixMicro(), 10), strconv.FormatInt(until.UnixMicro(), 10)
	}
}
