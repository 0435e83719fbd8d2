package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/cmd/fwprov/drill"
	"fwprov/provision"
	"fwprov/steps"
)

func drillCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "drill",
		Usage:     "fail over on purpose and measure what a client notices",
		ArgsUsage: "FILE",
		Description: "Pings and new connections to every VIP and service, one long routed connection and one proxied, go on from here\n" +
			"(and from --from HOST, over SSH) while the active node is taken down and comes back, in each of the ways of --by.\n" +
			"Connections through HAProxy break, routed ones should not. It asks first on a terminal; with --yes, or without a\n" +
			"terminal, it does not. It refuses on a pair that is not healthy. A node puts itself back, even if fwprov is killed.\n" +
			"Exit code 3 where the pair is degraded or down, before or afterwards.",
		Flags: slices.Concat([]cli.Flag{
			boolFlag("yes", "do not ask"),
			&cli.StringSliceFlag{Name: "by", DefaultText: "drain, keepalived", Usage: "take the active node down in this `WAY`: drain, keepalived (it is stopped), interfaces (all are set down); one after the other"},
			&cli.DurationFlag{Name: "down", Value: 5 * time.Second, Usage: "how long the node stays down each time, a `DURATION` from 1s to 1m"},
			&cli.DurationFlag{Name: "interval", Value: 10 * time.Millisecond, Usage: "a `DURATION` between two pings of a VIP, from 5ms to 1s; longer with many VIPs"},
			&cli.StringFlag{Name: "from", Usage: "probe from this `HOST` too, as [USER@]HOST[:PORT], over SSH: it needs ping, and bash for connections"},
			&cli.StringFlag{Name: "routed", DefaultText: "a server that an allow lets through", Usage: "hold a routed connection to `ADDRESS:PORT`"},
			&cli.StringFlag{Name: "report", Usage: "write the timeline to this `FILE`, a page of HTML in one piece"},
			jsonFlag(), lockFlag(),
		}, variableFlags(), nodeFlags()),
		Action: func(c *cli.Context) error {
			d, err := readDrill(c)
			if err != nil {
				return err
			}
			if _, err := files(c, false); err != nil {
				return err
			}
			if d.session, err = begin(c.Context, w, c); err != nil {
				return err
			}
			defer d.end()
			d.pair = d.pairs[0]
			if err := d.mayWrite("report", d.report); err != nil {
				return err
			}
			return d.execute(c.Context)
		},
	}
}

// drillRun is one call of drill.
type drillRun struct {
	*session
	pair        *pair
	ways        []steps.Way
	down        time.Duration
	interval    time.Duration
	from        string // the host of --from, "" for none
	routed      string // --routed
	report      string // file, "" for none
	yes         bool
	lockTimeout time.Duration
}

// Bounds of what can be asked for.
const (
	minDown, maxDown         = time.Second, time.Minute
	minInterval, maxInterval = 5 * time.Millisecond, time.Second
)

func readDrill(c *cli.Context) (*drillRun, error) {
	if len(c.StringSlice("limit")) > 0 {
		return nil, errors.New("drill needs the whole pair: it takes no --limit")
	}
	d := &drillRun{down: c.Duration("down"), interval: c.Duration("interval"), from: c.String("from"), routed: c.String("routed"),
		report: c.String("report"), yes: c.Bool("yes"), lockTimeout: c.Duration("lock-timeout")}
	for _, w := range words(c.StringSlice("by")) {
		way := steps.Way(w)
		if !slices.Contains(steps.Ways(), way) {
			return nil, fmt.Errorf("--by %s: known are drain, keepalived and interfaces", w)
		}
		d.ways = append(d.ways, way)
	}
	if len(d.ways) == 0 {
		// Two, so that the VIPs end where they began.
		d.ways = []steps.Way{steps.ByDrain, steps.ByStop}
	}
	if d.down < minDown || d.down > maxDown {
		return nil, fmt.Errorf("--down %s: a duration from %s to %s", d.down, minDown, maxDown)
	}
	if d.interval < minInterval || d.interval > maxInterval {
		return nil, fmt.Errorf("--interval %s: a duration from %s to %s", d.interval, minInterval, maxInterval)
	}
	if d.routed != "" {
		if _, err := steps.ParseTarget(d.routed); err != nil {
			return nil, fmt.Errorf("--routed %s: %w", d.routed, err)
		}
	}
	return d, checkLockTimeout(c)
}

// limit is the time in which the whole drill ends, whatever happens. What is down
// then puts itself back.
func (d *drillRun) limit() time.Duration {
	return 2*time.Minute + time.Duration(len(d.ways))*(4*time.Minute+d.down)
}

