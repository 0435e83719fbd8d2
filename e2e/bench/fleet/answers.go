// Package fleet simulates pairs of firewalls, as many as are wanted: an SSH server
// that logs real clients in with real handshakes, and answers the probe of fwprov as
// two machines have answered it that are as their inventory says.
//
// What they answered is kept in testdata, recorded in the lab (TestRecordFleet of
// package e2e). What has changed in fwprov's own files since then is put in place of
// what was recorded, so that a plan finds nothing to do.
package fleet

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/provision"
	"fwprov/provision/remote"
	"fwprov/steps"
)

//go:embed testdata
var testdata embed.FS

// Inventory is that of the pair that was recorded, as pair number n, the nodes of
// which are reached at the hosts.
func Inventory(n int, host1, host2 string) []byte {
	text, err := testdata.ReadFile("testdata/pair.hcl")
	if err != nil {
		panic("fleet: " + err.Error())
	}
	return []byte(strings.NewReplacer("SITE", fmt.Sprintf("site%04d", n), "HOST1", host1, "HOST2", host2).Replace(string(text)))
}

// What stands in a recording for what differs from run to run.
const (
	markWord  = "MARK" // the ID of the run
	clockWord = "CLOCK"
)

// Answers are what the nodes of a pair answer to the probe, by node.
type Answers map[string]string

// Read is the recording, brought to what this fwprov wants on the nodes of pair.
func Read(pair *inventories.Pair) (Answers, error) {
	a := Answers{}
	for _, n := range pair.Nodes {
		text, err := testdata.ReadFile("testdata/" + n.Name + ".probe")
		if err != nil {
			return nil, err
		}
		a[n.Name] = string(text)
	}
	const rounds = 3 // what one change promises may be what another needs
	for range rounds {
		plan := runner(pair, a.conn).Plan(context.Background())
		if err := plan.Err(); err != nil {
			return nil, fmt.Errorf("plan for the recorded nodes: %w", err)
		}
		if plan.Changes == 0 {
			return a, nil
		}
		for _, n := range plan.Nodes {
			for _, c := range n.Changes {
				if err := a.make(n.Name, c.Makes); err != nil {
					return nil, fmt.Errorf("%s: %s on %s: %w", n.Name, c.Action, c.Target, err)
				}
			}
		}
	}
	return nil, errors.New("what was recorded comes to no rest: record it anew with TestRecordFleet")
}

// Record asks nodes what they answer to the probe. ask runs a script on a node.
func Record(pair *inventories.Pair, ask func(node, script string) (string, error)) (Answers, error) {
	a := Answers{}
	asked := make(chan [2]string, len(pair.Nodes))
	r := runner(pair, func(node string) provision.Conn {
		return conn{func(script string) (string, error) {
			out, err := ask(node, script)
			asked <- [2]string{node, out}
			return out, err
		}}
	})
	plan := r.Plan(context.Background())
	if err := plan.Err(); err != nil || plan.Changes > 0 {
		return nil, fmt.Errorf("the nodes are not as their inventory says: %d changes, %w", plan.Changes, err)
	}
	close(asked)
	for x := range asked {
		text := strings.ReplaceAll(x[1], "@"+runID, "@"+markWord)
		text = kernel.ReplaceAllString(text, "${1}6.1.0-31-amd64")
		a[x[0]] = clock.ReplaceAllString(text, "\n"+clockWord+"$1")
	}
	return a, nil
}

var (
	clock  = regexp.MustCompile(`\n[0-9]+( [^\n|]*\|/proc/self/stat\n)`)
	kernel = regexp.MustCompile(`(== uname\n\S+ )\S+`) // of whatever machine the lab was on
)

// answer is what a node says to the probe of a run with the ID mark.
func (a Answers) answer(node, mark string, now time.Time) string {
	return strings.NewReplacer("@"+markWord, "@"+mark, clockWord, fmt.Sprint(now.Unix())).Replace(a[node])
}

