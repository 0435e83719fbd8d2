package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"fwprov/provision"
)

func planCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show what apply would change on each node, and why",
		ArgsUsage: "FILE...",
		Description: "Several inventories are several pairs, looked at side by side. Each that differs or fails has a line then;\n" +
			"the plan itself is shown with it if few differ, and of all with --verbose.",
		Flags: slices.Concat([]cli.Flag{
			jsonFlag(),
			boolFlag("detailed-exitcode", "exit with 2 if there are changes"),
			outFlag(),
			parallelFlag(),
			maxFailuresFlag(),
		}, variableFlags(), nodeFlags(), stepFlags()),
		Action: func(c *cli.Context) error {
			s, err := begin(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			out := c.String("out")
			if out != "" && len(s.pairs) > 1 {
				return fmt.Errorf("--out saves the plan of one inventory, not of %d", len(s.pairs))
			}
			ctx, cancel := s.deadline(c.Context)
			defer cancel()
			if len(s.pairs) > 1 {
				return s.planMany(ctx, c.Context, c.Bool("detailed-exitcode"))
			}

			plans := s.plan(ctx)
			if err := s.showPlans(plans); err != nil {
				return err
			}
			codes := []int{s.planFailures(plans)}
			s.alone(plans)
			if out != "" {
				codes = append(codes, s.save(ctx, out, plans[0]))
			}
			if c.Context.Err() != nil {
				codes = append(codes, exitInterrupted)
			}
			if c.Bool("detailed-exitcode") && slices.ContainsFunc(plans, func(p *provision.Plan) bool { return p.Changes > 0 }) {
				codes = append(codes, exitChanges)
			}
			return exitWith(gravest(codes...))
		},
	}
}

// plan looks at the nodes of all pairs.
func (s *session) plan(ctx context.Context) []*provision.Plan {
	plans := make([]*provision.Plan, len(s.pairs))
	for i, p := range s.pairs {
		plans[i] = p.runner.Plan(ctx)
	}
	return plans
}

// planMany shows the plans of several pairs. run ends when the run is interrupted,
// ctx also when its time is over.
func (s *session) planMany(ctx, run context.Context, detailed bool) error {
	f := s.fleet()
	sum, err := f.plan(ctx, false, f.scr.stdout())
	if err != nil {
		return err
	}
	var codes []int
	switch {
	case run.Err() != nil:
		codes = append(codes, exitInterrupted)
	case sum.broken > 0 || ctx.Err() != nil:
		codes = append(codes, exitError)
	case detailed && sum.changes > 0:
		codes = append(codes, exitChanges)
	}
	return exitWith(gravest(codes...))
}

// showPlans prints the plans of all pairs, in the order of the inventories.
func (s *session) showPlans(plans []*provision.Plan) error {
	view := planView{out: s.scr.stdout(), style: s.w.outStyle(), brief: s.o.quiet}
	for i, p := range plans {
		if s.o.json {
			if err := writeJSON(s.scr.stdout(), newPlanDocument(s.pairs[i].inventory, p)); err != nil {
				return err
			}
			continue
		}
		view.plan(s.pairs[i].label, p)
	}
	if !s.o.json {
		view.total(plans)
	}
	return nil
}

// save saves a plan that is whole, and says so.
func (s *session) save(ctx context.Context, file string, plan *provision.Plan) int {
	err := errors.New("the plan was not saved, since it is not one of all nodes")
	if plan.Err() == nil {
		err = s.savePlan(ctx, file, plan)
	}
	if err != nil {
		printError(s.scr.stderr(), s.scr.style, reason(ctx, err))
		return exitError
	}
	if !s.o.quiet {
		fmt.Fprintf(s.scr.stderr(), "Saved: fwprov apply %s carries it out.\n", file)
	}
	return exitOK
}

// planFailures tells on standard error why nodes have no plan.
func (s *session) planFailures(plans []*provision.Plan) int {
	code := exitOK
	for i, p := range plans {
		if p.Err() != nil {
			planErrors(s.scr.stderr(), s.scr.style, s.pairs[i].label, p)
			code = exitError
		}
	}
	return code
}
