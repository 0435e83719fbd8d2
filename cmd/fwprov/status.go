package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/provision"
	"fwprov/steps"
)

func statusCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "who is active since when and why, connections, servers, rates",
		ArgsUsage: "FILE",
		Description: "One look at both nodes, which takes a second: rates are measured meanwhile. Secrets of the inventory are not needed.\n" +
			"Exit code 3 where the pair is degraded or down, 1 where no node answers. verify looks closer.",
		Flags: slices.Concat([]cli.Flag{
			boolFlag("watch", "look again and again, in place, until Ctrl-C; on a terminal"),
			&cli.StringFlag{Name: "prometheus", Usage: "write the figures to this `FILE` for node_exporter's textfile collector"},
			jsonFlag(),
		}, variableFlags(), nodeFlags()),
		Action: func(c *cli.Context) error {
			if len(c.StringSlice("limit")) > 0 {
				return errors.New("status looks at whole pairs: it takes no --limit")
			}
			if c.Bool("watch") && (c.Bool("json") || !w.outTerm || w.dumb()) {
				return errors.New("--watch draws on a terminal: without one, or with --json, ask again yourself")
			}
			s, err := beginWithoutSecrets(c.Context, w, c)
			if err != nil {
				return err
			}
			defer s.end()
			if err := s.mayWrite("prometheus", c.String("prometheus")); err != nil {
				return err
			}
			ctx, cancel := s.deadline(c.Context)
			defer cancel()
			st := statusRun{session: s, pair: s.pairs[0], file: c.String("prometheus")}
			if c.Bool("watch") {
				return st.watch(ctx, c.Context)
			}
			return st.once(ctx, c.Context)
		},
	}
}

// statusRun is one call of status.
type statusRun struct {
	*session
	pair *pair
	file string // of the figures, "" for none
}

// look asks the nodes and writes the figures.
func (r statusRun) look(ctx context.Context) (steps.Status, error) {
	nodes, errs := r.pair.runner.Look(ctx, steps.StatusProbe(r.pair.Pair))
	st := steps.StatusOf(r.pair.Pair, r.w.now(), nodes, errs)
	if r.file == "" || ctx.Err() != nil {
		return st, nil
	}
	if err := writeWhole(r.file, []byte(prometheus(st))); err != nil {
		return st, fmt.Errorf("--prometheus: %w", err)
	}
	return st, nil
}

func (r statusRun) once(ctx, run context.Context) error {
	st, err := r.look(ctx)
	r.scr.clear()
	if run.Err() != nil {
		return run.Err()
	}
	if e := r.show(st); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	return exitWith(statusCode(st))
}

func (r statusRun) show(st steps.Status) error {
	if r.o.json {
		return writeJSON(r.scr.stdout(), st)
	}
	view := statusView{style: r.w.outStyle(), zone: r.w.now().Location(), columns: 80}
	if r.w.outTerm {
		view.columns, _ = r.w.size()
	}
	_, err := r.scr.stdout().Write([]byte(view.render(st)))
	return err
}

// statusCode is the exit code that tells of a status.
func statusCode(st steps.Status) int {
	if !slices.ContainsFunc(st.Nodes, func(n steps.NodeStatus) bool { return n.Error == "" }) {
		return exitError
	}
	if st.State != provision.Healthy {
		return exitUnhealthy
	}
	return exitOK
}

// In a watch a node that does not answer is not waited for as long as elsewhere: the
// other's figures are wanted.
const (
	watchPause   = time.Second
	watchTimeout = 6 * time.Second
)

// watch draws one status over the other until it is interrupted, which is how it
// is meant to end.
func (r statusRun) watch(ctx, run context.Context) error {
	r.pair.runner.Emit = nil // its lines would be drawn between
	frame := frame{}
	for run.Err() == nil {
		one, cancel := context.WithTimeoutCause(ctx, watchTimeout, fmt.Errorf("no answer within %s", watchTimeout))
		st, err := r.look(one)
		cancel()
		if run.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return reason(ctx, ctx.Err())
		}
		view := statusView{style: r.w.outStyle(), zone: r.w.now().Location()}
		columns, rows := r.w.size()
		view.columns = columns
		if _, err := r.scr.stdout().Write([]byte(frame.over(view.render(st), rows))); err != nil {
			return err
		}
		sleep(ctx, watchPause)
	}
	return nil
}
