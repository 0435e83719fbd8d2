package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"fwprov/inventories"
	"fwprov/provision"
)

func drainCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "drain",
		Usage:     "hand the VIPs to the peer for maintenance, and keep them there",
		ArgsUsage: "FILE NODE",
		Description: "The peer takes over and routed connections survive; proxied ones end. The node stays drained, across reboots too,\n" +
			"until fwprov undrain. It is refused where the peer could not serve.",
		Flags: drainFlags(),
		Action: func(c *cli.Context) error {
			return withNode(w, c, func(ctx context.Context, s *session, p *pair, node string) error {
				err := p.runner.Lock(ctx, c.Duration("lock-timeout"))
				if err == nil {
					s.parting(p, node, "may be drained")
					err = p.runner.Drain(ctx, node)
				}
				if err != nil {
					return err
				}
				return s.said(p, node, "drained", fmt.Sprintf("%s is drained, %s serves. fwprov undrain %s %s takes it back.", node, p.Peer(node).Name, p.file, node))
			})
		},
	}
}

func undrainCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:        "undrain",
		Usage:       "take a drained node back as standby",
		ArgsUsage:   "FILE NODE",
		Description: "The VIPs stay where they are. It returns when the node could take over again.",
		Flags:       drainFlags(),
		Action: func(c *cli.Context) error {
			return withNode(w, c, func(ctx context.Context, s *session, p *pair, node string) error {
				// The peer may be the one that is down: only this node is locked.
				p.only(node)
				err := p.runner.Lock(ctx, c.Duration("lock-timeout"))
				if err == nil {
					s.parting(p, node, "may still be drained")
					err = p.runner.Undrain(ctx, node)
				}
				var not *provision.NotReadyError
				if errors.As(err, &not) {
					printError(s.scr.stderr(), s.scr.style, fmt.Errorf("%s is drained no more, but it could not take over from %s yet:%s", node, p.Peer(node).Name, not.Reasons()))
					return exit(exitUnhealthy)
				}
				if err != nil {
					return err
				}
				return s.said(p, node, "undrained", fmt.Sprintf("%s is back and could take over from %s.", node, p.Peer(node).Name))
			})
		},
	}
}

func drainFlags() []cli.Flag {
	keep := func(f cli.Flag) bool { return f.Names()[0] != "limit" }
	flags := []cli.Flag{jsonFlag(), lockFlag()}
	for _, f := range slices.Concat(variableFlags(), nodeFlags()) {
		if keep(f) {
			flags = append(flags, f)
		}
	}
	return flags
}

// withNode runs a command on one node of one pair.
func withNode(w *world, c *cli.Context, do func(context.Context, *session, *pair, string) error) error {
	if err := checkLockTimeout(c); err != nil {
		return err
	}
	args := c.Args().Slice()
	if len(args) != 2 {
		return fmt.Errorf("which inventory and which node? %s FILE NODE", c.Command.HelpName)
	}
	o, err := readOptions(c)
	if err != nil {
		return err
	}
	o.withoutSecrets = true
	s, err := open(c.Context, w, o, args[:1])
	if err != nil {
		return err
	}
	defer s.end()
	p, node := s.pairs[0], args[1]
	if _, ok := p.Node(node); !ok {
		return fmt.Errorf("there is no node %s; there are %s", node, list(allNodes(s.pairs)))
	}
	if o.json {
		p.runner.Emit = func(e provision.Event) { _ = writeJSON(s.scr.stdout(), eventDocument{p.inventory, e}) }
	}
	ctx, cancel := s.deadline(c.Context)
	defer cancel()
	defer w.farewell.set(nil, nil)
	err = do(ctx, s, p, node)
	s.scr.clear()
	var code exit
	if err == nil || errors.As(err, &code) {
		return err
	}
	printError(s.scr.stderr(), s.scr.style, reason(ctx, err))
	codes := []int{exitError}
	if c.Context.Err() != nil {
		codes = append(codes, exitInterrupted)
	}
	if provision.Locked(err) {
		codes = append(codes, exitLocked)
	}
	return exitWith(gravest(codes...))
}

// parting tells who interrupts what becomes of the node. Nothing on it ends a
// drain that is kept.
func (s *session) parting(p *pair, node, state string) {
	s.w.farewell.set(func() {
		fmt.Fprintln(s.scr.stderr(), "interrupted: what was begun is finished; once more drops the connection")
	}, func() {
		s.scr.clear()
		fmt.Fprintf(s.scr.stderr(), "The connection was dropped. %s %s: fwprov verify %s tells, fwprov undrain %s %s takes it back.\n", node, state, p.file, p.file, node)
	})
}

// only leaves the named node alone in the run of a pair.
func (p *pair) only(node string) {
	r := p.runner
	all := append(r.Nodes, r.Others...)
	r.Nodes, r.Others = nil, nil
	for _, n := range all {
		if n.Name == node {
			r.Nodes = append(r.Nodes, n)
		} else {
			r.Others = append(r.Others, n)
		}
	}
	p.nodes = slices.DeleteFunc(slices.Clone(p.nodes), func(n inventories.Node) bool { return n.Name != node })
}

// said tells how a command ended.
func (s *session) said(p *pair, node, event, text string) error {
	s.scr.clear()
	if s.o.json {
		return writeJSON(s.scr.stdout(), eventDocument{p.inventory, provision.Event{Time: s.w.now(), Event: "summary", Node: node, Message: event}})
	}
	_, err := fmt.Fprintln(s.scr.stdout(), text)
	return err
}

// alone says how to go on where one node of a pair cannot be planned.
func (s *session) alone(plans []*provision.Plan) {
	for i, p := range s.pairs {
		alone(s.scr.stderr(), p, plans[i])
	}
}

func alone(out io.Writer, p *pair, plan *provision.Plan) {
	if p.limited() {
		return
	}
	var failed, others []string
	for _, n := range plan.Nodes {
		var found provision.Findings
		switch {
		case n.Err != nil && !errors.As(n.Err, &found):
			failed = append(failed, n.Name)
		case n.Err == nil && len(n.Changes) > 0:
			others = append(others, n.Name)
		}
	}
	if len(failed) == 1 && len(others) == 1 {
		fmt.Fprintf(out, "%s cannot be looked at, and %s is not changed without knowing whether somebody could take over from it.\n"+
			"To make the changes above on it all the same: fwprov apply %s --limit %s --force\n",
			nodeName(p.label, failed[0]), nodeName(p.label, others[0]), p.file, others[0])
	}
}
