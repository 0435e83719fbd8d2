package provision

import (
	_ "embed" // rollback.sh
	"fmt"
	"slices"
	"strings"
	"time"
)

// The guard of a node lets it go back by itself. Before the first change a
// snapshot of everything that may change is laid down on the node, with a
// script that restores it, and systemd is told to run the script unless the
// node is confirmed in time:
//
//	/var/lib/fwprov/rollback/
//	    pending          the run that has not been confirmed; there only while one is
//	    rollback.sh      takes the node back; needs nothing but what lies here
//	    files            one line a file: number, path; number "-" if it was not there
//	    N                the files
//	    dirs             folders that were not there
//	    units            one line a unit: who restores it, name, UnitFileState, active or inactive
//	    steps/NN-NAME/   what a step saved, and its scripts restore and tidy
//	    result           of the last time it went back: run, then "ok" or what failed
//	    log              what the script printed
//	/run/fwprov/
//	    deadline         uptime in 1/100 s at which the node goes back
//	    step.pid         process group of the command that changes the node
//	    going-back       no such command may change anything any more
//	    rollback.lock    held by who goes back, or confirms
//
// The timer runs the script when the time-out is over, and again every few seconds
// until nothing is pending, so that a script that was killed is not the end of it.
// A unit of ours runs it at boot where pending is there, before the network is up,
// and another one after it if that was cut off. Every command of an apply notes itself, looks whether the node
// goes back or has gone back, and moves the deadline before each change.
const (
	snapshotDir  = StateDir + "/rollback"
	pendingMark  = snapshotDir + "/pending"
	resultFile   = snapshotDir + "/result"
	rollbackSh   = snapshotDir + "/rollback.sh"
	bootUnit     = "fwprov-rollback-boot.service"
	againUnit    = "fwprov-rollback-boot-again.service"
	deadline     = RunDir + "/deadline"
	stepPID      = RunDir + "/step.pid"
	goingBack    = RunDir + "/going-back"
	rollbackLock = RunDir + "/rollback.lock"
	// resultNow is the result where the disk could not take it.
	resultNow = RunDir + "/rollback.result"
	// confirmedMark has the run that was confirmed last since the node was booted.
	confirmedMark = RunDir + "/confirmed"
)

// Undoer is a step whose changes reach beyond files and the state of units.
type Undoer interface {
	Step
	Undo() Undo
}

// Undo is how a step goes back: sh fragments that are run as root in a folder of
// the step's own. Restore and Tidy run when files are back, units enabled as
// before and the other units running as before: Restore of all steps in their
// order, then Tidy of all in the reverse order. They must do no harm where
// nothing has changed, or has been restored already. "try COMMAND..." runs a
// command, notes its failure and goes on.
type Undo struct {
	Save    string // notes what is, before the first change; it only reads, under set -eu
	Restore string // makes it so again
	Tidy    string // takes away what was not there, and was in use until others had restored
	// Files change besides those of the plan. They are kept and put back alike.
	Files []string
	// Units are those that Restore starts, stops and reloads itself.
	Units []string
}

//go:embed rollback.sh
var rollbackScript string

const bootUnitText = `# Managed by fwprov.
[Unit]
Description=Go back to what was before a change that was not confirmed
DefaultDependencies=no
RequiresMountsFor=` + StateDir + `
After=local-fs.target systemd-remount-fs.service
Before=network-pre.target systemd-sysctl.service systemd-modules-load.service sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=` + pendingMark + `
OnFailure=` + againUnit + `

[Service]
Type=oneshot
TimeoutStartSec=60
ExecStart=/bin/sh ` + rollbackSh + ` boot

[Install]
WantedBy=sysinit.target
`

// A oneshot of systemd before 244 cannot be restarted.
const againUnitText = `# Managed by fwprov.
[Unit]
Description=Go back to what was before a change that was not confirmed, once more
ConditionPathExists=` + pendingMark + `

[Service]
ExecStart=/bin/sh ` + rollbackSh + ` now
Restart=on-failure
RestartSec=3
`

