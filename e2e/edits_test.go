package e2e

import (
	"slices"
	"strings"
	"time"
)

// guideEdits edits the guide's inventory, one thing at a time. Only what an
// edit asks for is in the plan of either node.
func (r *rig) guideEdits() {
	r.t.Helper()
	reload := func(changes ...string) []string { return append(changes, "services run keepalived.service") }

	r.add("vlan \"lab\" { id = 7 }")
	r.only("a VLAN", "interfaces", "sysctl", "conntrackd", "iptables", "keepalived", "services")
	r.apply()
	r.holder(8 * time.Second)
	r.pings()

	r.edit("\n\nvlan \"lab\" { id = 7 }\n", "\n")
	r.only("a VLAN less", "interfaces", "sysctl", "conntrackd", "iptables", "keepalived", "services")
	r.apply()
	r.gone("10.10.7.", "GW007", "eth2.7")

	r.edit(`server "ext-mx-in002" { address = "10.10.2.2" }`, "server \"ext-mx-in002\" { address = \"10.10.2.2\" }\n  server \"ext-mx-in003\" { address = \"10.10.2.3\" }")
	r.wants("fw01", []string{"haproxy update /etc/haproxy/haproxy.cfg", "services run haproxy.service"})
	r.apply()
	r.edit("\n  server \"ext-mx-in003\" { address = \"10.10.2.3\" }", "")
	r.wants("fw02", []string{"haproxy update /etc/haproxy/haproxy.cfg", "services run haproxy.service"})
	r.apply()

	// The password is a variable: another value is what an operator changes.
	r.edit("  password        = var.vrrp_password", `  password        = "Other123"`)
	r.wants("fw01", reload("keepalived update /etc/keepalived/keepalived.conf"))
	r.apply()
	r.holder(8 * time.Second)

	r.edit("  tcp          = [22]", "  tcp          = [22, 2222]")
	p := r.plan()
	for _, node := range []string{"fw01", "fw02"} {
		for _, c := range p.targets(node) {
			if !strings.HasPrefix(c, "iptables ") || strings.Contains(c, "v6") || strings.Contains(c, "ip6tables") {
				r.t.Errorf("%s: a changed allow plans %q", node, c)
			}
		}
	}
	r.apply()
	for _, node := range []string{"fw01", "fw02"} {
		if rules := r.on(node, "iptables-save"); !strings.Contains(rules, "2222") {
			r.t.Errorf("%s: no rule for port 2222 in\n%s", node, rules)
		}
	}
}

// vlans adds and removes VLANs in the default form, where none of it may move
// a VIP.
func (r *rig) vlans() {
	r.t.Helper()
	before, active := r.transitions(), r.holder(5*time.Second)
	r.add("vlan \"lab\" { id = 7 }")
	r.only("a VLAN", "interfaces", "sysctl", "conntrackd", "iptables", "keepalived", "services")
	r.apply()
	r.pings()
	many := "\n\ndynamic \"vlan\" {\n  for_each = range(100, 120)\n  labels   = [\"dyn${vlan.value}\"]\n  content { id = vlan.value }\n}"
	r.add(strings.TrimSpace(many))
	r.apply()
	if n := len(r.pair.VLANs); n != 23 {
		r.t.Errorf("%d VLANs, want 23", n)
	}
	r.edit(many, "")
	r.apply()
	r.edit("\n\nvlan \"lab\" { id = 7 }\n", "\n")
	r.apply()
	r.gone("10.10.7.", "eth2.7")
	r.gone("10.10.110.", "eth2.110")
	if after := r.transitions(); after != before {
		r.t.Errorf("%d VRRP transitions while VLANs came and went", after-before)
	}
	if now := r.holder(5 * time.Second); now != active {
		r.t.Errorf("the VIPs moved from %s to %s", active, now)
	}
}

// only fails the test if the plan of a node has none or other changes than those
// of the steps given.
func (r *rig) only(what string, steps ...string) {
	r.t.Helper()
	p := r.plan()
	for _, node := range []string{"fw01", "fw02"} {
		targets := p.targets(node)
		if len(targets) == 0 {
			r.t.Errorf("%s: %s plans nothing", node, what)
		}
		for _, c := range targets {
			if step, _, _ := strings.Cut(c, " "); !slices.Contains(steps, step) {
				r.t.Errorf("%s: %s plans %q", node, what, c)
			}
		}
	}
}

// gone fails the test if any of words is still found in the addresses, the
// rules, or the files that fwprov manages.
func (r *rig) gone(words ...string) {
	r.t.Helper()
	for _, node := range []string{"fw01", "fw02"} {
		state := r.on(node, "ip -4 -o addr show; iptables-save; cut -f2 /var/lib/fwprov/manifest; "+
			"cat /etc/keepalived/keepalived.conf /etc/conntrackd/conntrackd.conf")
		for _, w := range words {
			if strings.Contains(state, w) {
				r.t.Errorf("%s: %s has left the inventory and is still there", node, w)
			}
		}
	}
}

// handEdits changes things on a node by hand; plan must find and apply mend
// each.
func (r *rig) handEdits() {
	r.t.Helper()
	node := r.pair.Peer(r.holder(8 * time.Second)).Name
	vlan := r.pair.VLANs[0]
	own := vlan.Addresses[node].String()
	conf := "/etc/keepalived/keepalived.conf"
	for _, edit := range []struct{ what, script, want string }{
		{"a changed file", "echo '# by hand' >>" + conf, "keepalived update " + conf},
		{"a deleted file", "rm " + conf, "keepalived create " + conf},
		{"an opened mode", "chmod 0644 " + conf, "keepalived update " + conf},
		{"a stopped service", "systemctl stop conntrackd", "services run conntrackd.service"},
		{"a disabled service", "systemctl disable keepalived", "services run keepalived.service"},
		{"a flushed rule", "iptables -D INPUT 1", "iptables run"},
		{"a flushed ruleset", "iptables -P INPUT ACCEPT; iptables -F INPUT", "iptables run"},
		{"a removed address", "ip addr del " + own + "/24 dev " + vlan.Interface, "interfaces"},
		{"a reset sysctl", "sysctl -qw net.ipv4.ip_forward=0", "sysctl"},
	} {
		r.on(node, edit.script)
		p := r.plan()
		if !slices.ContainsFunc(p.targets(node), func(s string) bool { return strings.HasPrefix(s, edit.want) }) {
			r.t.Errorf("%s on %s: plan finds %q, want %q", edit.what, node, p.targets(node), edit.want)
		}
		if other := p.targets(r.pair.Peer(node).Name); len(other) > 0 {
			r.t.Errorf("%s on %s: plan wants %q on the other node", edit.what, node, other)
		}
		r.apply()
	}
}
