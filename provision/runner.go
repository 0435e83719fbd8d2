package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fwprov/provision/remote"
)

// Conn is a connection to a node. *remote.Client is the one of every day.
// Exec and Upload may be called concurrently.
type Conn interface {
	Exec(context.Context, remote.Command) (remote.Result, error)
	Upload(context.Context, []remote.File) error
	// Rides returns whose connection this is, if it is not one of its own.
	Rides() string
	Close() error
}

// Node is a machine and what has to be true on it.
type Node struct {
	Name  string
	Steps []Step
}

// Runner plans, applies and verifies. The fields are set once, before the first
// call; its methods may not be called concurrently. Close ends what it opened.
type Runner struct {
	Nodes []Node
	// Others are nodes of the pair that this run does not change (--limit). They
	// are looked at before a node that holds the traffic is.
	Others []Node
	// Force changes a node that holds the traffic even if nobody could take over.
	Force bool
	// Dial opens a new connection to a node; it owns the time-out of doing so. A
	// fresh one is made now, all the way, and does not ride another.
	Dial func(ctx context.Context, node string, fresh bool) (Conn, error)
	// Roles tells what each node is, from the facts of those that answered.
	Roles func(map[string]Facts) map[string]Role
	// Unused tells from the same facts whether nobody can be using the nodes yet:
	// then they are changed side by side. Nil: nobody does unless one is active.
	Unused func(map[string]Facts) bool
	// ID is random, letters and digits: it names this run's staging folders and
	// marks its output.
	ID string
	// Emit is told what happens, one event at a time.
	Emit func(Event)
	Now  func() time.Time
	// Operator is who runs this and from where, for those who find a node locked.
	Operator string
	// Record is what the run leaves in the history of the nodes; nil: nothing.
	Record *Record
	// ConfirmTimeout is how long a node waits to be confirmed before it goes back
	// by itself; 0 means DefaultConfirmTimeout.
	ConfirmTimeout time.Duration
	// Wanted says whether changes of a step are wanted (--only, --skip); nil: all.
	Wanted func(step string) bool
	// Redact takes secrets out of what programs on the nodes say; nil: there are
	// none. What is built from secrets is masked by type, see File.
	Redact func(string) string
	// Once lets Verify judge what it sees first, instead of waiting for a pair that
	// is settling after a change.
	Once bool
	// Sleep waits between two looks of Verify; it returns early if ctx ends.
	Sleep func(ctx context.Context, d time.Duration)
	Log   *slog.Logger

	mu     sync.Mutex // serialises Emit, and guards what follows
	conns  map[string]Conn
	owned  map[string]bool // nodes to which all connections are fresh from now on
	parked []Conn          // connections that hold a lock and are otherwise not used any more
	locks  map[string]*lock
	once   map[string]map[string]string // by node and step, see Probe.Once
}

// DefaultConfirmTimeout is long enough to log in again over a slow line.
const DefaultConfirmTimeout = 60 * time.Second

func (r *Runner) confirmTimeout() time.Duration {
	if r.ConfirmTimeout > 0 {
		return r.ConfirmTimeout
	}
	return DefaultConfirmTimeout
}

// Time-outs of what runs on a node.
const (
	probeTimeout = 2 * time.Minute // a package manager may have to read its lists
	stepTimeout  = 2 * time.Minute
	fileTimeout  = 2 * time.Minute
)

// maxProbe bounds in bytes what a node says of itself. With 4000 VLANs it is
// 3 MB.
const maxProbe = 16 << 20

func (r *Runner) emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = r.Now()
	e.Target, e.Message, e.Error = r.clean(e.Target), r.clean(e.Message), r.clean(e.Error)
	if r.Emit != nil {
		r.Emit(e)
	}
	r.Log.Debug(string(e.Event), "node", e.Node, "step", e.Step, "target", e.Target, "message", e.Message, "error", e.Error)
}