// guard is what has to be kept of a node before a plan is carried out.
type guard struct {
	mark  string
	paths []string // files that are written or removed
	units []string
	own   map[string]bool // units that a step's Undo takes care of
	steps []Undoer
}

func newGuard(mark string, n *NodePlan) guard {
	g := guard{mark: mark, paths: []string{Manifest}, own: map[string]bool{}}
	for _, c := range n.Changes {
		if c.Write != nil {
			g.paths = append(g.paths, c.Write.Path)
		}
		if c.Remove != "" {
			g.paths = append(g.paths, c.Remove)
		}
	}
	for _, s := range n.steps {
		g.units = append(g.units, s.Probe().Units...)
		if u, ok := s.(Undoer); ok {
			g.steps = append(g.steps, u)
			g.paths = append(g.paths, u.Undo().Files...)
			for _, unit := range u.Undo().Units {
				g.units = append(g.units, unit)
				g.own[unit] = true
			}
		}
	}
	slices.Sort(g.paths)
	slices.Sort(g.units)
	g.paths, g.units = slices.Compact(g.paths), slices.Compact(g.units)
	return g
}

// undoHead opens the scripts Restore and Tidy of a step, undoFoot ends them.
const (
	undoHead = "bad=0\ntry() {\n\t\"$@\" || {\n\t\techo \"failed: $*\" >&2\n\t\tbad=1\n\t}\n}\n"
	undoFoot = "exit $bad\n"
)

// armScript lays the snapshot down and arms the timer. It fails, having changed
// nothing, where a change is pending already.
func (g guard) armScript(timeout time.Duration) string {
	var b strings.Builder
	b.WriteString(scriptHead + "set -eu\numask 077\n" + g.lockHeld() + noteScript)
	fmt.Fprintf(&b, `unconfirmed() {
	[ ! -e %[1]s ] || {
		echo 'an earlier change is not confirmed and the node has not gone back yet; it does so by itself, or now with: sh %[2]s now' >&2
		exit 75
	}
}
unconfirmed
# Who confirmed or went back before us may still be tidying up.
exec 9>>%[4]s
flock -w %[5]d 9 || { echo 'an earlier change is still being confirmed or taken back' >&2; exit 75; }
unconfirmed
trap 'rm -rf %[3]s.new' EXIT
rm -rf %[3]s.new
mkdir -p %[3]s.new/steps
cd %[3]s.new
`, pendingMark, rollbackSh, snapshotDir, rollbackLock, tidyWait)
	g.here(&b, "rollback.sh", rollbackScript)
	g.snapshot(&b)
	units := "/etc/systemd/system/"
	g.here(&b, units+bootUnit+".new", bootUnitText)
	g.here(&b, units+againUnit+".new", againUnitText)
	fmt.Fprintf(&b, `if ! cmp -s %[1]s%[2]s.new %[1]s%[2]s || ! cmp -s %[1]s%[3]s.new %[1]s%[3]s || [ ! -e %[1]ssysinit.target.wants/%[2]s ]; then
	mv -f %[1]s%[3]s.new %[1]s%[3]s
	mv -f %[1]s%[2]s.new %[1]s%[2]s
	systemctl --no-reload --quiet enable %[2]s
	systemctl daemon-reload
else
	rm -f %[1]s%[2]s.new %[1]s%[3]s.new
fi
`, units, bootUnit, againUnit)
	fmt.Fprintf(&b, `echo %[1]s >pending.new
rm -rf %[2]s
mv %[2]s.new %[2]s
rm -f %[3]s
sync
%[4]salive
systemctl stop 'fwprov-rollback-*.timer' 2>/dev/null || true # of runs that are over
systemd-run --quiet --on-active=%[5]dms --on-unit-inactive=%[8]ds --timer-property=AccuracySec=100ms --unit=fwprov-rollback-%[1]s \
	/bin/sh -c '[ ! -e %[6]s ] || exec /bin/sh %[6]s timer %[1]s'
mv %[2]s/pending.new %[7]s
sync
`, g.mark, snapshotDir, resultNow, aliveScript(timeout), timeout.Milliseconds(), rollbackSh, pendingMark, timerAgain)
	return b.String()
}

