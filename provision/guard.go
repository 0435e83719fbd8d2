package provision

import (
	_ "embed" // rollback.sh
	"fmt"
	"path"
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
//	    files            one line a file: number, mode, owner, path; number "-" if it was not there
//	    N                the files
//	    units            one line a unit: who restores it, name, UnitFileState, ActiveState
//	    steps/NAME/      what a step saved, and its script restore
//	    result           of the last time it went back: run, then "ok" or what failed
//	    log              what the script printed
//
// A unit of ours runs the script at boot where pending is there, before the
// network is up. Every command of an apply begins by looking whether the node
// has gone back in the meantime, and if not gives itself the whole time-out
// again.
const (
	snapshotDir = StateDir + "/rollback"
	pendingMark = snapshotDir + "/pending"
	resultFile  = snapshotDir + "/result"
	rollbackSh  = snapshotDir + "/rollback.sh"
	bootUnit    = "fwprov-rollback-boot.service"
	stepPID     = RunDir + "/step.pid" // process group of the step that runs
)

// Undoer is a step whose changes reach beyond files and the state of units.
type Undoer interface {
	Step
	Undo() Undo
}

// Undo is how a step goes back: two sh fragments that are run as root under
// set -eu in a folder of the step's own.
type Undo struct {
	Save    string // notes what is, before the first change; it only reads
	Restore string // makes it so again, once files are back and units enabled as before; harmless where nothing has changed
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

[Service]
Type=oneshot
ExecStart=/bin/sh ` + rollbackSh + ` boot

[Install]
WantedBy=sysinit.target
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
			for _, unit := range u.Undo().Units {
				g.own[unit] = true
			}
		}
	}
	slices.Sort(g.paths)
	slices.Sort(g.units)
	g.paths, g.units = slices.Compact(g.paths), slices.Compact(g.units)
	return g
}

// armScript lays the snapshot down and arms the timer. It fails, having changed
// nothing, where a change is pending already.
func (g guard) armScript(timeout time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%sset -eu
umask 077
[ ! -e %[2]s ] || { echo "an earlier change is not confirmed yet; the node goes back by itself" >&2; exit 75; }
rm -rf %[3]s.new
mkdir -p %[3]s.new/steps
cd %[3]s.new
cat >rollback.sh <<'%[4]s'
%[5]s%[4]s
n=0
keep() {
	if [ -e "$1" ] || [ -L "$1" ]; then
		n=$((n + 1))
		cp -a -- "$1" "$n"
		echo "$n $1" >>files
	else
		echo "- $1" >>files
	fi
}
unit() {
	enabled=-
	active=-
	show=$(systemctl show -p UnitFileState -p ActiveState -- "$2")
	for p in $show; do
		case $p in
		UnitFileState=?*) enabled=${p#*=} ;;
		ActiveState=?*) active=${p#*=} ;;
		esac
	done
	echo "$1 $2 $enabled $active" >>units
}
`, scriptHead, pendingMark, snapshotDir, g.mark, rollbackScript)
	for _, p := range g.paths {
		b.WriteString("keep " + Quote(p) + "\n")
	}
	for _, u := range g.units {
		who := "engine"
		if g.own[u] {
			who = "step"
		}
		b.WriteString("unit " + who + " " + u + "\n")
	}
	for _, s := range g.steps {
		undo := s.Undo()
		dir := path.Join("steps", s.Name())
		fmt.Fprintf(&b, "mkdir %[1]s\ncat >%[1]s/restore <<'%[2]s'\n%[3]s\n%[2]s\n(\ncd %[1]s\n%[4]s\n)\n",
			dir, g.mark, strings.TrimRight(undo.Restore, "\n"), strings.TrimRight(undo.Save, "\n"))
	}
	fmt.Fprintf(&b, `cat >%[1]s.new <<'%[2]s'
%[3]s%[2]s
if ! cmp -s %[1]s.new %[1]s; then
	mv -f %[1]s.new %[1]s
	systemctl daemon-reload
	systemctl enable --quiet %[4]s
else
	rm -f %[1]s.new
fi
echo %[2]s >pending.new
rm -rf %[5]s
mv %[5]s.new %[5]s
sync
%[6]smv %[5]s/pending.new %[7]s
sync
`, "/etc/systemd/system/"+bootUnit, g.mark, bootUnitText, bootUnit, snapshotDir, timerScript(timeout), pendingMark)
	return b.String()
}

// timerScript gives the node the whole time-out from now on: a new timer is
// armed before the old ones are stopped.
func timerScript(timeout time.Duration) string {
	return fmt.Sprintf(`systemd-run --quiet --on-active=%ds --timer-property=AccuracySec=100ms --unit=fwprov-rollback-$$ /bin/sh %s timer || exit 1
for t in $(systemctl list-units --all --plain --no-legend 'fwprov-rollback-*.timer' | cut -d ' ' -f 1); do
	[ "$t" = fwprov-rollback-$$.timer ] || systemctl stop "$t" || true
done
`, int(timeout.Seconds()), rollbackSh)
}

// guarded opens the script of a step that runs under the guard: it ends at once
// if the node has gone back, and lets the way back end it.
func (g guard) guarded(timeout time.Duration) string {
	return scriptHead + fmt.Sprintf("[ \"$(cat %s 2>/dev/null)\" = %s ] || { echo 'the node has gone back to what it was' >&2; exit %d; }\n"+
		"mkdir -p %s\necho \"$$ $(cut -d ' ' -f 5,22 /proc/$$/stat)\" >%s\n%s",
		pendingMark, g.mark, wentBack, RunDir, stepPID, timerScript(timeout))
}

// disarmScript confirms the node.
func (g guard) disarmScript() string {
	return scriptHead + fmt.Sprintf(`[ "$(cat %[1]s 2>/dev/null)" = %[2]s ] || { echo 'the node has gone back to what it was' >&2; exit %[3]d; }
mkdir %[4]s/running 2>/dev/null || { echo 'the node is going back to what it was' >&2; exit %[3]d; }
rm -f %[1]s
sync
systemctl stop 'fwprov-rollback-*.timer' 2>/dev/null
rm -rf %[4]s %[5]s
`, pendingMark, g.mark, wentBack, snapshotDir, stepPID)
}

// wentBack is the exit status of a script that finds that the node is no longer
// ours to change.
const wentBack = 76

// backScript takes the node back now and prints the result.
func backScript() string {
	return scriptHead + "/bin/sh " + rollbackSh + " now\ncat " + resultFile + "\n"
}

// stateScript prints what became of a run: "pending RUN", and the last result.
const stateScript = scriptHead + "echo \"pending $(cat " + pendingMark + " 2>/dev/null)\"\ncat " + resultFile + " 2>/dev/null\nexit 0\n"
