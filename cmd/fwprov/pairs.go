package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/provision/remote"
	"fwprov/steps"
)

// session is one run of a command that works on pairs.
type session struct {
	w     *world
	o     options
	scr   *screen
	trust *trust
	sudo  *remote.Password
	known *remote.KnownHosts
	jumps *remote.JumpHosts
	pairs []*pair
}

// pair is one inventory of a session.
type pair struct {
	*inventories.Pair
	file      string
	label     string             // stands before its nodes' names; "" if it is the only pair
	inventory string             // stands in its JSON documents; "" if it is the only pair
	variables []hcl.Variable     // that the inventory declares
	nodes     []inventories.Node // those that --limit leaves
	runner    *provision.Runner
	place     *place          // among the pairs that are worked on; nil if it is the only one
	done      map[string]bool // nodes that are as planned and confirmed
}

func (p *pair) limited() bool { return len(p.nodes) < len(p.Nodes) }

// begin reads the inventories of a command and prepares to work on their nodes.
// Its error has not been shown yet, except an exit. The caller ends the session
// in any case.
func begin(ctx context.Context, w *world, c *cli.Context) (*session, error) {
	o, err := readOptions(c)
	if err != nil {
		return nil, err
	}
	paths, err := files(c, true)
	if err != nil {
		return nil, err
	}
	return open(ctx, w, o, paths)
}

// open is begin for inventories and options that did not come from the arguments.
func open(ctx context.Context, w *world, o options, paths []string) (*session, error) {
	loaded, err := load(ctx, w, o, paths)
	if err != nil {
		return nil, err
	}
	s := &session{w: w, o: o, pairs: loaded}
	if s.pairs, err = limit(loaded, o.limit); err != nil {
		return nil, err
	}
	if err := checkSteps(s.pairs, o); err != nil {
		return nil, err
	}
	given, err := w.sudoPassword(ctx, o.sudoFD)
	if err != nil {
		return nil, err
	}
	s.scr = newScreen(w, o.quiet)
	s.trust = &trust{w: w, scr: s.scr, acceptNew: o.acceptNew, run: ctx}
	s.sudo, s.known, s.jumps = s.trust.password(given), &remote.KnownHosts{}, &remote.JumpHosts{}
	if len(s.pairs) == 1 {
		s.prepare(s.pairs[0])
	}
	return s, nil
}

// end closes all connections and frees the terminal.
func (s *session) end() {
	for _, p := range s.pairs {
		if p.runner != nil {
			p.runner.Close()
		}
	}
	s.scr.close()
}

// deadline bounds ctx by --timeout.
func (s *session) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.o.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, s.o.timeout, fmt.Errorf("not done within %s (--timeout)", s.o.timeout))
}

// limit keeps the nodes that --limit names, and the pairs that have any.
func limit(pairs []*pair, names []string) ([]*pair, error) {
	if len(names) == 0 {
		return pairs, nil
	}
	keep := map[*pair][]string{}
	for _, name := range names {
		cluster, node, qualified := strings.Cut(name, "/")
		if !qualified {
			if node = name; len(pairs) > 1 {
				return nil, fmt.Errorf("--limit %s: of which pair? With several inventories it is --limit CLUSTER/NODE, as in %s", name, nodeName(pairs[0].Name, pairs[0].Nodes[0].Name))
			}
		}
		found := false
		for _, p := range pairs {
			if _, ok := p.Node(node); ok && (!qualified || p.Name == cluster) {
				keep[p] = append(keep[p], node)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("--limit %s: no such node; there are %s", name, some(allNodes(pairs)))
		}
	}
	var out []*pair
	for _, p := range pairs {
		p.nodes = slices.DeleteFunc(slices.Clone(p.Nodes), func(n inventories.Node) bool { return !slices.Contains(keep[p], n.Name) })
		if len(p.nodes) > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

func allNodes(pairs []*pair) []string {
	var names []string
	for _, p := range pairs {
		for _, n := range p.Nodes {
			names = append(names, nodeName(p.label, n.Name))
		}
	}
	return names
}

// checkSteps refuses --only and --skip of steps that do not exist.
func checkSteps(pairs []*pair, o options) error {
	if len(o.only) == 0 && len(o.skip) == 0 {
		return nil
	}
	for _, p := range pairs {
		var names []string
		for _, s := range steps.For(p.Pair, p.Nodes[0]) {
			names = append(names, s.Name())
		}
		for _, name := range slices.Concat(o.only, o.skip) {
			if !slices.Contains(names, name) {
				return fmt.Errorf("there is no step %s; the steps are %s", name, list(names))
			}
		}
	}
	return nil
}

// prepare makes the runner of a pair.
func (s *session) prepare(p *pair) {
	targets := map[string]remote.Target{}
	ssh := s.ssh()
	if p.place != nil {
		ssh.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return p.place.waiting(func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, addr) })
		}
	}
	r := &provision.Runner{
		Roles:  func(f map[string]provision.Facts) map[string]provision.Role { return steps.Role(p.Pair, f) },
		Unused: func(f map[string]provision.Facts) bool { return steps.Unused(p.Pair, f) },
		ID:     s.w.id, Operator: s.w.operator,
		Now:   s.w.now,
		Sleep: sleep,
		Log:   slog.New(slog.DiscardHandler), Redact: p.Secrets().Censor,
		Wanted: func(step string) bool {
			return (len(s.o.only) == 0 || slices.Contains(s.o.only, step)) && !slices.Contains(s.o.skip, step)
		},
	}
	if s.o.verbose {
		r.Log = slog.New(slog.NewTextHandler(s.scr.stderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, n := range p.Nodes {
		targets[n.Name] = target(p.SSH, n)
		node := provision.Node{Name: n.Name, Steps: steps.For(p.Pair, n)}
		if slices.ContainsFunc(p.nodes, func(l inventories.Node) bool { return l.Name == n.Name }) {
			r.Nodes = append(r.Nodes, node)
		} else {
			r.Others = append(r.Others, node)
		}
	}
	r.Dial = func(ctx context.Context, node string, fresh bool) (provision.Conn, error) {
		o := ssh
		o.Fresh = fresh
		c, err := s.trust.dial(ctx, targets[node], o)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	r.Emit = newEventView(s.scr, p.label, s.o.quiet, s.o.verbose).event
	p.runner = r
}

// ssh are what all connections of the session share.
func (s *session) ssh() remote.Options {
	return remote.Options{ConfigFile: s.o.sshConfig, HomeDir: s.w.env("HOME"), AgentSocket: s.w.env("SSH_AUTH_SOCK"), Password: s.sudo, KnownHosts: s.known, JumpHosts: s.jumps}
}

// target is how a node is reached.
func target(s inventories.SSH, n inventories.Node) remote.Target {
	return remote.Target{
		Node: n.Name, Host: n.SSHHost, User: s.User, Port: s.Port, IdentityFile: s.IdentityFile,
		KnownHosts: s.KnownHosts, ProxyJump: s.ProxyJump, Sudo: s.Sudo,
	}
}

// sleep waits, or ends early with ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
