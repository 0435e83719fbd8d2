package provision

import (
	"strings"
	"time"
)

// Step is one numbered stage of the job on one node. It is bound to what that
// node is to be when it is made, so that Plan is a pure function of the facts.
// Implementations are values without state and safe for concurrent use.
type Step interface {
	// Name is one lower case word, unique among the steps of a run.
	Name() string
	// Probe says what the step wants to know.
	Probe() Probe
	// Plan compares facts with what the step wants and returns what is to be
	// done, in the order in which it has to be done; nothing if all is well.
	// The facts already hold what the changes of earlier steps will make true.
	// An error is a Findings (what is wrong with the machine) or a defect.
	Plan(Facts) ([]Change, error)
}

// Probe is a step's part of the one command that looks at a node. It must only
// read, need nothing but sh, coreutils and systemd (other tools only if they
// are there), start few processes, and hold no secret.
type Probe struct {
	// Files are the paths and glob patterns the step may write: each is hashed
	// if it is there. Only letters, digits and /._-*@ may stand in them.
	Files []string
	// Units are asked of systemctl show; see Facts.
	Units []string
	// Wait is a POSIX sh fragment that runs in a shell of its own before anything is
	// looked at, and ends, within seconds, when there is something to see. What it
	// prints goes nowhere. A look that is to judge what it sees first leaves it out.
	Wait string
	// Script is a POSIX sh fragment without set -e, the body of a shell function:
	// return ends it. It changes neither the folder nor IFS, and sets the variables
	// that it reads: all of a node's run in one shell. Its standard output goes to
	// Parse, its standard error nowhere.
	Script string
	// Once is such a fragment, too, and sees the variables of Script. It runs at a
	// run's first look at a node only: it is for what takes long and does not change
	// under the run's hands. What it printed then follows what Script prints, each
	// time.
	Once string
	// Parse turns what Script printed into facts. It must accept anything: what
	// a node says is not trusted. Nil if there is no Script.
	Parse func(output string, f Facts) error
}

// Validator is a step whose files can be checked, before they are put in place,
// by the programs that will read them.
type Validator interface {
	Step
	// Validate returns a sh fragment, run as root under set -eu, that fails and
	// says why if one of the staged files would not be accepted; "" if there is
	// nothing to check. staged tells where a file of this step that is about to
	// be written lies, and is the path itself where it does not change.
	// It runs after the packages, interfaces and sysctls are in place.
	Validate(staged func(path string) string) string
}

// Slow is a step that may need longer than the engine's time-out for a step.
type Slow interface {
	Step
	Timeout() time.Duration
}

// Preparer is a step whose changes are made before the node's guard is armed, and
// stay where the node goes back: packages, which harm nothing by being there.
type Preparer interface {
	Step
	Prepares()
}

// Noticer is a step that has something to tell that fwprov does not do itself.
type Noticer interface {
	Step
	// Notices gets the facts as they were probed.
	Notices(Facts) []string
}

// Renderer is a step that writes files. Files are those the node would get with
// these facts, whatever is there now.
type Renderer interface {
	Step
	Files(Facts) []File
}

// Verifier looks at all nodes at once, after an apply and for verify.
type Verifier interface {
	Step
	// VerifyProbe is like Probe, joined into one command of its own.
	VerifyProbe() Probe
	// Verify judges the facts of all nodes, by node name. A node that could not
	// be reached has nil facts.
	Verify(nodes map[string]Facts) []Check
}

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Node   string `json:"node"` // "" for what concerns the pair
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`         // what was seen
	Why    string `json:"why,omitempty"`  // what follows from it; only if not OK
	Hint   string `json:"hint,omitempty"` // how to look further; only if not OK
	Down   bool   `json:"-"`              // not OK means that the pair does not serve
	Lasts  bool   `json:"-"`              // it does not help to wait
}

// Finding is one thing that is wrong with a machine, and what to do about it.
type Finding struct {
	Summary string
	Hint    string
}

// Findings are all the reasons why a plan cannot be made. It is an error.
type Findings []Finding

func (f Findings) Error() string {
	var b strings.Builder
	for i, x := range f {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(x.Summary)
		if x.Hint != "" {
			b.WriteString(" (" + x.Hint + ")")
		}
	}
	return b.String()
}

// Role is what a node is in its pair at the moment.
type Role string

// The roles.
const (
	Active  Role = "active"  // holds the VIPs
	Standby Role = "standby" // its peer holds them
	None    Role = "none"    // no VIP anywhere yet
)