// tidyWait is how many seconds an apply waits for what an earlier one does when it
// is over.
const tidyWait = 30

// timerAgain is how many seconds after its script has ended, however it has, the
// timer runs it again: not so often that systemd refuses to (five times in 10 s).
const timerAgain = 3

// here writes a text to a file on the node.
func (g guard) here(b *strings.Builder, path, text string) {
	fmt.Fprintf(b, "cat >%[1]s <<'%[2]s'\n%[3]s\n%[2]s\n", path, g.mark, strings.TrimRight(text, "\n"))
}

// snapshot keeps what the plan may change, in the current folder.
func (g guard) snapshot(b *strings.Builder) {
	b.WriteString(snapshotHelpers)
	for _, p := range g.paths {
		b.WriteString("keep " + Quote(p) + "\n")
	}
	b.WriteString("units")
	for _, u := range g.units {
		who := "engine"
		if g.own[u] {
			who = "step"
		}
		b.WriteString(" " + who + " " + u)
	}
	b.WriteString("\n")
	for i, s := range g.steps {
		undo := s.Undo()
		dir := fmt.Sprintf("steps/%02d-%s", i+1, s.Name())
		fmt.Fprintf(b, "mkdir %s\n", dir)
		for _, part := range []struct{ name, text string }{{"restore", undo.Restore}, {"tidy", undo.Tidy}} {
			if part.text != "" {
				g.here(b, dir+"/"+part.name, undoHead+strings.TrimRight(part.text, "\n")+"\n"+undoFoot)
			}
		}
		if undo.Save != "" {
			fmt.Fprintf(b, "(\ncd %s\n%s\n)\n", dir, strings.TrimRight(undo.Save, "\n"))
		}
	}
}

const snapshotHelpers = `: >files >dirs >units
n=0
keep() {
	if [ -e "$1" ] || [ -L "$1" ]; then
		n=$((n + 1))
		cp -a -- "$1" "$n"
		echo "$n $1" >>files
		return
	fi
	echo "- $1" >>files
	dir=${1%/*}
	while [ -n "$dir" ] && [ ! -d "$dir" ]; do
		echo "$dir" >>dirs
		dir=${dir%/*}
	done
}
units() { # WHO UNIT WHO UNIT...
	[ $# -gt 0 ] || return 0
	names=
	for name; do
		case $name in engine | step) ;; *) names="$names $name" ;; esac
	done
	enabled=-
	active=inactive
	while read -r line; do
		case $line in
		UnitFileState=?*) enabled=${line#*=} ;;
		ActiveState=active | ActiveState=activating | ActiveState=reloading) active=active ;;
		'')
			echo "$1 $2 $enabled $active" >>units
			enabled=-
			active=inactive
			shift 2
			;;
		esac
	done <<END
$(systemctl show -p UnitFileState -p ActiveState -- $names)

END
	[ $# -eq 0 ]
}
`

// aliveScript defines the shell function alive, which gives the node the whole
// time-out from now on.
func aliveScript(timeout time.Duration) string {
	return fmt.Sprintf("alive() {\n\tread -r up _ </proc/uptime\n\techo $((${up%%.*} * 100 + 1${up#*.} - 100 + %d)) >%s\n}\n",
		timeout.Milliseconds()/10, deadline)
}

// unguarded opens the script of a step that is not under the guard.
func (g guard) unguarded() string {
	return scriptHead + g.lockHeld() + noteScript + "alive() { :; }\n"
}

// guarded opens the script of a step that runs under the guard: it ends at once
// if the node has gone back or is about to, and lets the way back end it.
func (g guard) guarded(timeout time.Duration) string {
	return scriptHead + noteScript + g.stillOurs() + aliveScript(timeout) + "alive\n"
}

// noteScript notes the command that works on the node: who goes back ends it,
// and the lock is not freed before it has ended.
const noteScript = "echo \"$$ $(cut -d ' ' -f 5,22 /proc/$$/stat)\" >" + stepPID + "\n"