// conn returns the node's open connection, or opens one.
func (r *Runner) conn(ctx context.Context, node string) (Conn, error) {
	r.mu.Lock()
	c, fresh := r.conns[node], r.owned[node]
	r.mu.Unlock()
	if c != nil {
		return c, nil
	}
	r.emit(Event{Event: Connecting, Node: node})
	c, err := r.dial(ctx, node, fresh)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = map[string]Conn{}
	}
	r.conns[node] = c
	return c, nil
}

// drop closes the node's connection, so that the next use opens a new one.
func (r *Runner) drop(node string) {
	r.mu.Lock()
	c := r.conns[node]
	delete(r.conns, node)
	r.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// own makes sure that a node is reached by connections of our own from now on.
// Whether a node that was changed can still be reached is proven by a new one
// alone, so that must be possible before anything is changed: one that can only be
// reached by riding another would always go back.
func (r *Runner) own(ctx context.Context, node string) error {
	r.mu.Lock()
	if r.owned == nil {
		r.owned = map[string]bool{}
	}
	r.owned[node] = true
	c := r.conns[node]
	r.mu.Unlock()
	if c == nil || c.Rides() == "" {
		return nil
	}
	if err := r.renew(ctx, node); err != nil {
		return fmt.Errorf("node %s: so far it was reached by way of the ssh at %s, but a change is confirmed over a connection that fwprov makes by itself, and it cannot; nothing was changed: %w",
			node, c.Rides(), err)
	}
	return nil
}

// renew opens a new connection to a node, a fresh one, and keeps the old one open,
// since it may hold the node's lock.
func (r *Runner) renew(ctx context.Context, node string) error {
	r.emit(Event{Event: Connecting, Node: node})
	c, err := r.dial(ctx, node, true)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.conns[node]; before != nil {
		r.parked = append(r.parked, before)
	}
	r.conns[node] = c
	return nil
}

// over uses the node's connection. Where the server does not let it have one more
// session, it is kept for what it has, which may be the lock, and a new one takes
// its place.
func (r *Runner) over(ctx context.Context, node string, use func(Conn) error) (unreachable, err error) {
	c, err := r.conn(ctx, node)
	if err != nil {
		return err, nil
	}
	if err = use(c); !errors.Is(err, remote.ErrNoSession) {
		return nil, err
	}
	if err := r.renew(ctx, node); err != nil {
		return err, nil
	}
	if c, err = r.conn(ctx, node); err != nil {
		return err, nil
	}
	return nil, use(c)
}

// Close frees all locks and closes all connections.
func (r *Runner) Close() {
	r.Unlock()
	for _, n := range r.all() {
		r.drop(n.Name)
	}
	for _, c := range r.parked {
		_ = c.Close()
	}
	r.parked = nil
}

// exec runs a script on a node and fails if the script does. what completes
// "could not ..." in the error.
func (r *Runner) exec(ctx context.Context, node, what string, timeout time.Duration, cmd remote.Command) (remote.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	var res remote.Result
	unreachable, err := r.over(ctx, node, func(c Conn) (err error) {
		res, err = c.Exec(ctx, cmd)
		return err
	})
	if unreachable != nil {
		return remote.Result{}, unreachable
	}
	if err != nil {
		r.drop(node)
		return res, fmt.Errorf("node %s: %s: %w", node, what, err)
	}
	if res.Code != 0 {
		return res, fmt.Errorf("node %s: %s: exit status %d%s", node, what, res.Code, firstLines(res.Stderr))
	}
	return res, nil
}

// probe runs the probes of a node's steps as one command.
func (r *Runner) probe(ctx context.Context, n Node, probes []namedProbe) (Facts, error) {
	r.mu.Lock()
	once := r.once[n.Name]
	r.mu.Unlock()
	j := join(r.ID, probes, once)
	if _, err := r.conn(ctx, n.Name); err != nil {
		return nil, err
	}
	r.emit(Event{Event: Probing, Node: n.Name})
	res, err := r.exec(ctx, n.Name, "probe", probeTimeout, remote.Command{Script: j.script, MaxOutput: maxProbe})
	if err != nil {
		return nil, err
	}
	f, err := j.parse(string(res.Stdout))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, r.heard(err))
	}
	compareClocks(f, r.Now())
	if once == nil && slices.ContainsFunc(probes, func(p namedProbe) bool { return p.Once != "" }) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.once == nil {
			r.once = map[string]map[string]string{}
		}
		r.once[n.Name] = j.once
	}
	return f, nil
}

