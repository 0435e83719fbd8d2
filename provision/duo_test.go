package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// duo is two machines of which one holds the traffic: it has /etc/vip. Whatever
// happens to either is noted in one log.
type duo struct {
	t        *testing.T
	machines map[string]*machine
	log      string
	together string // see Change.Together
	fails    string // the node on which the change fails
	deaf     bool   // the peer does not take over what is drained
	late     bool   // the traffic moves when the plan is being carried out already
}

func newDuo(t *testing.T) *duo {
	t.Helper()
	d := &duo{t: t, machines: map[string]*machine{"fw01": newMachine(t), "fw02": newMachine(t)}, log: filepath.Join(t.TempDir(), "log")}
	d.machines["fw01"].write(t, "/etc/vip", "")
	return d
}

func other(node string) string {
	if node == "fw01" {
		return "fw02"
	}
	return "fw01"
}

// traffic is the step of a duo: it wants /etc/a.conf, which is disruptive, and
// is ready unless there is /etc/sick.
type traffic struct {
	d    *duo
	node string
}

func (traffic) Name() string { return "traffic" }

func (s traffic) Probe() Probe {
	return Probe{Files: []string{"/etc/*", "/run/fwprov/drain", "/var/lib/fwprov/drain"}}
}

func (s traffic) note(what string) string {
	return fmt.Sprintf("echo %s %s >>%s\n", s.node, what, s.d.log)
}

func (s traffic) Plan(f Facts) ([]Change, error) {
	out := PlanFiles(f, s.Name(), File{Path: "/etc/a.conf", Content: []byte("new\n")})
	for i := range out {
		out[i].Disruptive, out[i].Together, out[i].Cost = true, s.d.together, "it costs"
		out[i].Script = s.note("changed")
		if s.d.fails == s.node {
			out[i].Script += "exit 3\n"
		}
	}
	return out, nil
}

func (s traffic) file(kept bool) string {
	if kept {
		return "/var/lib/fwprov/drain"
	}
	return "/run/fwprov/drain"
}

func (s traffic) Drain(kept bool, who string) string {
	script := s.note("drained by "+who) + "mkdir -p /run/fwprov /var/lib/fwprov\n: >" + s.file(kept) + "\n"
	if !s.d.deaf {
		script += "[ ! -e /etc/vip ] || { rm /etc/vip; : >" + s.d.machines[other(s.node)].root + "/e''tc/vip; }\n" // not a path of this machine
	}
	return script
}

func (s traffic) Undrain(kept bool) string {
	return s.note("undrained") + "rm -f " + s.file(kept) + "\n"
}

func (traffic) Holds() string { return "[ -e /etc/vip ]\n" }

func (s traffic) Hold(who string) string {
	return s.note("held by "+who) + ": >" + s.file(true) + "\n"
}

func (s traffic) Release() string { return s.note("released") + "rm -f " + s.file(true) + "\n" }

func (traffic) Suspended() []string { return nil }

// Validate lets the traffic move to fw02, at a time when all has been looked at.
func (s traffic) Validate(func(string) string) string {
	if !s.d.late || s.node != "fw02" {
		return ""
	}
	return "mv " + s.d.machines["fw01"].root + "/e''tc/vip /etc/vip\n"
}

func (s traffic) Undo() Undo {
	return Undo{Restore: s.note("restored"), Tidy: "rm -f /run/fwprov/drain\n"}
}

func (s traffic) ReadyProbe() Probe { return s.Probe() }

func (s traffic) ReadyWithin() time.Duration { return 3 * time.Second }

func (s traffic) Ready(node string, nodes map[string]Facts, held bool) []Check {
	f := nodes[node]
	return []Check{
		{Name: "health", Node: node, OK: f.Get("file", "/etc/sick") == "", Detail: "it is sick", Hint: "get well"},
		{Name: "drain", Node: node, OK: held || f.Get("file", s.file(false)) == "" && f.Get("file", s.file(true)) == "", Detail: "drained", Lasts: true},
	}
}

// runner is one over the nodes given; the others are looked at only.
func (d *duo) runner(nodes ...string) *Runner {
	steps := func(node string) []Step { return []Step{traffic{d, node}} }
	r := runner(d.machines, steps, nil)
	r.Operator = "alice"
	r.Roles = func(f map[string]Facts) map[string]Role {
		out := map[string]Role{}
		for name, facts := range f {
			out[name] = Standby
			if facts.Get("file", "/etc/vip") != "" {
				out[name] = Active
			}
		}
		return out
	}
	r.Nodes, r.Others = nil, nil
	for _, name := range []string{"fw01", "fw02"} {
		n := Node{Name: name, Steps: steps(name)}
		if len(nodes) == 0 || nodes[0] == name {
			r.Nodes = append(r.Nodes, n)
		} else {
			r.Others = append(r.Others, n)
		}
	}
	d.t.Cleanup(r.Close)
	return r
}

func (d *duo) apply(r *Runner) (Summary, error) {
	d.t.Helper()
	p := r.Plan(context.Background())
	if err := p.Err(); err != nil {
		d.t.Fatal(err)
	}
	for _, n := range p.Nodes {
		for _, c := range n.Changes {
			if active := n.Role == Active; c.Disruptive != active || (c.Cost != "") != active {
				d.t.Errorf("%s, which is %s: %+v", n.Name, n.Role, c)
			}
		}
	}
	return r.Apply(context.Background(), p)
}

// happened compares what the log has with lines.
func (d *duo) happened(want ...string) {
	d.t.Helper()
	b, err := os.ReadFile(d.log)
	if err != nil && len(want) > 0 {
		d.t.Fatal(err)
	}
	var got []string
	if len(b) > 0 {
		got = strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Errorf("-want +got:\n%s", diff)
	}
}

func (d *duo) has(node, path string) bool {
	_, err := os.Stat(d.machines[node].root + path)
	return err == nil
}