const runID = "recordedrun"

func runner(pair *inventories.Pair, dial func(node string) provision.Conn) *provision.Runner {
	r := &provision.Runner{
		Roles: func(f map[string]provision.Facts) map[string]provision.Role { return steps.Role(pair, f) },
		ID:    runID, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Dial: func(_ context.Context, node string, _ bool) (provision.Conn, error) { return dial(node), nil },
	}
	for _, n := range pair.Nodes {
		r.Nodes = append(r.Nodes, provision.Node{Name: n.Name, Steps: steps.For(pair, n)})
	}
	return r
}

// conn is a connection over which scripts only are run.
type conn struct {
	exec func(script string) (string, error)
}

func (c conn) Exec(_ context.Context, cmd remote.Command) (remote.Result, error) {
	out, err := c.exec(cmd.Script)
	return remote.Result{Stdout: []byte(out)}, err
}
func (conn) Upload(context.Context, []remote.File) error {
	return errors.New("nothing is uploaded here")
}
func (conn) Close() error  { return nil }
func (conn) Rides() string { return "" }

// conn answers for a node.
func (a Answers) conn(node string) provision.Conn {
	return conn{func(script string) (string, error) {
		if !strings.Contains(script, "@"+runID+" manifest") {
			// The present content of files that differ, for their diffs.
			return "\n@" + runID + " end\n", nil
		}
		return a.answer(node, runID, time.Now()), nil
	}}
}

// make lets facts be true in what a node answers. Only what follows from fwprov's
// own files can be.
func (a Answers) make(node string, makes provision.Facts) error {
	for _, key := range slices.Sorted(maps.Keys(makes)) {
		value := makes[key]
		kind, name, _ := strings.Cut(key, " ")
		switch kind {
		case "file":
			hash, rest, _ := strings.Cut(value, " ")
			mode, owner, _ := strings.Cut(rest, " ")
			a.set(node, "sums", "  "+name, hash+"  "+name, value == "")
			a.set(node, "stat", "|"+name, "1 "+strings.TrimLeft(mode, "0")+" "+owner+" regular file|"+name, value == "")
		case "managed":
			what, name, _ := strings.Cut(name, " ")
			step, detail, _ := strings.Cut(value, " ")
			a.set(node, "manifest", what+"\t"+name+"\t", what+"\t"+name+"\t"+step+"\t"+detail, value == "")
		case "rules":
			a.set(node, "step iptables", "rules "+name+" ", "rules "+name+" "+value, value == "")
		case "loaded":
			a.set(node, "loaded", name+" ", name+" "+value, value == "")
		default:
			return fmt.Errorf("what was recorded is too old for it (%s): record it anew with TestRecordFleet", key)
		}
	}
	return nil
}

// set replaces the line of a section that begins or ends with what names it, adds
// it if there is none, or takes it away.
func (a Answers) set(node, section, names, line string, remove bool) {
	head := "\n@" + markWord + " " + section + "\n"
	before, rest, ok := strings.Cut(a[node], head)
	if !ok {
		return
	}
	body, after, more := strings.Cut(rest, "\n@"+markWord+" ")
	lines := slices.DeleteFunc(strings.Split(body, "\n"), func(l string) bool {
		return l == "" || strings.HasPrefix(l, names) || strings.HasSuffix(l, names)
	})
	if !remove {
		lines = append(lines, line)
	}
	text := before + head + strings.Join(lines, "\n") + "\n"
	if more {
		text += "\n@" + markWord + " " + after
	}
	a[node] = text
}

// Load reads an inventory as fwprov does.
func Load(text []byte, name string) (*inventories.Pair, error) {
	pair, src, diags := hcl.Parse(text, name, hcl.Options{})
	if diags.HasErrors() {
		var b strings.Builder
		_ = src.Write(&b, diags, false) // to memory
		return nil, errors.New(b.String())
	}
	return pair, nil
}
