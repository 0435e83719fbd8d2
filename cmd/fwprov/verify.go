package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"fwprov/provision"
)

func verifyCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "is the pair healthy: VIPs answer, one master, state in sync, services up",
		ArgsUsage: "FILE...",
		Flags: slices.Concat([]cli.Flag{jsonFlag(),
			&cli.StringFlag{Name: "junit", Usage: "also write what was found to this `FILE`, as JUnit XML"},
			&cli.BoolFlag{Name: "once", Usage: "judge what is seen first: do not wait for a pair that settles after a change"},
			parallelFlag(),
		}, variableFlags(), nodeFlags()),
		Action: func(c *cli.Context) error {
			if len(c.StringSlice("limit")) > 0 {
				return fmt.Errorf("verify looks at whole pairs: it takes no --limit")
			}
			s, err := begin(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			if err := s.mayWrite("junit", c.String("junit")); err != nil {
				return err
			}
			ctx, cancel := s.deadline(c.Context)
			defer cancel()

			found := make([]provision.Health, len(s.pairs))
			errs := make([]error, len(s.pairs))
			s.verify(ctx, c.Bool("once"), found, errs)
			s.scr.clear()
			code, err := s.showAll(found)
			if err != nil {
				return err
			}
			if name := c.String("junit"); name != "" {
				if err := s.writeJUnit(name, found); err != nil {
					return err
				}
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

// verify looks at all pairs.
func (s *session) verify(ctx context.Context, once bool, found []provision.Health, errs []error) {
	look := func(p *pair) {
		p.runner.Once = once
		i := slices.Index(s.pairs, p)
		found[i], errs[i] = p.runner.Verify(ctx)
	}
	if len(s.pairs) == 1 {
		look(s.pairs[0])
		return
	}
	f := s.fleet()
	f.begin("verified", len(s.pairs))
	left := sideBySide(ctx, f, s.pairs, false, func(_ context.Context, p *pair) seen {
		f.enter(p)
		look(p)
		p.release()
		f.scr.hide(p.label)
		return seen{}
	}, func(*pair, seen) {})
	for _, p := range left {
		errs[slices.Index(s.pairs, p)] = context.Cause(ctx)
	}
}

// seen is the result of a pair that was looked at: what was found is elsewhere.
type seen struct{}

func (seen) failed() bool { return false }

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

// writeJUnit writes what was found for those who read JUnit's form.
func (s *session) writeJUnit(name string, found []provision.Health) error {
	var j junitSuites
	for i, h := range found {
		j.add(s.pairs[i].Name, s.w.now().UTC().Format("2006-01-02T15:04:05"), h)
	}
	text, err := j.text()
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	if err := writeWhole(name, text); err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}

// mayWrite refuses a file that cannot be written, before anything is looked at, and
// one that is an inventory.
func (s *session) mayWrite(flag, name string) error {
	if name == "" {
		return nil
	}
	for _, p := range s.pairs {
		if sameFile(p.file, name) {
			return fmt.Errorf("--%s %s: this is the inventory, which would be lost", flag, name)
		}
	}
	if _, err := os.Stat(filepath.Dir(name)); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}
