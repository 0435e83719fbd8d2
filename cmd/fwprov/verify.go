package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"fwprov/provision"
)

func verifyCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "is the pair healthy: VIPs answer, one master, state in sync, services up",
		ArgsUsage: "FILE...",
		Flags:     slices.Concat([]cli.Flag{jsonFlag()}, variableFlags(), nodeFlags()),
		Action: func(c *cli.Context) error {
			if len(c.StringSlice("limit")) > 0 {
				return fmt.Errorf("verify looks at whole pairs: it takes no --limit")
			}
			s, err := begin(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			ctx, cancel := s.deadline(c.Context)
			defer cancel()

			found := make([]provision.Health, len(s.pairs))
			errs := make([]error, len(s.pairs))
			var g errgroup.Group
			g.SetLimit(pairsAtOnce)
			for i, p := range s.pairs {
				g.Go(func() error {
					found[i], errs[i] = p.runner.Verify(ctx)
					return nil
				})
			}
			_ = g.Wait()
			s.scr.clear()
			code, err := s.showAll(found)
			if err != nil {
				return err
			}
			codes := []int{code}
			for i, err := range errs {
				if err != nil {
					printError(s.scr.stderr(), s.scr.style, fmt.Errorf("verify %s: %w", s.pairs[i].Name, reason(ctx, err)))
					codes = append(codes, exitError)
				}
			}
			if c.Context.Err() != nil {
				codes = append(codes, exitInterrupted)
			}
			return exitWith(gravest(codes...))
		},
	}
}

// showAll prints what was found and returns the exit code for it.
func (s *session) showAll(found []provision.Health) (int, error) {
	view := healthView{out: s.scr.stdout(), style: s.w.outStyle(), brief: s.o.quiet}
	code := exitOK
	for i, h := range found {
		if h.State != provision.Healthy {
			code = exitUnhealthy
		}
		if s.o.json {
			if err := writeJSON(s.scr.stdout(), newHealthDocument(s.pairs[i].inventory, h)); err != nil {
				return code, err
			}
			continue
		}
		view.health(s.pairs[i].label, h)
	}
	return code, nil
}
