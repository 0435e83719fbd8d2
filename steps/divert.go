package steps

import (
	"regexp"

	"fwprov/provision"
)

// A transparent service answers under the client's address. Packets to it are
// marked by the rules, and the mark sends them through a routing table of their
// own, in which every address is local. Rule and table are made by a unit of
// ours: no two ways of configuring networks agree on how to write them.
const (
	divertMark = "0x1/0x1"
	divertUnit = "fwprov-divert.service"
	divertPath = "/etc/systemd/system/" + divertUnit
)

const (
	divertRule  = "fwmark " + divertMark + " lookup 100"
	divertRoute = "local 0.0.0.0/0 dev lo table 100"
)

// divertText does nothing where rule and route are there already.
const divertText = `# Managed by fwprov.
[Unit]
Description=Policy route of packets that are diverted to HAProxy
After=network-pre.target
Before=haproxy.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip rule show | grep -q "^100:.*fwmark ` + divertMark + ` lookup " || ip rule add pref 100 ` + divertRule + `'
ExecStart=/bin/sh -c 'ip route replace ` + divertRoute + `'

[Install]
WantedBy=multi-user.target
`

// parseDivert reads a line of ip rule, or of ip route show table 100.
func parseDivert(line string, f provision.Facts) {
	switch {
	case divertRuleLine.MatchString(line):
		f[provision.Key("divert", "rule")] = "yes"
	case divertRouteLine.MatchString(line):
		f[provision.Key("divert", "route")] = "yes"
	}
}

var (
	divertRuleLine  = regexp.MustCompile(`^100:.*fwmark ` + divertMark + ` lookup `)
	divertRouteLine = regexp.MustCompile(`^local (default|0\.0\.0\.0/0) dev lo`)
)

// planDivert wants the unit active and rule and route in the kernel. That the
// unit is active says little: what manages the network may flush them.
func (s iptables) planDivert(f provision.Facts) []provision.Change {
	if !s.pair.Transparent() {
		return nil
	}
	rule, route := provision.Key("divert", "rule"), provision.Key("divert", "route")
	active, enabled := unitKeys(divertUnit)
	missing := f[rule] == "" || f[route] == ""
	start := "systemctl restart " + divertUnit + "\n"
	c, ok := planUnit(f, divertUnit, start)
	switch {
	case !ok && !missing:
		return nil
	case !ok:
		c = provision.Change{Target: divertUnit, Action: provision.Run, Why: "rule or route is missing", Makes: provision.Facts{}, Script: start}
	case missing && f[active] == "active":
		c.Script += start
	}
	c.From = f.Select(rule, route, active, enabled)
	c.Makes[rule], c.Makes[route] = "yes", "yes"
	return []provision.Change{c}
}

// planNoDivert takes rule, route and unit away where no service is transparent
// any more. The unit's file goes after it, with the others that are not wanted.
func (s iptables) planNoDivert(f provision.Facts) []provision.Change {
	active, enabled := unitKeys(divertUnit)
	if s.pair.Transparent() || f[active] != "active" && f[enabled] == "" {
		return nil
	}
	rule, route := provision.Key("divert", "rule"), provision.Key("divert", "route")
	return []provision.Change{{Target: divertUnit, Action: provision.Delete, Why: "no service is transparent",
		From:  f.Select(rule, route, active, enabled),
		Makes: provision.Facts{rule: "", route: "", active: "inactive", enabled: ""},
		Script: "systemctl disable --now " + divertUnit + "\n" +
			"ip rule del pref 100 " + divertRule + " || true\nip route flush table 100 || true\n"}}
}