// lockHeld ends a script that reaches the node when the lock is no longer this
// run's: it was on its way for longer than the lease.
func (g guard) lockHeld() string {
	return fmt.Sprintf("[ \"$(sed -n 3p %s 2>/dev/null)\" = %s ] || { echo 'this run has lost its lock on the node; nothing was done' >&2; exit %d; }\n",
		lockHolder, g.mark, wentBack)
}

// stillOurs ends a script when the node goes back or has gone back.
func (g guard) stillOurs() string {
	return fmt.Sprintf("[ ! -e %s ] && [ \"$(cat %s 2>/dev/null)\" = %s ] || { echo 'the node has gone back to what it was' >&2; exit %d; }\n",
		goingBack, pendingMark, g.mark, wentBack)
}

// reachedScript gives the node the whole time-out once it has been reached over
// a new connection.
func (g guard) reachedScript(timeout time.Duration) string {
	return scriptHead + g.stillOurs() + aliveScript(timeout) + "alive\n"
}

// disarmScript confirms the node, after the commands of last, if these succeed. Then
// it runs the commands of then; if they fail it does so too, and the node is
// confirmed all the same. It notes itself when
// it can no longer be ended by who goes back: the lock is not freed before it is
// over.
func (g guard) disarmScript(last, then string) string {
	return scriptHead + fmt.Sprintf(`exec 9>>%[1]s || exit 1
flock -n 9 || { echo 'the node is going back to what it was' >&2; exit %[2]d; }
%[3]s%[4]s%[5]ssync
echo %[7]s >%[12]s
rm -f %[6]s || exit 1
rc=0
(
set -eu
:
%[13]s) </dev/null >&2
[ $? -eq 0 ] || rc=1
sync
systemctl stop 'fwprov-rollback-%[7]s*.timer' 2>/dev/null
rm -rf %[8]s %[9]s
%[10]srm -f %[11]s
exit $rc
`, rollbackLock, wentBack, g.stillOurs(), noteScript, last, pendingMark, g.mark, snapshotDir, deadline, pruneScript, stepPID, confirmedMark, then)
}

// wentBack is the exit status of a script that finds that the node is no longer
// ours to change.
const wentBack = 76

// backScript takes the node back now and prints the result. It is systemd that
// does it, so that it goes on when this connection is cut by it.
func (g guard) backScript() string {
	return scriptHead + fmt.Sprintf("if [ \"$(cat %[1]s 2>/dev/null)\" = %[2]s ]; then\n"+
		"\tsystemd-run --quiet --unit=fwprov-rollback-%[2]s-$$ /bin/sh %[3]s now %[2]s || /bin/sh %[3]s now %[2]s\n"+
		"\twhile [ \"$(cat %[1]s 2>/dev/null)\" = %[2]s ]; do sleep 0.1; done\nfi\n", pendingMark, g.mark, rollbackSh) + stateScript
}

// stateScript prints what became of a run: "pending RUN", "confirmed RUN", and the
// last result of going back.
var stateScript = scriptHead + fmt.Sprintf(`echo "pending $(cat %s 2>/dev/null)"
echo "confirmed $(cat %s 2>/dev/null)"
{ cat %s 2>/dev/null || cat %s 2>/dev/null; } | head -c %d
exit 0
`, pendingMark, confirmedMark, resultNow, resultFile, maxResult/2)

// maxResult bounds in bytes what a node says of what became of a run.
const maxResult = 128 << 10

// fate is what became of a run on a node. None of it: the node does not know.
type fate struct {
	pending   bool // neither confirmed nor gone back yet
	confirmed bool
	wentBack  bool
	failed    []string // what could not be restored
}

// fateOf reads the answer of stateScript.
func fateOf(run, out string) fate {
	all := lines(out)
	if len(all) < 2 || all[0] == "pending "+run {
		return fate{pending: len(all) > 0 && all[0] == "pending "+run}
	}
	if len(all) >= 4 && all[2] == run {
		f := fate{wentBack: true}
		if all[3] != "ok" {
			f.failed = strings.Fields(Printable(all[3]))
		}
		return f
	}
	return fate{confirmed: all[1] == "confirmed "+run}
}
