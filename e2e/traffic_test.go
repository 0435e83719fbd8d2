package e2e

import (
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

// TestTraffic changes a pair under load, on each image.
func TestTraffic(t *testing.T) {
	for _, image := range []string{lab.Debian, lab.EL} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := up(t, "traffic-"+image, image, []byte(trafficInventory))
			r.apply()
			r.healthy()
			r.holder(10 * time.Second)
			t.Run("unnoticed", func(t *testing.T) { r.with(t).unnoticed() })
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

// during sends traffic while something is done.
func (r *rig) during(what string, do func()) felt {
	r.t.Helper()
	t := r.send()
	do()
	f := t.end()
	r.t.Logf("%s: %s", what, f)
	return f
}
