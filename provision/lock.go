package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"fwprov/provision/remote"
)

// The lock of a node is an flock that a command on the node holds as long as it
// hears from us. It is not freed before the node is confirmed or has gone back:
// the command stays until the mark of a pending change or outage is gone, and until
// the command that works on the node has ended.
const (
	lockFile   = RunDir + "/lock"
	lockHolder = RunDir + "/lock.holder" // four lines: who, from where, since when, run
	lockBeat   = 4 * time.Second
	lockLease  = 15 // seconds of silence after which the lock is given up
	anyStaging = "/tmp/fwprov.?????????? " + newGeneration
)

// LockedError says that somebody else applies to a node.
type LockedError struct {
	Node   string
	Holder string // "alice from admin1 since 2026-11-23T01:02:03Z"
	// Pending: the node has a change that is not confirmed, and keeps the lock
	// until it is or has been taken back, whether its holder is there or not.
	Pending bool
}

func (e *LockedError) Error() string {
	s := fmt.Sprintf("node %s is locked by %s (wait with --lock-timeout; a lock whose holder is gone frees itself within %d s and the confirm time-out)", e.Node, e.Holder, lockLease)
	if e.Pending {
		s += fmt.Sprintf("\n  it has a change that is not confirmed yet; should it not go back by itself in that time, let it, on the node: sh %s now", rollbackSh)
	}
	return s
}

// lockScript takes the lock within wait, says so, and holds it while a byte
// comes at least every lease. Nothing that a step starts inherits it: steps run
// in sessions of their own. What is unfinished when it is taken or
// given up, in staging or of the history, belongs to nobody any more.
func lockScript(mark, operator, run string, since time.Time, wait time.Duration) string {
	return scriptHead + fmt.Sprintf(`umask 077
mkdir -p %[1]s && exec 9>>%[2]s || exit 1
flock -n 9 9<&9 || {
	printf '@%[5]s held %%s\n' "$([ ! -e %[8]s ] || printf 'pending|')$(tr '\n' '|' <%[3]s)"
	[ %[4]d -gt 0 ] && flock -w %[4]d 9 || exit 75
}
printf '%%s\n' %[6]s >%[3]s
rm -rf %[9]s
printf '@%[5]s locked\n'
while [ "$(timeout %[7]d dd bs=1 count=1 2>/dev/null 9>&-)" = . ]; do :; done
busy() {
	[ ! -e %[8]s ] && [ ! -e %[11]s ] || return 0
	read -r pid work <%[10]s && [ "$work" = "$(cut -d ' ' -f 5,22 "/proc/$pid/stat" 9>&-)" ]
} 2>/dev/null
while busy; do sleep 0.2 9>&-; done
rm -rf %[9]s
rm -f %[3]s
`, RunDir, lockFile, lockHolder, (wait+time.Second-1)/time.Second, mark, // flock knows whole seconds
		Quote(operator+"\n"+since.UTC().Format(time.RFC3339)+"\n"+run), lockLease, pendingMark, anyStaging, stepPID, outageMark)
}

// lock is a lock that is held.
type lock struct {
	beat   *io.PipeWriter
	cancel context.CancelFunc
	done   chan struct{}
}

// Lock takes the locks of all nodes, one after the other, so that of several
// operators one gets them all. It waits for each at most wait. From then on the
// nodes are reached by connections of our own. The error is a *LockedError if
// somebody else holds one; then none is held.
func (r *Runner) Lock(ctx context.Context, wait time.Duration) error {
	if err := each(r.Nodes, func(_ int, n Node) error { return r.own(ctx, n.Name) }); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if r.locks[n.Name] != nil {
			continue
		}
		l, err := r.takeLock(ctx, n.Name, wait)
		if err != nil {
			r.Unlock()
			return err
		}
		if r.locks == nil {
			r.locks = map[string]*lock{}
		}
		r.locks[n.Name] = l
	}
	return nil
}

func (r *Runner) takeLock(ctx context.Context, node string, wait time.Duration) (*lock, error) {
	if _, err := r.conn(ctx, node); err != nil {
		return nil, err
	}
	in, beat := io.Pipe()
	held := make(chan string, 1)
	locked := make(chan struct{}, 1)
	session, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &lock{beat: beat, cancel: cancel, done: make(chan struct{})}
	mark := "@" + r.ID + " "
	var res remote.Result
	var execErr error
	go func() {
		defer close(l.done)
		defer in.Close()
		var unreachable error
		unreachable, execErr = r.over(session, node, func(c Conn) (err error) {
			res, err = c.Exec(session, remote.Command{
				Script: lockScript(r.ID, r.Operator, r.ID, r.Now(), wait), Stdin: in,
				OnLine: func(line string) {
					switch rest, ok := strings.CutPrefix(line, mark); {
					case ok && rest == "locked":
						locked <- struct{}{}
					case ok && strings.HasPrefix(rest, "held "):
						held <- strings.TrimPrefix(rest, "held ")
					}
				}})
			return err
		})
		execErr = errors.Join(unreachable, execErr)
	}()
	timeout, stop := context.WithTimeout(ctx, wait+fileTimeout)
	defer stop()
	holder, pending := "", false
	for {
		select {
		case <-locked:
			go l.keep(session)
			return l, nil
		case h := <-held:
			holder, pending = describeHolder(h)
			if wait > 0 {
				r.emit(Event{Event: Waiting, Node: node, Message: fmt.Sprintf("for the lock, at most %s: held by %s", wait, holder)})
			}
		case <-l.done:
			cancel()
			if holder == "" {
				select {
				case h := <-held:
					holder, pending = describeHolder(h)
				default:
				}
			}
			if execErr == nil && res.Code == 75 && holder != "" {
				return nil, &LockedError{Node: node, Holder: holder, Pending: pending}
			}
			if execErr == nil {
				execErr = fmt.Errorf("exit status %d%s", res.Code, firstLines(res.Stderr))
			}
			return nil, fmt.Errorf("node %s: take the lock: %w", node, execErr)
		case <-timeout.Done():
			cancel()
			return nil, fmt.Errorf("node %s: take the lock: %w", node, context.Cause(timeout))
		}
	}
}

// describeHolder makes one line of the holder's file, and reads whether a change is
// pending.
func describeHolder(s string) (holder string, pending bool) {
	s, pending = strings.CutPrefix(s, "pending|")
	p := strings.Split(Printable(s), "|")
	if len(p) < 2 || p[0] == "" {
		return "somebody who has just begun", pending
	}
	return p[0] + " since " + p[1], pending
}

// keep tells the node that we are there.
func (l *lock) keep(ctx context.Context) {
	t := time.NewTicker(lockBeat)
	defer t.Stop()
	for {
		if _, err := l.beat.Write([]byte(".")); err != nil {
			return
		}
		select {
		case <-t.C:
		case <-l.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// release lets the node free the lock, which takes a moment where the mark of a
// change is still there.
func (l *lock) release() {
	_ = l.beat.CloseWithError(io.EOF)
	select {
	case <-l.done:
	case <-time.After(2 * time.Second): // the connection is gone, or the node goes back
		l.cancel()
	}
}

// Unlock frees the locks of all nodes.
func (r *Runner) Unlock() {
	for _, n := range r.Nodes {
		if l := r.locks[n.Name]; l != nil {
			delete(r.locks, n.Name)
			l.release()
		}
	}
}

// Locked reports whether err says that somebody else holds a lock.
func Locked(err error) bool {
	var l *LockedError
	return errors.As(err, &l)
}
