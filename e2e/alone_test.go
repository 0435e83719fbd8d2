package e2e

import (
	"context"
	"strings"
	"time"

	"fwprov/provision"
)

// alone changes a pair whose standby could not take over, or is gone: the active
// node is left as it is, unless somebody insists.
func (r *rig) alone() {
	active := r.holder(5 * time.Second)
	standby := r.pair.Peer(active).Name
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	vlan := r.pair.VLANs[0].Interface
	if err := r.lab.Link(ctx, standby, vlan, false); err != nil {
		r.t.Fatal(err)
	}
	r.edit("tcp  = [", "tcp  = [81, ")
	f := r.during("a standby with a cable out", func() {
		out := r.ends(1, "apply", r.file)
		for _, want := range []string{"node " + active + " is left as it is, because " + standby + " could not take over", vlan + " has no carrier"} {
			if !strings.Contains(out, want) {
				r.t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	if f.lost > 0 || len(f.broken)+len(f.failed) > 0 {
		r.t.Errorf("it was noticed: %s", f)
	}
	if len(r.plan().targets(active)) == 0 {
		r.t.Error("nothing is left to do on the active node")
	}
	if err := r.lab.Link(ctx, standby, vlan, true); err != nil {
		r.t.Fatal(err)
	}
	r.apply()

	if err := r.lab.PowerCut(ctx, standby); err != nil {
		r.t.Fatal(err)
	}
	r.edit("tcp  = [", "tcp  = [82, ")
	hint := "fwprov apply " + r.file + " --limit " + active + " --force"
	if out := r.ends(1, "plan", r.file); !strings.Contains(out, hint) || !strings.Contains(out, active+" (active): ") {
		r.t.Errorf("what can be done is not told:\n%s", out)
	}
	if out := r.ends(1, "apply", r.file); !strings.Contains(out, hint) {
		r.t.Errorf("what can be done is not told:\n%s", out)
	}
	if out := r.ends(1, "apply", r.file, "--limit", active); !strings.Contains(out, "node "+active+" is left as it is") {
		r.t.Errorf("changed without its peer:\n%s", out)
	}
	if out := r.ends(0, "apply", r.file, "--limit", active, "--force", "--quiet"); !strings.Contains(out, "because of --force, although "+standby+" could not take over:\n  reach: ") {
		r.t.Errorf("what --force went over is not told:\n%s", out)
	}
	if err := r.lab.PowerOn(ctx, standby); err != nil {
		r.t.Fatal(err)
	}
	r.eventually(20*time.Second, "the standby is back", func() string {
		if out, errs, code := r.run(nil, "verify", r.file); code != 0 {
			return out + errs
		}
		return ""
	})
	if p := r.plan(); len(p.targets(active)) > 0 || len(p.targets(standby)) == 0 {
		r.t.Errorf("left to do on the standby: %q, on the active node: %q", p.targets(standby), p.targets(active))
	}
	r.apply()
}

// killedBetween kills runs in the middle of a drain, and between the changes of
// two nodes that have to agree: both come back by themselves.
func (r *rig) killedBetween() {
	r.vrrpBlock()
	for _, c := range []struct {
		what, change string
		when         func(e provision.Event, active bool) bool
	}{
		{"the active node is drained", "", func(e provision.Event, active bool) bool { return e.Event == provision.Drained }},
		{"the standby is held", "first_router_id = 21\n", func(e provision.Event, active bool) bool {
			return e.Event == provision.ChangeDone && e.Step == "services" && !active
		}},
		{"both are changed", "first_router_id = 31\n", func(e provision.Event, active bool) bool {
			return e.Event == provision.ChangeDone && e.Step == "services" && active
		}},
	} {
		active := r.holder(5 * time.Second)
		standby := r.pair.Peer(active).Name
		if c.change == "" {
			r.forget("keepalived")
		} else {
			r.edit("vrrp {\n", "vrrp {\n"+c.change)
		}
		v := r.vigil()
		r.killAt(func(e provision.Event) bool { return c.when(e, e.Node == active) })
		r.eventually(40*time.Second, c.what+": both nodes have gone back", func() string {
			for _, node := range []string{active, standby} {
				if out, there := r.try(node, "ls /var/lib/fwprov/rollback/pending /run/fwprov/drain 2>/dev/null | grep ."); there {
					return node + ": " + out
				}
			}
			return ""
		})
		none, two := v.end()
		r.t.Logf("%s: no holder %s, two holders %s", c.what, seconds(none), seconds(two))
		if two > 2*time.Second {
			r.t.Errorf("%s: two holders for %s", c.what, seconds(two))
		}
		if c.change == "" {
			r.owed(active, "services run keepalived.service")
		} else {
			r.healthy()
			r.edit("vrrp {\n"+c.change, "vrrp {\n")
			r.unchanged()
		}
		r.apply()
	}
}

// owed fails the test unless one change is left to do, on that node.
func (r *rig) owed(node, change string) {
	r.t.Helper()
	p := r.plan()
	if got := p.targets(node); p.Changes != 1 || len(got) != 1 || got[0] != change {
		r.t.Errorf("left to do: fw01 %q, fw02 %q; want %q on %s", p.targets("fw01"), p.targets("fw02"), change, node)
	}
}
