package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/steps"
)

func historyCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "what was applied when, by whom and from which inventory",
		ArgsUsage: "FILE",
		Description: "Each apply that was kept is a generation on the nodes it changed; the last 20 stay.\n" +
			"--verbose lists the changes of each. Secrets of the inventory are not needed.",
		Flags: slices.Concat([]cli.Flag{jsonFlag()}, variableFlags(), nodeFlags()),
		Action: func(c *cli.Context) error {
			s, err := beginWithoutSecrets(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			ctx, cancel := s.deadline(c.Context)
			defer cancel()
			all, failed := s.pairs[0].history(ctx)
			s.scr.clear()
			if err := s.showHistory(s.pairs[0], all); err != nil {
				return err
			}
			code := exitOK
			if failed != nil {
				printError(s.scr.stderr(), s.scr.style, reason(ctx, failed))
				code = exitError
			}
			if c.Context.Err() != nil {
				code = gravest(code, exitInterrupted)
			}
			return exitWith(code)
		},
	}
}

// beginWithoutSecrets is begin for commands that need the nodes of one inventory
// and not what they have to be.
func beginWithoutSecrets(ctx context.Context, w *world, c *cli.Context) (*session, error) {
	o, err := readOptions(c)
	if err != nil {
		return nil, err
	}
	paths, err := files(c, false)
	if err != nil {
		return nil, err
	}
	o.withoutSecrets = true
	return open(ctx, w, o, paths)
}

// generation is one apply of a pair: what its nodes have of it, by name.
type generation struct {
	provision.Generation // without Changes
	nodes                map[string]provision.Generation
}

// where lists the nodes that have the generation, in the order of the pair.
func (g *generation) where(p *pair) []string {
	var out []string
	for _, n := range p.nodes {
		if _, ok := g.nodes[n.Name]; ok {
			out = append(out, n.Name)
		}
	}
	return out
}

// history reads the generations of a pair, the oldest first. The error says what
// could not be read, beside what could.
func (p *pair) history(ctx context.Context) ([]*generation, error) {
	found, err := p.runner.History(ctx)
	byRun := map[string]*generation{}
	var all []*generation
	for _, n := range p.nodes {
		for _, g := range found[n.Name] {
			one := byRun[g.Run]
			if one == nil {
				one = &generation{Generation: g, nodes: map[string]provision.Generation{}}
				one.Changes = nil
				byRun[g.Run] = one
				all = append(all, one)
			}
			one.nodes[n.Name] = g
		}
	}
	slices.SortStableFunc(all, func(a, b *generation) int {
		if a.N != b.N {
			return a.N - b.N
		}
		return a.Time.Compare(b.Time)
	})
	return all, err
}

func rollbackCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "make the nodes what an earlier apply made them",
		ArgsUsage: "FILE",
		Description: "It is an apply of what the nodes' history has, with the secrets of then: planned, shown, confirmed.\n" +
			"FILE only tells how the nodes are reached. It is not changed: the next apply of it takes the rollback back.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "to", DefaultText: "the last that differs from the present one", Usage: "the generation, a number `N` of fwprov history"},
			jsonFlag(),
		}, applyFlags(), variableFlags(), nodeFlags(), stepFlags()),
		Action: func(c *cli.Context) error {
			if err := checkApplyFlags(c); err != nil {
				return err
			}
			s, err := beginWithoutSecrets(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			p := s.pairs[0]
			ctx, cancel := s.deadline(c.Context)
			defer cancel()
			all, err := p.history(ctx)
			if err != nil {
				return reason(ctx, err)
			}
			g, err := choose(all, c.String("to"))
			if err != nil {
				return err
			}
			if err := p.backTo(ctx, g); err != nil {
				return reason(ctx, err)
			}
			a := newApplication(c, s)
			p.runner.Record.Origin, p.runner.Record.Note = g.Origin, fmt.Sprintf("rollback to %d", g.N)
			if !s.o.quiet {
				fmt.Fprintf(s.scr.stderr(), "Back to %s\n", describeGeneration(g, w.now().Location()))
			}
			return a.execute(c.Context)
		},
	}
}

// choose finds the generation to go back to: the one with a number, or a run's name
// where two have the same, or else the last whose inventory meant something else
// than the present one's.
func choose(all []*generation, to string) (*generation, error) {
	if len(all) == 0 {
		return nil, errors.New("the nodes have no history: nothing was applied yet")
	}
	if to == "" {
		present := all[len(all)-1]
		for _, g := range slices.Backward(all) {
			if !g.same(present) {
				return g, nil
			}
		}
		return nil, errors.New("the history has nothing else than what is in force: there is nothing to go back to")
	}
	var found []*generation
	for _, g := range all {
		if strconv.Itoa(g.N) == to || g.Run == to {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("--to %s: there is no such generation; the history has %s", to, numbers(all))
	case 1:
		return found[0], nil
	}
	var runs []string
	for _, g := range found {
		runs = append(runs, fmt.Sprintf("--to %s (%s)", g.Run, list(slices.Sorted(maps.Keys(g.nodes)))))
	}
	return nil, fmt.Errorf("--to %s: the nodes have different ones under that number: %s", to, strings.Join(runs, ", "))
}

// same reports whether two generations were made from inventories that mean the
// same.
func (g *generation) same(o *generation) bool { return g.SameSource(o.Generation) }

func numbers(all []*generation) string {
	var out []string
	for _, g := range all {
		out = append(out, strconv.Itoa(g.N))
	}
	return list(slices.Compact(out))
}

// backTo makes the pair what a generation made it. How its nodes are reached stays.
func (p *pair) backTo(ctx context.Context, g *generation) error {
	where := g.where(p)
	text, err := p.runner.Source(ctx, where[0], g.nodes[where[0]])
	if err != nil {
		return err
	}
	for _, name := range where[1:] {
		if !g.nodes[name].SameSource(g.nodes[where[0]]) {
			return fmt.Errorf("generation %d of %s is not that of %s: one was changed by hand", g.N, where[0], name)
		}
	}
	then, err := inventories.ReadRecord(text)
	if err != nil {
		return fmt.Errorf("generation %d, made by fwprov %s: %w", g.N, provision.Printable(g.Tool), err)
	}
	for _, nodes := range [][]provision.Node{p.runner.Nodes, p.runner.Others} {
		for i, n := range nodes {
			was, ok := then.Node(n.Name)
			if !ok {
				return fmt.Errorf("generation %d is of %s and %s: it has no %s", g.N, then.Nodes[0].Name, then.Nodes[1].Name, n.Name)
			}
			nodes[i].Steps = steps.For(then, was)
		}
	}
	nodes := slices.DeleteFunc(slices.Clone(then.Nodes), func(n inventories.Node) bool {
		return !slices.ContainsFunc(p.nodes, func(l inventories.Node) bool { return l.Name == n.Name })
	})
	p.Pair, p.nodes, p.runner.Redact = then, nodes, then.Secrets().Censor
	return nil
}
