package steps

import (
	"fmt"

	"fwprov/inventories"
	"fwprov/provision"
)

// services enables and starts the daemons, and lets each run the configuration
// that is on disk. Whether it does is read off the node: the drop-in of every
// unit records what it loaded. keepalived is last, so that a node becomes
// master only when it can serve; the drop-ins hold the same order at boot.
type services struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Step    = services{}
	_ provision.Drainer = services{}
)

// daemon is a unit that loads a configuration we write.
type daemon struct {
	unit    string
	loaded  string // hash of what it has to have loaded, "" if it must not run
	started string // hash of what says how it is started
	reload  bool   // takes a new configuration without a restart
	after   string // sh, run once it was started, restarted or reloaded
	proof   string // sh, defines proved, which is called around a reload: with "before", then with "after"
	held    bool   // must not run as long as the node is drained
}

func (services) Name() string { return "services" }

func (s services) daemons(f provision.Facts) []daemon {
	return []daemon{
		{unit: "conntrackd.service", loaded: conntrackd(s).loaded(f), started: conntrackd(s).started(f), after: afterConntrackd},
		{unit: "haproxy.service", loaded: haproxy(s).loaded(f), started: haproxy(s).started(f), reload: true, proof: haproxyProof()},
		{unit: "keepalived.service", loaded: keepalived(s).loaded(f), started: keepalived(s).started(f), reload: true, held: !tracksFiles(f)},
	}
}

// afterConntrackd waits for the daemon (Enterprise Linux's unit is of
// Type=simple: started means forked) and fills the cache that a restart emptied from
// the peer. That of the peer is filled by the unit.
const afterConntrackd = "n=0\nwhile [ $n -lt 50 ] && ! conntrackd -s >/dev/null 2>&1; do\n\tsleep 0.1\n\tn=$((n + 1))\ndone\n" +
	"conntrackd -n >/dev/null 2>&1 || true\n"

// haproxyProof waits until another worker answers than before: a reload that
// cannot take a port leaves the old one, and nobody but the journal is told.
func haproxyProof() string {
	return fmt.Sprintf(`worker() { timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d && echo show info >&3 && cat <&3' 2>/dev/null | sed -n 's/^Pid: //p'; }
proved() {
	command -v bash >/dev/null || return 0
	if [ $1 = before ]; then was=$(worker); return; fi
	n=0
	while now=$(worker); [ -z "$now" ] || [ "$now" = "$was" ]; do
		n=$((n + 1))
		[ $n -lt 25 ] || {
			echo "HAProxy still runs the configuration of before:"
			journalctl -q -o cat --no-pager --since=-20s -u haproxy.service | grep -v NOTICE | tail -n 10
			return 1
		}
		sleep 0.2
	done
}
`, statPort)
}

func (s services) Probe() provision.Probe {
	return provision.Probe{Units: []string{"conntrackd.service", "haproxy.service", "keepalived.service"}}
}

func (s services) Plan(f provision.Facts) ([]provision.Change, error) {
	var out []provision.Change
	for _, d := range s.daemons(f) {
		out = append(out, d.plan(f)...)
	}
	for i := range out {
		out[i].Step = s.Name()
		s.handover(f, &out[i])
	}
	return append(out, s.planLeftDrain(f)...), nil
}

// What a unit's change is for.
const (
	whyReload  = "reload: runs an older configuration"
	whyRestart = "restart: runs an older configuration"
	whyStart   = "restart: was started in another way than its unit now says"
)

func restartOf(unit string) string { return "systemctl restart " + unit + "\n" }

func isRestart(why string) bool { return why == whyRestart || why == whyStart }

// plan compares a unit with what it has to be: enabled, running, with the
// configuration on disk.
func (d daemon) plan(f provision.Facts) []provision.Change {
	active, enabled := unitKeys(d.unit)
	loaded, started := provision.Key("loaded", d.unit), provision.Key("loaded", startRecord(d.unit))
	if d.loaded == "" {
		return d.planOff(f, active, enabled)
	}
	drained := f.Get("drain", "operator") != "" && d.held
	var out []provision.Change
	if f[enabled] != "enabled" {
		out = append(out, provision.Change{Target: d.unit, Action: provision.Run, Why: "enable: starts at boot",
			From: f.Select(enabled), Makes: provision.Facts{enabled: "enabled"}, Script: enable(d.unit, f[enabled]), Enables: true})
	}
	c := provision.Change{Target: d.unit, Action: provision.Run, From: f.Select(active, loaded, started),
		Makes: provision.Facts{active: "active", loaded: d.loaded, started: d.started}}
	switch {
	case f[active] != "active" && drained:
		return out // fwprov undrain starts it
	case f[active] != "active":
		c.Why = "start: " + state(f[active])
		c.Script = fmt.Sprintf("systemctl reset-failed %[1]s 2>/dev/null || true\nsystemctl start %[1]s\n", d.unit)
	case f[loaded] == d.loaded && f[started] == d.started:
		return out
	case d.reload && f[loaded] != "" && f[started] == d.started:
		// It may have been stopped meanwhile, to drain the node.
		c.Why, c.Script = whyReload, "systemctl reload-or-restart "+d.unit+"\n"
		if d.proof != "" {
			c.Script = d.proof + "proved before\n" + c.Script + "proved after\n"
		}
	default:
		// Nothing recorded: it was started without our drop-in, with whatever
		// options and configuration its package brought. Or that has changed.
		c.Why, c.Script = whyRestart, restartOf(d.unit)
		if f[loaded] == d.loaded {
			c.Why = whyStart
		}
	}
	if d.held {
		c.Script = "[ ! -e " + drainRun + " ] || exit 0 # it is started when the node is undrained\n" + c.Script
	}
	c.Script += d.after + failed(d.unit)
	return append(out, c)
}

// planOff is the plan of a unit that the inventory does not need.
func (d daemon) planOff(f provision.Facts, active, enabled string) []provision.Change {
	if f[active] != "active" && f[enabled] != "enabled" {
		return nil
	}
	makes := provision.Facts{}
	if f[active] == "active" {
		makes[active] = "inactive"
	}
	if f[enabled] == "enabled" {
		makes[enabled] = "disabled"
	}
	return []provision.Change{{Target: d.unit, Action: provision.Run, Why: "stop: nothing in the inventory needs it",
		From: f.Select(active, enabled), Makes: makes, Script: "systemctl disable --now " + d.unit + "\n"}}
}

func state(active string) string {
	if active == "failed" {
		return "has failed"
	}
	return "does not run"
}

// failed makes a change fail, with the last words of the daemon, where a unit
// is not active although systemctl was content.
func failed(unit string) string {
	return fmt.Sprintf("systemctl is-active --quiet %[1]s || { systemctl status --no-pager -n 15 %[1]s; exit 1; }\n", unit)
}