func probes(n Node) []namedProbe {
	var out []namedProbe
	for _, s := range n.Steps {
		out = append(out, namedProbe{s.Name(), s.Probe()})
	}
	return out
}

// each runs do for the nodes side by side and joins their errors in the order
// of the nodes.
func each(nodes []Node, do func(int, Node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = do(i, n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *Runner) wants(step string) bool { return r.Wanted == nil || r.Wanted(step) }

// Plan probes all nodes side by side and returns what would change. A node that
// cannot be reached or planned has its error in its NodePlan, and the plan's
// Err is not nil.
func (r *Runner) Plan(ctx context.Context) *Plan {
	p := &Plan{Nodes: make([]*NodePlan, len(r.Nodes))}
	facts := make([]Facts, len(r.Nodes))
	errs := make([]error, len(r.Nodes))
	_ = each(r.Nodes, func(i int, n Node) error {
		facts[i], errs[i] = r.probe(ctx, n, probes(n))
		return nil
	})
	byName := map[string]Facts{}
	for i, n := range r.Nodes {
		if errs[i] == nil {
			byName[n.Name] = facts[i]
		}
	}
	roles := r.Roles(byName)
	p.inUse = r.Unused != nil && !r.Unused(byName)
	_ = each(r.Nodes, func(i int, n Node) error {
		np := &NodePlan{Name: n.Name, Role: roles[n.Name], Err: errs[i], facts: facts[i], steps: n.Steps}
		p.Nodes[i] = np
		if np.Err == nil {
			np.Err = r.planNode(ctx, np)
			np.settleRoles()
		}
		r.tell(np)
		if np.Err == nil {
			r.emit(Event{Event: Planned, Node: n.Name, Role: np.Role, Count: len(np.Changes)})
		} else {
			r.emit(Event{Event: NodeFailed, Node: n.Name, Error: np.Err.Error()})
		}
		return nil
	})
	for _, n := range p.Nodes {
		p.Changes += len(n.Changes)
	}
	return p
}

// planNode plans a node, twice if the first time shows that files differ whose
// present content is wanted for the diff.
func (r *Runner) planNode(ctx context.Context, np *NodePlan) error {
	if err := np.plan(r.wants); err != nil {
		return fmt.Errorf("node %s: %w", np.Name, err)
	}
	paths := wanted(np.facts, np.Changes)
	if len(paths) == 0 {
		return nil
	}
	res, err := r.exec(ctx, np.Name, "read the files that differ", fileTimeout, remote.Command{Script: contents(r.ID, paths)})
	if err != nil {
		return err
	}
	with := np.facts.With()
	if err := parseContents(r.ID, string(res.Stdout), with); err != nil {
		return fmt.Errorf("node %s: read the files that differ: %w", np.Name, err)
	}
	maskContents(with, np.Changes)
	np.facts = with
	if err := np.plan(r.wants); err != nil {
		return fmt.Errorf("node %s: %w", np.Name, err)
	}
	return nil
}

// order says in which waves nodes are changed: side by side if nobody uses them
// yet, else one after the other, those that are not active first.
func (p *Plan) order() [][]*NodePlan {
	active := func(n *NodePlan) bool { return n.Role == Active }
	if !p.inUse && !slices.ContainsFunc(p.Nodes, active) {
		return [][]*NodePlan{p.Nodes}
	}
	var standby, act [][]*NodePlan
	for _, n := range p.Nodes {
		if active(n) {
			act = append(act, []*NodePlan{n})
		} else {
			standby = append(standby, []*NodePlan{n})
		}
	}
	return append(standby, act...)
}
