package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"fwprov/provision/remote"
)

// Summary is how an apply ended.
type Summary struct {
	Changed int // changes carried out
	Failed  int // nodes that could not be brought to their plan
	Seconds float64
}

// Apply carries out a plan that this Runner made, exactly as it is: nodes that
// are not active first, side by side if none is. If one fails, those that come
// after it are left alone. The error joins what went wrong; Summary is valid
// in any case.
func (r *Runner) Apply(ctx context.Context, p *Plan) (Summary, error) {
	start := r.Now()
	var sum Summary
	var errs []error
	for _, wave := range order(p.Nodes) {
		if len(errs) > 0 {
			for _, n := range wave {
				if len(n.Changes) > 0 {
					r.emit(Event{Event: NodeSkipped, Node: n.Name, Message: "left as it is, because the other node failed"})
				}
			}
			continue
		}
		nodes := make([]Node, len(wave))
		done := make([]int, len(wave))
		for i, n := range wave {
			nodes[i].Name = n.Name
		}
		err := each(nodes, func(i int, _ Node) error {
			var err error
			done[i], err = r.applyNode(ctx, wave[i])
			return err
		})
		for i := range wave {
			sum.Changed += done[i]
		}
		if err != nil {
			errs = append(errs, err)
			sum.Failed += len(err.(interface{ Unwrap() []error }).Unwrap())
		}
	}
	sum.Seconds = r.Now().Sub(start).Seconds()
	return sum, errors.Join(errs...)
}

// applyNode brings one node to its plan, looks again over a new connection, and
// returns how many changes were carried out.
func (r *Runner) applyNode(ctx context.Context, n *NodePlan) (int, error) {
	if len(n.Changes) == 0 {
		return 0, nil
	}
	start := r.Now()
	a := &application{r: r, n: n, facts: n.facts}
	err := a.run(ctx)
	if err == nil {
		err = r.confirm(ctx, n)
	}
	if err != nil {
		r.emit(Event{Event: NodeFailed, Node: n.Name, Error: err.Error()})
		return a.done, err
	}
	r.emit(Event{Event: NodeDone, Node: n.Name, Count: a.done, Seconds: r.Now().Sub(start).Seconds()})
	return a.done, nil
}

// application is one node's apply on its way.
type application struct {
	r      *Runner
	n      *NodePlan
	facts  Facts             // what is true by now
	dir    string            // staging folder on the node
	staged map[string]string // path to where its new content lies
	done   int
}

