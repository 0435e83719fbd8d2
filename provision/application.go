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

// application is one node's apply on its way.
type application struct {
	r         *Runner
	n         *NodePlan
	facts     Facts             // what is true by now
	dir       string            // staging folder on the node
	staged    map[string]string // path to where its new content lies
	validated bool
	guard     guard
	journal   *journal
	armed     bool
	recorded  bool // its generation is written, under the guard
	held      bool // it stays drained, even if it goes back, until it is released
	kept      bool // it was confirmed
	drains    bool // the traffic is taken off before the changes
	skipped   bool // left as it is
	done      int
	err       error
}

func newApplication(r *Runner, n *NodePlan) *application {
	return &application{r: r, n: n, facts: n.facts, staged: map[string]string{}, guard: newGuard(r.ID, n)}
}

// prepares reports whether the batch is carried out before the guard is armed.
func (b batch) prepares() bool {
	_, ok := b.step.(Preparer)
	return ok
}

// exec runs a script on the node to its end, even if ctx ends meanwhile: a step
// in hand is finished.
func (a *application) exec(ctx context.Context, what string, timeout time.Duration, script string, onLine func(string)) (remote.Result, error) {
	// Private: the manifest in it has the hashes of files with secrets.
	return a.r.exec(context.WithoutCancel(ctx), a.n.Name, what, timeout, remote.Command{Script: script, OnLine: onLine, Private: true})
}

// prepare lays the new files down on the node and, where the daemons that will
// read them are there already, has them checked. Nothing is changed by it.
func (a *application) prepare(ctx context.Context) error {
	if err := a.stage(ctx); err != nil {
		return err
	}
	if slices.ContainsFunc(a.n.batches(), batch.prepares) {
		return nil // validated after its packages are there
	}
	return a.validate(ctx)
}

// stage uploads all files of the plan into a folder that only the login user
// can enter.
func (a *application) stage(ctx context.Context) error {
	var files []remote.File
	for _, c := range a.n.Changes {
		if c.Write != nil {
			name := fmt.Sprintf("%d-%s", len(files), path.Base(c.Write.Path))
			files = append(files, remote.File{Path: name, Content: c.Write.Content, Mode: 0o600})
			a.staged[c.Write.Path] = name
		}
	}
	if len(files) == 0 {
		return nil
	}
	a.r.emit(Event{Event: Staging, Node: a.n.Name, Count: len(files)})
	// Under sudo the folder is given to the user that SFTP logs in as.
	const mk = scriptHead + "umask 077\nd=$(mktemp -d /tmp/fwprov.XXXXXXXXXX) && chown \"${SUDO_UID:-0}\" \"$d\" && echo \"$d\"\n"
	res, err := a.exec(ctx, "make a staging folder", fileTimeout, mk, nil)
	if err != nil {
		return err
	}
	a.dir = strings.TrimSpace(string(res.Stdout))
	if !strings.HasPrefix(a.dir, "/tmp/fwprov.") || strings.ContainsAny(a.dir, " \n'") {
		dir := a.dir
		a.dir = ""
		return fmt.Errorf("node %s: make a staging folder: mktemp said %q", a.n.Name, dir)
	}
	for i := range files {
		files[i].Path = a.dir + "/" + files[i].Path
	}
	for p, name := range a.staged {
		a.staged[p] = a.dir + "/" + name
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fileTimeout, fmt.Errorf("not done within %s", fileTimeout))
	defer cancel()
	unreachable, err := a.r.over(ctx, a.n.Name, func(c Conn) error { return c.Upload(ctx, files) })
	if err = errors.Join(unreachable, err); err != nil {
		return fmt.Errorf("node %s: upload %d files: %w", a.n.Name, len(files), err)
	}
	return nil
}

// unstage removes the staging folder, also when the run was interrupted.
func (a *application) unstage(ctx context.Context) {
	if a.dir == "" {
		return
	}
	_, err := a.exec(ctx, "remove the staging folder", 15*time.Second, "rm -rf -- "+Quote(a.dir), nil)
	if err != nil {
		a.r.Log.Warn("staging folder is left", "node", a.n.Name, "dir", a.dir, "error", err)
	}
	a.dir = ""
}

// validate lets the programs that will read the new files check them as a set,
// once.
func (a *application) validate(ctx context.Context) error {
	if a.validated {
		return nil
	}
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
	if any {
		b.WriteString("exit $failed\n")
		a.r.emit(Event{Event: Validating, Node: a.n.Name})
		if _, err := a.exec(ctx, "validate the new files", stepTimeout, b.String(), nil); err != nil {
			return err
		}
	}
	a.validated = true
	return nil
}

// apply carries out one batch by one command.
func (a *application) apply(ctx context.Context, b batch) error {
	step := b.step.Name()
	a.r.emit(Event{Event: StepStarted, Node: a.n.Name, Step: step, Count: len(b.changes)})
	after := a.facts.With(made(b.changes)...)
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
	head := a.guard.unguarded()
	if a.armed {
		head = a.guard.guarded(a.r.confirmTimeout())
	}
	script := head + stepScript(a.r.ID, b, a.staged, manifest)
	_, err := a.exec(ctx, "step "+step, timeout, script, f.line)
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

// look probes the node again: what the changes promised must hold, except for
// the facts of these keys.
func (a *application) look(ctx context.Context, except ...string) error {
	node := Node{Name: a.n.Name, Steps: a.n.steps}
	f, err := a.r.probe(ctx, node, probes(node))
	if err != nil {
		return fmt.Errorf("look again: %w", err)
	}
	want := a.n.expected()
	var wrong []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if f[k] != want[k] && !slices.Contains(except, k) {
			wrong = append(wrong, differs(k, f[k], want[k]))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("node %s: not as planned after the apply:\n  %s", a.n.Name, a.r.clean(strings.Join(wrong, "\n  ")))
	}
	return nil
}

// fresh makes sure that a new look at the node leads to the same plan.
func (n *NodePlan) fresh(f Facts, wants func(string) bool) error {
	with := f.With()
	for k, v := range n.facts {
		if strings.HasPrefix(k, old("")) {
			with[k] = v // the contents of files whose hashes are compared anyway
		}
	}
	again := &NodePlan{Name: n.Name, facts: with, steps: n.steps}
	if err := again.plan(wants); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, errors.Join(ErrStale, err))
	}
	same := slices.EqualFunc(n.Changes, again.Changes, func(a, b Change) bool {
		return a.Step == b.Step && a.Target == b.Target && a.Action == b.Action && a.Script == b.Script && maps.Equal(a.From, b.From) && maps.Equal(a.Makes, b.Makes)
	})
	if !same {
		return fmt.Errorf("node %s: %w", n.Name, ErrStale)
	}
	n.facts = with
	return nil
}
