package e2e

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/provision/remote"
	"fwprov/steps"
)

// TestConformance holds every step to what provision.Step promises, on real
// machines, as an ordinary user with sudo. Step after step: on a node that has
// only the earlier steps there is something to do, the facts that were promised
// are found by a new look (Apply fails otherwise), then nothing is left to do,
// and carrying out the same changes again does no harm.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, image := range []string{lab.Debian, lab.EL} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			up(t, "steps-"+image, image, inventories.Guide).conformance()
		})
	}
}

func (r *rig) conformance() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // other labs run beside it
	defer cancel()
	start := time.Now()
	var done []string
	for _, s := range steps.For(r.pair, r.pair.Nodes[0]) {
		done = append(done, s.Name())
		run := r.runner(done)
		plan := run.Plan(ctx)
		if err := plan.Err(); err != nil {
			r.t.Fatalf("%s: %v", s.Name(), err)
		}
		for _, n := range plan.Nodes {
			if len(n.Changes) == 0 && !slices.Contains([]string{"preflight", "verify"}, s.Name()) {
				r.t.Errorf("%s: nothing to do on %s, where the step never ran", s.Name(), n.Name)
			}
			for _, c := range n.Changes {
				if c.Step != s.Name() {
					r.t.Errorf("%s: step %s is undone: %s %s", s.Name(), c.Step, c.Action, c.Target)
				}
			}
		}
		for _, times := range []string{"applied", "applied twice"} {
			now, again := run.Nodes, plan
			if times == "applied twice" {
				run.Nodes = repeat(now, plan)
				again = run.Plan(ctx)
			}
			if _, err := run.Apply(ctx, again); err != nil {
				r.t.Fatalf("%s, %s: %v", s.Name(), times, err)
			}
			run.Nodes = now
			r.t.Logf("%s, %s: after %.1fs", s.Name(), times, time.Since(start).Seconds())
			left := run.Plan(ctx)
			if left.Err() != nil || left.Changes != 0 {
				for _, n := range left.Nodes {
					for _, c := range n.Changes {
						r.t.Errorf("%s, %s: left to do on %s: %s %s %s: %s\n%s", s.Name(), times, n.Name, c.Step, c.Action, c.Target, c.Why, c.Diff)
					}
				}
				r.t.Fatalf("%s, %s: %v", s.Name(), times, left.Err())
			}
		}
		run.Close()
	}
}

// repeated is a step that plans what it has planned once, whatever the node is like.
type repeated struct {
	provision.Step
	changes []provision.Change
}

func (s repeated) Plan(provision.Facts) ([]provision.Change, error) { return s.changes, nil }

// repeat lets the steps of nodes repeat a plan.
func repeat(nodes []provision.Node, plan *provision.Plan) []provision.Node {
	out := slices.Clone(nodes)
	for i, n := range nodes {
		out[i].Steps = nil
		for _, s := range n.Steps {
			others := func(c provision.Change) bool { return c.Step != s.Name() }
			out[i].Steps = append(out[i].Steps, repeated{s, slices.DeleteFunc(slices.Clone(plan.Nodes[i].Changes), others)})
		}
	}
	return out
}

// runner is the engine with the steps of that name, from the admin host.
func (r *rig) runner(names []string) *provision.Runner {
	run := &provision.Runner{
		Roles:  func(f map[string]provision.Facts) map[string]provision.Role { return steps.Role(r.pair, f) },
		ID:     "conformance",
		Now:    time.Now,
		Wanted: func(step string) bool { return slices.Contains(names, step) },
		Log:    slog.New(slog.DiscardHandler),
	}
	opts := remote.Options{HomeDir: r.lab.Home(), ConfigFile: filepath.Join(r.lab.Home(), ".ssh/config"),
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return r.lab.Dial(ctx, lab.Admin, network, addr)
		}}
	for _, n := range r.pair.Nodes {
		run.Nodes = append(run.Nodes, provision.Node{Name: n.Name, Steps: steps.For(r.pair, n)})
	}
	run.Dial = func(ctx context.Context, node string, fresh bool) (provision.Conn, error) {
		n, _ := r.pair.Node(node)
		o := opts
		o.Fresh = fresh
		return remote.Dial(ctx, remote.Target{Node: node, Host: n.SSHHost, User: "ops", Sudo: true}, o)
	}
	return run
}
