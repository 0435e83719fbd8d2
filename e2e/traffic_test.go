package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// trafficInventory has every default, and what a client needs to notice
// whatever goes wrong.
const trafficInventory = `cluster "edge" {}

outside {
  interface = "eth0"
  network   = "192.168.1.0/24"
  gateway   = "192.168.1.254"
  vip       = "192.168.1.10"
}

sync {
  interface = "eth1"
  network   = "10.10.1.0/24"
}

inside {
  interface = "eth2"
  network   = "10.10.0.0/16"
}

node "fw01" {
  outside   = "192.168.1.1"
  sync      = "10.10.1.1"
  vlan_host = 253
}

node "fw02" {
  outside   = "192.168.1.2"
  sync      = "10.10.1.2"
  vlan_host = 252
}

vlan "office" { id = 2 }

service "echo" {
  port        = 7
  mode        = "tcp"
  transparent = true

  server "one" { address = "10.10.2.1" }
  server "two" { address = "10.10.2.2" }
}

allow "routed" {
  from = "outside"
  to   = "inside"
  tcp  = [7]
  icmp = true
}
`

// TestTraffic changes pairs under load. Nothing but these labs runs meanwhile: it
// is milliseconds that are told apart.
func TestTraffic(t *testing.T) {
	for name, run := range map[string]func(r *rig){
		lab.Debian: func(r *rig) {
			r.t.Run("unnoticed", func(t *testing.T) { r.with(t).unnoticed() })
			r.t.Run("drained", func(t *testing.T) { r.with(t).drained() })
		},
		lab.EL: func(r *rig) {
			r.t.Run("unnoticed", func(t *testing.T) { r.with(t).unnoticed() })
			r.t.Run("drained", func(t *testing.T) { r.with(t).drained() })
			r.t.Run("killed", func(t *testing.T) { r.with(t).killedBetween() })
			r.t.Run("readdressed", func(t *testing.T) { r.with(t).readdressed() })
		},
		lab.EL + " together": func(r *rig) {
			r.t.Run("agreed", func(t *testing.T) { r.with(t).agreed() })
			r.t.Run("alone", func(t *testing.T) { r.with(t).alone() })
			r.t.Run("asked", func(t *testing.T) { r.with(t).asked() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, _, _ := strings.Cut(name, " ")
			r := up(t, "traffic-"+strings.ReplaceAll(name, " ", "-"), image, []byte(trafficInventory))
			r.apply()
			r.healthy()
			r.holder(10 * time.Second)
			run(r)
		})
	}
}

// unnoticed makes changes of which a client must not notice anything.
func (r *rig) unnoticed() {
	for _, c := range []struct {
		what string
		edit func()
	}{
		{"a rerun", func() {}},
		{"a new VLAN", func() { r.add(`vlan "lab" { id = 7 }`) }},
		{"a new server", func() {
			r.edit(`server "two" { address = "10.10.2.2" }`, "server \"two\" { address = \"10.10.2.2\" }\n  server \"three\" { address = \"10.10.2.3\" }")
		}},
		{"a changed rule", func() { r.edit("tcp  = [7]", "tcp  = [7, 2222]") }},
		{"a changed timeout of HAProxy", func() {
			r.edit("transparent = true", "transparent = true\n  timeouts { client = \"10m\" }")
		}},
	} {
		f := r.during(c.what, func() {
			c.edit()
			r.apply()
		})
		if f.lost > 0 || len(f.broken) > 0 || len(f.failed) > 0 {
			r.t.Errorf("%s was noticed: %s\n%q", c.what, f, f.failed)
		}
	}
}

// drained makes changes for which the VIPs have to move: at the default timers
// that costs half a second at most, and no routed connection.
func (r *rig) drained() {
	for _, c := range []struct {
		what string
		do   func(active, standby string)
	}{
		{"keepalived restarted", func(active, standby string) {
			r.forget("keepalived")
			r.disruptive(active, standby)
			r.apply()
		}},
		{"haproxy restarted", func(active, standby string) {
			r.forget("haproxy")
			r.disruptive(active, standby)
			r.apply()
		}},
		{"drained by an operator", func(active, _ string) {
			r.ends(0, "drain", r.file, active)
		}},
	} {
		active := r.holder(5 * time.Second)
		standby := r.pair.Peer(active).Name
		f, none, two := r.watched(c.what, func() { c.do(active, standby) })
		if f.outage > 500*time.Millisecond || none > 500*time.Millisecond || two > 0 || r.routed(f) {
			r.t.Errorf("%s: no holder for %s, two for %s: %s", c.what, seconds(none), seconds(two), f)
		}
		if now := r.holder(time.Second); now != standby {
			r.t.Errorf("%s: %s holds the VIPs, not %s", c.what, now, standby)
		}
	}
	r.maintenance()
}

// maintenance goes on where a drain has left the pair.
func (r *rig) maintenance() {
	active := r.holder(time.Second)
	node := r.pair.Peer(active).Name
	if out := r.ends(3, "verify", r.file); !strings.Contains(out, "drained by root") {
		r.t.Errorf("verify does not tell of the drain:\n%s", out)
	}
	if out := r.ends(1, "drain", r.file, active); !strings.Contains(out, "fwprov undrain") {
		r.t.Errorf("no way out is told:\n%s", out)
	}
	r.edit("tcp  = [7", "tcp  = [8, 7")
	if out := r.ends(1, "apply", r.file); !strings.Contains(out, "node "+active+" is left as it is") {
		r.t.Errorf("the active node was changed while its peer is drained:\n%s", out)
	}
	if got := r.plan(); len(got.targets(node)) > 0 || len(got.targets(active)) == 0 {
		r.t.Errorf("the drained node is to be changed and the active one not: %q %q", got.targets(node), got.targets(active))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.lab.Reboot(ctx, node); err != nil {
		r.t.Fatal(err)
	}
	r.eventually(10*time.Second, "a drained node is in FAULT after a reboot", func() string {
		out, _ := r.try(node, "journalctl -q -b -o cat -t Keepalived_vrrp | grep 'FAULT state (tracked file drain_operator'")
		if out == "" {
			return "no word of it"
		}
		return ""
	})
	if now := r.holder(time.Second); now != active {
		r.t.Errorf("the drained node holds the VIPs after a reboot")
	}
	f, none, _ := r.watched("undrained", func() {
		r.ends(0, "undrain", r.file, node)
		r.apply()
	})
	if f.lost > 0 || none > 0 || len(f.broken)+len(f.failed) > 0 {
		r.t.Errorf("an undrain was noticed: %s", f)
	}
	r.healthy()
}

// forget lets nobody know what a daemon has loaded, as if it had been started by
// others: it has to be restarted.
func (r *rig) forget(daemon string) {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "rm /run/fwprov/loaded/"+daemon+".service")
	}
}

