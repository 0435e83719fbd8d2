package provision

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"fwprov/provision/remote"
)

// Outage takes a node out of service for a while. Before anything is taken down
// systemd on the node is told to put it back, so that it comes back whatever
// becomes of this run:
//
//	/run/fwprov/outage/
//	    pending    the outage that is not over; there only while one is
//	    back.sh    ends it; can be run by hand and again at any time
//	    down.sh    what takes the node down, where that may cut the connection
//
// All of it is in /run: what it takes down must be up again after a reboot.
type Outage struct {
	Name string // letters, digits and -; no two outages of a node have the same
	Does string // what is told when it begins
	// Down and Back are sh fragments, run as root under set -eu in a folder that
	// both share. Back must do no harm where Down has not run, or Back has.
	Down, Back string
	// Cuts says that Down may cut the connection: systemd runs it, a moment later.
	Cuts bool
	// Within is after how long the node puts itself back.
	Within time.Duration
}

const (
	outageDir  = RunDir + "/outage"
	outageMark = outageDir + "/pending"
	outageBack = outageDir + "/back.sh"
)

// outageTries is how often a node tries to put itself back. Then what is still down
// is left to others: the lock of the node is not freed before.
const outageTries = 10

// outageFailed is the exit status where an earlier outage is not over.
const outageFailed = 75

// Replaceable makes sure that a peer could take over from a node, waiting for it as
// long as that may take after a change. The error is a *NotReadyError if none could.
func (r *Runner) Replaceable(ctx context.Context, node string) error {
	for _, peer := range r.peers(node) {
		if err := r.awaitReady(ctx, peer, node, false); err != nil {
			return err
		}
	}
	return nil
}

// TakeDown begins an outage of a node. The caller has the locks, and calls PutBack
// in any case. What was begun is finished when ctx ends.
func (r *Runner) TakeDown(ctx context.Context, node string, o Outage) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.emit(Event{Event: Draining, Node: node, Message: o.Does})
	_, err := r.exec(context.WithoutCancel(ctx), node, "take it down", stepTimeout, remote.Command{Script: o.downScript(r.ID)})
	return err
}

// PutBack ends the outage of a node. It does nothing where there is none. A node
// whose connection was cut is asked again over a new one, until it answers or ctx
// ends.
func (r *Runner) PutBack(ctx context.Context, node string) error {
	script := scriptHead + "[ ! -e " + outageBack + " ] || exec /bin/sh " + outageBack + "\n"
	for {
		_, err := r.exec(ctx, node, "put it back", putBackTimeout, remote.Command{Script: script})
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.Sleep(ctx, readyPause)
		if ctx.Err() != nil {
			return err
		}
	}
}

// putBackTimeout is how long one try to reach a node lasts that may have been cut
// off.
const putBackTimeout = 15 * time.Second

// downScript arms the way back, then takes the node down.
func (o Outage) downScript(mark string) string {
	var b strings.Builder
	unit := "fwprov-outage-" + o.Name
	here := func(name, text string) {
		fmt.Fprintf(&b, "cat >%[1]s <<'@%[2]s'\n%[3]s\n@%[2]s\n", name, mark, strings.TrimRight(text, "\n"))
	}
	b.WriteString(scriptHead + "set -eu\numask 077\n")
	fmt.Fprintf(&b, "[ ! -e %s ] || { echo 'an earlier outage of this node is not over; it ends by itself, or now with: sh %s' >&2; exit %d; }\n",
		outageMark, outageBack, outageFailed)
	fmt.Fprintf(&b, "rm -rf %[1]s.new\nmkdir -p %[1]s.new\ncd %[1]s.new\n", outageDir)
	here("back.sh", o.backScript(unit))
	here("down.sh", scriptHead+"cd "+outageDir+" || exit 1\nset -eu\n"+o.Down)
	fmt.Fprintf(&b, `echo %[1]s >pending
rm -rf %[2]s
mv %[2]s.new %[2]s
systemd-run --quiet --on-active=%[3]dms --on-unit-inactive=%[4]ds --timer-property=AccuracySec=100ms --unit=%[5]s /bin/sh %[6]s
`, o.Name, outageDir, o.Within.Milliseconds(), timerAgain, unit, outageBack)
	if o.Cuts {
		// The answer to this command is on its way by then.
		fmt.Fprintf(&b, "systemd-run --quiet --unit=%[1]s-down /bin/sh -c 'sleep 0.3; exec /bin/sh %[2]s/down.sh'\n", unit, outageDir)
	} else {
		fmt.Fprintf(&b, "/bin/sh %s/down.sh </dev/null >&2\n", outageDir)
	}
	return b.String()
}

// backScript is run by the timer again and again until it has succeeded.
func (o Outage) backScript(unit string) string {
	return fmt.Sprintf(`#!/bin/sh
# Managed by fwprov: ends an outage that was made on purpose.
%[1]scd %[2]s || exit 0
if [ -e pending ]; then
	echo >>tries
	(
	set -eu
%[3]s
	) </dev/null >&2
	# set -e does nothing before ||
	[ $? -eq 0 ] || [ "$(grep -c '' tries)" -ge %[5]d ] || exit 1
	rm -f pending
fi
systemctl --no-block stop %[4]s.timer 2>/dev/null
exit 0
`, scriptHead, outageDir, strings.TrimRight(o.Back, "\n"), unit, outageTries)
}

// Follow runs a script on a node that goes on until ctx ends or its standard input
// does, and hands on its lines. It is a session of its own on the connection that
// is there, and may be called concurrently. The error is nil where ctx has ended.
func (r *Runner) Follow(ctx context.Context, node, script string, stdin io.Reader, onLine func(string)) error {
	var res remote.Result
	unreachable, err := r.over(ctx, node, func(c Conn) (err error) {
		res, err = c.Exec(ctx, remote.Command{Script: scriptHead + script, Stdin: stdin, OnLine: onLine})
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case unreachable != nil:
		return unreachable
	case err != nil:
		return fmt.Errorf("node %s: watch it: %w", node, err)
	case res.Code != 0:
		return fmt.Errorf("node %s: watch it: exit status %d%s", node, res.Code, firstLines(res.Stderr))
	}
	return nil
}

// Ask runs a script on a node that only reads, and returns what it printed. what
// completes "could not ..." in the error.
func (r *Runner) Ask(ctx context.Context, node, what, script string) (string, error) {
	res, err := r.exec(ctx, node, what, fileTimeout, remote.Command{Script: scriptHead + script})
	return string(res.Stdout), err
}
