package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/provision/remote"
)

// armed is a machine with a snapshot of before and a timer, and the guard of the
// run that is about to change it.
func armed(t *testing.T, last Step) (*machine, guard, *NodePlan) {
	t.Helper()
	m := guardMachine(t)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(last), nil)
	p := r.Plan(context.Background())
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	n := p.Nodes[0]
	g := newGuard(r.ID, n)
	m.hold(t, r.ID)
	if res := m.sh(t, g.armScript(time.Minute)); res.Code != 0 {
		t.Fatalf("%d %s", res.Code, res.Stderr)
	}
	return m, g, n
}

// hold makes a run the holder of the machine's lock.
func (m *machine) hold(t *testing.T, run string) {
	t.Helper()
	if err := os.MkdirAll(m.root+RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.write(t, lockHolder, "op from here\n2026-11-23T01:02:03Z\n"+run+"\n")
}

func (m *machine) sh(t *testing.T, script string) remote.Result {
	t.Helper()
	res, err := m.Exec(context.Background(), remote.Command{Script: script})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// change is the script of the changes of a step, under the guard or not.
func (m *machine) change(t *testing.T, g guard, n *NodePlan, step string) string {
	t.Helper()
	staged := map[string]string{}
	var changes []Change
	for _, c := range n.Changes {
		if c.Step == step {
			changes = append(changes, c)
			if c.Write != nil {
				staged[c.Write.Path] = "/tmp/fwprov." + filepath.Base(c.Write.Path)
				m.write(t, staged[c.Write.Path], string(c.Write.Content))
			}
		}
	}
	return g.guarded(time.Minute) + stepScript(g.mark, batch{changes: changes, last: true}, staged, nil)
}

func (m *machine) missing(path string) bool {
	_, err := os.Lstat(m.root + path)
	return err != nil
}

func TestTimerGoesByTheLastChange(t *testing.T) {
	m, g, n := armed(t, switchStep{})
	before := m.tree(t)
	if res := m.sh(t, m.change(t, g, n, "web")); res.Code != 0 {
		t.Fatalf("%d %s%s", res.Code, res.Stdout, res.Stderr)
	}
	after := m.tree(t)
	timer := scriptHead + "sh " + rollbackSh + " timer " + g.mark
	done := make(chan remote.Result, 2)
	go func() { done <- m.sh(t, timer) }()
	m.sh(t, scriptHead+"sh "+rollbackSh+" timer another")
	select {
	case res := <-done:
		t.Errorf("it did not wait: %d %s", res.Code, res.Stderr)
	case <-time.After(300 * time.Millisecond): // to see that nothing happens
	}
	if d := cmp.Diff(after, m.tree(t)); d != "" || m.missing(pendingMark) {
		t.Errorf("it went back before its time, or for another run:\n%s", d)
	}
	m.write(t, deadline, "1\n")
	if res := <-done; res.Code != 0 {
		t.Errorf("%d %s", res.Code, res.Stderr)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
	if !m.missing("/etc/systemd/system/web.service.d") {
		t.Error("a folder that was not there is left")
	}
}

// TestCommandThatComesLate: the connection has stalled, and the command arrives
// when the node has gone back.
func TestCommandThatComesLate(t *testing.T) {
	m, g, n := armed(t, switchStep{})
	before, late := m.tree(t), m.change(t, g, n, "web")
	m.sh(t, g.backScript())
	for what, script := range map[string]string{"a step": late, "the confirmation": g.disarmScript("touch /etc/confirmed\n", ""),
		"the new connection": g.reachedScript(time.Minute)} {
		if res := m.sh(t, script); res.Code != wentBack || !strings.Contains(string(res.Stderr), "back to what it was") { // has gone, or is just ending
			t.Errorf("%s that comes late: %d %s", what, res.Code, res.Stderr)
		}
	}
	m.hold(t, "later")
	for what, script := range map[string]string{"preparing": g.armScript(time.Minute), "installing": g.unguarded() + "touch /etc/installed\n"} {
		if res := m.sh(t, script); res.Code != wentBack || !strings.Contains(string(res.Stderr), "lost its lock") {
			t.Errorf("%s after another has taken the lock: %d %s", what, res.Code, res.Stderr)
		}
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// stuckStep has a change that does not end, and starts a child.
type stuckStep struct{ switchStep }

func (s stuckStep) Plan(f Facts) ([]Change, error) {
	c, err := s.switchStep.Plan(f)
	for i := range c {
		c[i].Script = "touch /etc/begun\n( while sleep 0.05; do echo on >/etc/switch; done ) &\nwait\n"
	}
	return c, err
}

func TestCommandInHandIsEnded(t *testing.T) {
	m, g, n := armed(t, stuckStep{})
	before := m.tree(t)
	done := make(chan remote.Result, 1)
	script := m.change(t, g, n, "switch")
	go func() { done <- m.sh(t, script) }()
	for deadline := time.Now().Add(10 * time.Second); m.missing("/etc/begun"); {
		if time.Now().After(deadline) {
			t.Fatal("the step has not begun")
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
	m.sh(t, g.backScript())
	if res := <-done; res.Code == 0 {
		t.Errorf("the step ended well: %s", res.Stdout)
	}
	_ = os.Remove(m.root + "/etc/begun")
	time.Sleep(200 * time.Millisecond) // what the child would need to do harm
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// TestNextRunWaitsForTheEndOfTheLast: who has gone back, or was confirmed, is still
// tidying up when the next run takes the lock.
func TestNextRunWaitsForTheEndOfTheLast(t *testing.T) {
	for what, end := range map[string]func(guard) string{
		"going back":       func(g guard) string { return scriptHead + "sh " + rollbackSh + " now " + g.mark + "\n" },
		"the confirmation": func(g guard) string { return g.disarmScript("", "") },
	} {
		t.Run(what, func(t *testing.T) {
			m, g, n := armed(t, switchStep{})
			m.write(t, "/slow", "0.3")
			ended := make(chan remote.Result, 1)
			go func() { ended <- m.sh(t, end(g)) }()
			for deadline := time.Now().Add(10 * time.Second); !m.missing(pendingMark); {
				if time.Now().After(deadline) {
					t.Fatal("it does not come to an end")
				}
				time.Sleep(5 * time.Millisecond) // between two looks
			}
			m.hold(t, "later")
			next := newGuard("later", n)
			if res := m.sh(t, next.armScript(time.Minute)); res.Code != 0 {
				t.Fatalf("the next run: %d %s", res.Code, res.Stderr)
			}
			select {
			case res := <-ended:
				if res.Code != 0 {
					t.Errorf("%d %s", res.Code, res.Stderr)
				}
			default:
				t.Error("the next run did not wait")
			}
			for _, path := range []string{pendingMark, rollbackSh, deadline, snapshotDir + "/files", snapshotDir + "/steps/01-switch/was"} {
				if m.missing(path) {
					t.Errorf("the next run has lost %s", path)
				}
			}
			if stopped := m.read(t, "/stopped"); stopped != "fwprov-rollback-*.timer\nfwprov-rollback-testrun*.timer\nfwprov-rollback-*.timer\n" { // arming, the end, arming
				t.Errorf("stopped: %q", stopped)
			}
			if res := m.sh(t, next.reachedScript(time.Minute)); res.Code != 0 {
				t.Errorf("the next run goes on: %d %s", res.Code, res.Stderr)
			}
		})
	}
}

// TestLockIsKeptUntilConfirmed: not until the mark is gone, but until it is over.
func TestLockIsKeptUntilConfirmed(t *testing.T) {
	m, g, _ := armed(t, switchStep{})
	m.write(t, "/slow", "0.3")
	free := make(chan remote.Result, 1)
	go func() { free <- m.sh(t, lockScript("later", "bob", "later", time.Unix(0, 0), 0)) }()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(m.read(t, lockHolder), "bob"); {
		if time.Now().After(deadline) {
			t.Fatal("the lock is not taken")
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	if res := m.sh(t, g.disarmScript("", "")); res.Code != 0 {
		t.Fatalf("%d %s", res.Code, res.Stderr)
	}
	select {
	case <-free:
		t.Fatal("the lock was free while the node was being confirmed")
	default:
	}
	if res := <-free; res.Code != 0 {
		t.Errorf("%d %s", res.Code, res.Stderr)
	}
}

// TestTimerComesAgain: what it started was killed, while it waited or in the middle
// of going back.
func TestTimerComesAgain(t *testing.T) {
	m, g, n := armed(t, stuckUndo{})
	before := m.tree(t)
	m.sh(t, m.change(t, g, n, "web"))
	m.write(t, deadline, "1\n")
	timer := scriptHead + "echo $$ >" + RunDir + "/timer\nexec sh " + rollbackSh + " timer " + g.mark
	m.write(t, "/etc/stuck", "")
	done := make(chan remote.Result, 1)
	go func() { done <- m.sh(t, timer) }()
	for deadline := time.Now().Add(10 * time.Second); m.missing("/etc/at-it"); {
		if time.Now().After(deadline) {
			t.Fatal("it does not go back")
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	m.sh(t, "kill -KILL -$(cat "+RunDir+"/timer)")
	<-done
	if m.missing(pendingMark) {
		t.Fatal("it was not killed in time")
	}
	if m.sh(t, "rm /etc/stuck /etc/at-it"); !m.missing("/stopped") && m.read(t, "/stopped") != "fwprov-rollback-*.timer\n" {
		t.Errorf("the timer was stopped before it was over: %q", m.read(t, "/stopped"))
	}
	if res := m.sh(t, timer); res.Code != 0 || !m.missing(pendingMark) {
		t.Errorf("%d %s", res.Code, res.Stderr)
	}
	if f := fateOf(g.mark, string(m.sh(t, stateScript).Stdout)); !f.wentBack || len(f.failed) > 0 {
		t.Errorf("it has not gone back whole: %+v", f)
	}
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// stuckUndo does not come to an end as long as there is /etc/stuck.
type stuckUndo struct{ switchStep }

func (stuckUndo) Undo() Undo {
	return Undo{Restore: "[ ! -e /etc/stuck ] || touch /etc/at-it\nwhile [ -e /etc/stuck ]; do sleep 0.05; done\n"}
}

// TestLockOfAnUnconfirmedChange tells how to get out where nobody else does.
func TestLockOfAnUnconfirmedChange(t *testing.T) {
	for _, pending := range []bool{true, false} {
		m, _, _ := armed(t, switchStep{})
		if !pending {
			m.sh(t, "rm "+pendingMark)
		}
		steps := func(string) []Step { return nil }
		first, second := runner(map[string]*machine{"fw01": m}, steps, nil), runner(map[string]*machine{"fw01": m}, steps, nil)
		first.Operator, second.ID = "alice from afar", "second"
		if err := first.Lock(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		var locked *LockedError
		err := second.Lock(context.Background(), 0)
		if !errors.As(err, &locked) || locked.Pending != pending || locked.Holder != "alice from afar since 1970-01-01T00:00:00Z" {
			t.Errorf("%+v, want pending %v", err, pending)
		} else if strings.Contains(err.Error(), "sh "+rollbackSh+" now") != pending {
			t.Errorf("pending %v: %v", pending, err)
		}
		m.sh(t, "rm -f "+pendingMark)
		first.Close()
		second.Close()
	}
}

// brittleStep restores three things, of which the first cannot be.
type brittleStep struct{ switchStep }

func (brittleStep) Undo() Undo {
	return Undo{Save: "cat /etc/switch >was", Restore: "try false\ncat was >/etc/switch\nrm -f /etc/three", Tidy: "try cat missing\nrm -f /etc/four"}
}

func TestWhatCannotBeRestoredIsReported(t *testing.T) {
	m, g, n := armed(t, brittleStep{})
	before := m.tree(t)
	m.sh(t, m.change(t, g, n, "web"))
	m.sh(t, m.change(t, g, n, "switch"))
	m.sh(t, "rm -f /etc/a.conf; mkdir -p /etc/a.conf/in-the-way; touch /etc/three /etc/four")
	res := m.sh(t, g.backScript())
	f := fateOf(g.mark, string(res.Stdout))
	if d := cmp.Diff([]string{"/etc/a.conf", "steps/01-switch", "steps/01-switch"}, f.failed); d != "" || !f.wentBack {
		t.Errorf("%v %s\n%s", f, d, res.Stdout)
	}
	if log := m.read(t, snapshotDir+"/log"); !strings.Contains(log, "failed: false") || !strings.Contains(log, "failed: cat missing") {
		t.Errorf("log: %s", log)
	}
	// By hand: what is in the way is taken out of it, and the file is where the log says.
	m.sh(t, "rm -rf /etc/a.conf; cd "+snapshotDir+"; grep ' /etc/a.conf$' files | while read -r n path; do cp -a $n $path; done")
	if d := cmp.Diff(before, m.tree(t)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// TestGoingBackThatWasCutOff: by a loss of power, or because the machine ran out of
// memory.
func TestGoingBackThatWasCutOff(t *testing.T) {
	m, g, n := armed(t, switchStep{})
	before := m.tree(t)
	m.sh(t, m.change(t, g, n, "web"))
	m.sh(t, m.change(t, g, n, "switch"))
	m.write(t, goingBack, "")
	m.write(t, "/etc/a.conf.fwprov-back", "half of it")
	m.write(t, "/etc/.a.conf."+g.mark, "of the change")
	if err := os.Remove(m.root + "/etc/new.conf"); err != nil {
		t.Fatal(err)
	}
	if res := m.sh(t, g.disarmScript("", "")); res.Code != wentBack {
		t.Errorf("a node that is half back was confirmed: %d %s", res.Code, res.Stderr)
	}
	if err := os.RemoveAll(m.root + RunDir); err != nil { // a boot
		t.Fatal(err)
	}
	res := m.sh(t, scriptHead+"sh "+rollbackSh+" boot\n"+stateScript)
	if f := fateOf(g.mark, string(res.Stdout)); !f.wentBack || len(f.failed) > 0 {
		t.Errorf("%s", res.Stdout)
	}
	got := m.tree(t)
	got["/etc/switch"] = before["/etc/switch"] // the boot would have
	if d := cmp.Diff(before, got); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

func TestFullDiskDoesNotKeepItFromGoingBack(t *testing.T) {
	m, g, n := armed(t, switchStep{})
	m.sh(t, "rm /etc/switch") // which a step would have to write
	before := m.tree(t)
	m.sh(t, m.change(t, g, n, "web"))
	// No file can grow.
	res := m.sh(t, scriptHead+"trap '' XFSZ\nulimit -f 0\nsh "+rollbackSh+" now\n")
	if res.Code != 0 || !m.missing(pendingMark) {
		t.Errorf("%d %s", res.Code, res.Stderr)
	}
	got := m.tree(t)
	delete(got, "/etc/switch")
	if d := cmp.Diff(before, got); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}