// execute is the drill, and its exit code as an error.
func (d *drillRun) execute(run context.Context) error {
	ctx, cancel := d.deadline(run)
	defer cancel()
	ctx, stop := context.WithTimeoutCause(ctx, d.limit(), fmt.Errorf("the drill did not end within %s", d.limit()))
	defer stop()
	defer d.w.farewell.set(nil, nil)
	rep, err := d.drill(ctx)
	d.scr.clear()
	var code exit
	if errors.As(err, &code) {
		return err
	}
	codes := []int{exitOK}
	if rep != nil {
		if e := d.show(*rep); e != nil {
			return e
		}
		if rep.State != string(provision.Healthy) {
			codes = append(codes, exitUnhealthy)
		}
	}
	if err != nil {
		printError(d.scr.stderr(), d.scr.style, reason(ctx, err))
		codes = append(codes, exitError)
		if provision.Locked(err) {
			codes = append(codes, exitLocked)
		}
	}
	if run.Err() != nil {
		codes = append(codes, exitInterrupted)
	}
	return exitWith(gravest(codes...))
}

// drill is the whole of it. The report is nil where nothing was taken down; else it
// tells as much as there is, whatever went wrong.
func (d *drillRun) drill(ctx context.Context) (*drill.Report, error) {
	r := d.pair.runner
	if err := r.Lock(ctx, d.lockTimeout); err != nil {
		return nil, err
	}
	h, err := r.Verify(ctx)
	if err != nil {
		return nil, err
	}
	if h.State != provision.Healthy {
		return nil, d.refuse(h)
	}
	active, err := d.active(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.agree(ctx, active); err != nil {
		return nil, err
	}
	far, err := d.reach(ctx)
	if err != nil {
		return nil, err
	}
	defer far.close()
	rep := &drill.Report{Cluster: d.pair.Name, Time: d.w.now(), Operator: d.w.operator, State: "unknown",
		Problems: []drill.Problem{}, Exercises: []drill.Exercise{}, Notes: []string{}}
	for i, way := range d.ways {
		e := &exercise{drillRun: d, far: far, rep: rep, way: way, node: active, name: fmt.Sprintf("%s-%d", d.w.id, i+1)}
		if err := e.run(ctx); err != nil {
			if len(rep.Exercises) == 0 {
				return nil, err
			}
			return rep, err
		}
		if rep.State != string(provision.Healthy) {
			if i+1 < len(d.ways) {
				fmt.Fprintf(d.scr.stderr(), "The pair is not whole again: %s is left out.\n", d.ways[i+1])
			}
			return rep, nil
		}
		if active, err = d.active(ctx); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// refuse says why a pair is left alone.
func (d *drillRun) refuse(h provision.Health) error {
	d.scr.clear()
	healthView{out: d.scr.stderr(), style: d.scr.style, brief: true}.health("", h)
	fmt.Fprintln(d.scr.stderr(), "Nothing was taken down: a drill needs a healthy pair.")
	return exit(exitUnhealthy)
}

// active is the node that holds the VIPs.
func (d *drillRun) active(ctx context.Context) (string, error) {
	nodes, errs := d.pair.runner.Look(ctx, steps.StatusProbe(d.pair.Pair))
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	st := steps.StatusOf(d.pair.Pair, d.w.now(), nodes, errs)
	if st.Active == "" {
		return "", errors.New("it is not exactly one node that holds the VIPs: fwprov status tells more")
	}
	return st.Active, nil
}

// agree says what is going to happen, and asks on a terminal. Nobody else waits for
// the locks while a person thinks.
func (d *drillRun) agree(ctx context.Context, active string) error {
	d.scr.clear()
	if !d.o.quiet || d.w.inTerm && !d.yes {
		_, _ = d.scr.stderr().Write([]byte(foretold(d.pair.Pair, d.ways, active, d.down)))
	}
	if d.yes || !d.w.inTerm {
		return nil
	}
	if !d.w.canAsk() {
		return errors.New("standard input is a terminal, but there is none to ask on: give --yes to drill without a question")
	}
	d.pair.runner.Unlock()
	answer, err := d.w.ask(ctx, "Begin? Only yes is taken as one: ", false)
	if err != nil {
		return err
	}
	if answer != "yes" {
		return errors.New("not confirmed; nothing was taken down")
	}
	return d.pair.runner.Lock(ctx, d.lockTimeout)
}

// show prints the report and writes the page.
func (d *drillRun) show(rep drill.Report) error {
	if d.report != "" {
		if err := writeWhole(d.report, []byte(drill.HTML(rep, d.w.now().Location()))); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if d.o.json {
		return writeJSON(d.scr.stdout(), rep)
	}
	_, err := d.scr.stdout().Write([]byte(drillView{style: d.w.outStyle(), zone: d.w.now().Location()}.render(rep)))
	return err
}