func (a *application) run(ctx context.Context) error {
	if err := a.stage(ctx); err != nil {
		return err
	}
	defer a.unstage(ctx)
	validated := false
	for _, b := range a.n.batches() {
		if _, ok := b.step.(Validator); ok && !validated {
			validated = true
			if err := a.validate(ctx); err != nil {
				return err
			}
		}
		if err := a.apply(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// stage uploads all files of the plan into a folder that only the login user
// can enter.
func (a *application) stage(ctx context.Context) error {
	a.staged = map[string]string{}
	var files []remote.File
	for _, c := range a.n.Changes {
		if c.Write != nil {
			files = append(files, remote.File{Path: fmt.Sprintf("%d-%s", len(files), path.Base(c.Write.Path)), Content: c.Write.Content, Mode: 0o600})
			a.staged[c.Write.Path] = files[len(files)-1].Path
		}
	}
	if len(files) == 0 {
		return nil
	}
	a.r.emit(Event{Event: Staging, Node: a.n.Name, Count: len(files)})
	// Under sudo the folder is given to the user that SFTP logs in as.
	const mk = scriptHead + "umask 077\nd=$(mktemp -d /tmp/fwprov.XXXXXXXXXX) && chown \"${SUDO_UID:-0}\" \"$d\" && echo \"$d\"\n"
	res, err := a.r.exec(ctx, a.n.Name, "make a staging folder", fileTimeout, remote.Command{Script: mk})
	if err != nil {
		return err
	}
	a.dir = strings.TrimSpace(string(res.Stdout))
	if !strings.HasPrefix(a.dir, "/tmp/fwprov.") || strings.ContainsAny(a.dir, " \n'") {
		return fmt.Errorf("node %s: make a staging folder: mktemp said %q", a.n.Name, a.dir)
	}
	for i := range files {
		files[i].Path = a.dir + "/" + files[i].Path
	}
	for p, name := range a.staged {
		a.staged[p] = a.dir + "/" + name
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fileTimeout, fmt.Errorf("not done within %s", fileTimeout))
	defer cancel()
	conn, err := a.r.conn(ctx, a.n.Name)
	if err == nil {
		err = conn.Upload(ctx, files)
	}
	if err != nil {
		a.unstage(ctx)
		return fmt.Errorf("node %s: upload %d files: %w", a.n.Name, len(files), err)
	}
	return nil
}

// unstage removes the staging folder, also when the run was interrupted.
func (a *application) unstage(ctx context.Context) {
	if a.dir == "" {
		return
	}
	ctx = context.WithoutCancel(ctx)
	_, err := a.r.exec(ctx, a.n.Name, "remove the staging folder", 15*time.Second, remote.Command{Script: "rm -rf -- " + Quote(a.dir)})
	if err != nil {
		a.r.Log.Warn("staging folder is left", "node", a.n.Name, "dir", a.dir, "error", err)
	}
}

// validate lets the programs that will read the new files check them as a set.
func (a *application) validate(ctx context.Context) error {
	var b strings.Builder
	b.WriteString(scriptHead + "exec </dev/null\nfailed=0\n")
	any := false
	for _, s := range a.n.steps {
		v, ok := s.(Validator)
		if !ok || !slices.ContainsFunc(a.n.Changes, func(c Change) bool { return c.Step == s.Name() && c.Write != nil }) {
			continue
		}
		script := v.Validate(func(p string) string {
			if s, ok := a.staged[p]; ok {
				return s
			}
			return p
		})
		if script != "" {
			any = true
			fmt.Fprintf(&b, "(\nset -eu\n%s\n) >&2\n[ $? -eq 0 ] || { echo %s >&2; failed=1; }\n",
				strings.TrimRight(script, "\n"), Quote("the check of step "+s.Name()+" failed, nothing of it was put in place"))
		}
	}
	if !any {
		return nil
	}
	b.WriteString("exit $failed\n")
	a.r.emit(Event{Event: Validating, Node: a.n.Name})
	_, err := a.r.exec(ctx, a.n.Name, "validate the new files", stepTimeout, remote.Command{Script: b.String()})
	return err
}

// apply carries out one batch by one command.
func (a *application) apply(ctx context.Context, b batch) error {
	step := b.step.Name()
	a.r.emit(Event{Event: StepStarted, Node: a.n.Name, Step: step, Count: len(b.changes)})
	after := a.facts
	for _, c := range b.changes {
		after = after.With(c.Makes)
	}
	var manifest *string
	if before, now := renderManifest(a.facts), renderManifest(after); before != now {
		manifest = &now
	}
	f := &follower{mark: a.r.ID, failed: -1,
		done: func(i int) {
			if i < 0 || i >= len(b.changes) {
				return
			}
			a.done++
			c := b.changes[i]
			a.r.emit(Event{Event: ChangeDone, Node: a.n.Name, Step: step, Target: c.Target, Action: c.Action})
		},
		output: func(s string) { a.r.emit(Event{Event: Output, Node: a.n.Name, Step: step, Message: s}) },
	}
	timeout := stepTimeout
	if s, ok := b.step.(Slow); ok {
		timeout = s.Timeout()
	}
	script := stepScript(a.r.ID, b.changes, a.staged, manifest)
	_, err := a.r.exec(ctx, a.n.Name, "step "+step, timeout, remote.Command{Script: script, OnLine: f.line})
	if err == nil {
		a.facts = after
		return nil
	}
	if f.failed >= 0 && f.failed < len(b.changes) {
		c := b.changes[f.failed]
		err = fmt.Errorf("node %s: step %s: %s %s: exit status %d: %s",
			a.n.Name, step, c.Action, c.Target, f.code, strings.Join(f.tail, "\n  "))
		a.r.emit(Event{Event: ChangeFailed, Node: a.n.Name, Step: step, Target: c.Target, Action: c.Action, Error: err.Error()})
	}
	return err
}

// confirm looks at the node again over a new connection: that it can still be
// reached is what must be proven, and what the changes promised must hold.
func (r *Runner) confirm(ctx context.Context, n *NodePlan) error {
	r.drop(n.Name)
	r.emit(Event{Event: Confirming, Node: n.Name})
	node := Node{Name: n.Name, Steps: n.steps}
	f, err := r.probe(ctx, node, probes(node))
	if err != nil {
		return fmt.Errorf("look again over a new connection: %w", err)
	}
	want := n.expected()
	var wrong []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if f[k] != want[k] {
			wrong = append(wrong, fmt.Sprintf("%s is %s, should be %s", k, orAbsent(f[k]), orAbsent(want[k])))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("node %s: not as planned after the apply (run fwprov plan to see what is left):\n  %s",
			n.Name, Printable(strings.Join(wrong, "\n  ")))
	}
	return nil
}

func orAbsent(s string) string {
	if s == "" {
		return "absent"
	}
	return fmt.Sprintf("%q", s)
}