// disruptive makes sure that the plan says what it will cost, for the active
// node only.
func (r *rig) disruptive(active, standby string) {
	r.t.Helper()
	for _, n := range r.plan().Nodes {
		for _, c := range n.Changes {
			if c.Disruptive != (n.Name == active) || c.Disruptive && !strings.Contains(c.Cost, "the VIPs move to "+standby) {
				r.t.Errorf("%s: %s: disruptive: %t %q", n.Name, c.Target, c.Disruptive, c.Cost)
			}
		}
	}
}

// ends runs fwprov, which must end with that code, and returns all it says.
func (r *rig) ends(code int, args ...string) string {
	r.t.Helper()
	out, errs, got := r.run(nil, args...)
	if got != code {
		r.t.Fatalf("fwprov %s: exit %d, want %d\n%s\n%s", strings.Join(args, " "), got, code, out, errs)
	}
	return out + errs
}

// routed reports whether a routed connection was broken.
func (r *rig) routed(f felt) bool {
	return slices.ContainsFunc(f.broken, func(s string) bool { return strings.HasPrefix(s, "routed") })
}

// agreed changes what both nodes have to agree on. There are never two holders,
// and none for no longer than the plan says, with a little for the machine.
func (r *rig) agreed() {
	r.vrrpBlock()
	set := func(text string) func() {
		return func() {
			src, err := os.ReadFile(r.file)
			if err != nil {
				r.t.Fatal(err)
			}
			at := strings.Index(string(src), vrrpOpens) + len(vrrpOpens)
			end := at + strings.Index(string(src)[at:], "}")
			r.writeSync([]byte(string(src)[:at] + text + string(src)[end:]))
		}
	}
	perVLAN := "instances = \"per_vlan\"\n heartbeat = [\"sync\"]\n"
	for _, c := range []struct {
		what string
		edit func()
		none time.Duration
	}{
		{"longer intervals", set("advert_interval = \"500ms\"\n outside_advert_interval = \"300ms\"\n"), 0},
		{"version 2 with a password", set("version = 2\n password = \"abcd1234\"\n advert_interval = \"1s\"\n outside_advert_interval = \"1s\"\n"), 0},
		{"another password", set("version = 2\n password = \"abcd9999\"\n advert_interval = \"1s\"\n outside_advert_interval = \"1s\"\n"), 0},
		{"the defaults again", set(""), 0},
		{"other router ids", set("first_router_id = 5\n"), 1300 * time.Millisecond},
		{"an instance for each address", set(perVLAN), 1300 * time.Millisecond},
		{"an instance more", func() { r.add(`vlan "dmz" { id = 9 }`) }, 1300 * time.Millisecond},
		{"an instance less", func() { r.edit("\n\nvlan \"dmz\" { id = 9 }\n", "\n") }, 0},
		{"one for all again", set(""), 1300 * time.Millisecond},
	} {
		f, none, two := r.watched(c.what, func() {
			c.edit()
			r.apply()
		})
		if none > c.none || two > 0 || r.routed(f) {
			r.t.Errorf("%s: no holder for %s, two for %s: %s", c.what, seconds(none), seconds(two), f)
		}
		if c.none == 0 && (f.lost > 0 || len(f.broken)+len(f.failed) > 0) {
			r.t.Errorf("%s was noticed: %s", c.what, f)
		}
	}
	r.healthy()
}

const vrrpOpens = "vrrp {\n"

// vrrpBlock makes sure that there is one to write settings into.
func (r *rig) vrrpBlock() {
	src, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(src), vrrpOpens) {
		r.add(vrrpOpens + "}")
	}
}

// during sends traffic while something is done.
func (r *rig) during(what string, do func()) felt {
	r.t.Helper()
	t := r.send()
	do()
	f := t.end()
	r.t.Logf("%s: %s", what, f)
	return f
}
