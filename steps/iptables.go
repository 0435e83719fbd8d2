package steps

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// iptables is the rules: what may pass, and what is diverted to the proxy. The
// distribution's own service loads them at boot; an apply loads them at once,
// each table in one piece, so that there is no moment without rules.
type iptables struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Renderer  = iptables{}
	_ provision.Validator = iptables{}
)

// rulesPath is where the distribution's service looks for the rules of a family.
func rulesPath(f provision.Facts, family string) string { return rulesPathIn(debian(f), family) }

func rulesPathIn(debian bool, family string) string {
	switch {
	case debian:
		return "/etc/iptables/rules." + family
	case family == "v6":
		return "/etc/sysconfig/ip6tables"
	}
	return "/etc/sysconfig/iptables"
}

// rulesUnits are the services that load the rules at boot. Debian's does both
// families.
func rulesUnits(f provision.Facts) []string {
	switch {
	case debian(f):
		return []string{"netfilter-persistent.service"}
	case hasIPv6(f):
		return []string{"iptables.service", "ip6tables.service"}
	}
	return []string{"iptables.service"}
}

// hasIPv6 is false on a machine that was booted with ipv6.disable=1: it has no
// tables for it either.
func hasIPv6(f provision.Facts) bool { return f.Get("kernel", "ipv6") == "yes" }

func (iptables) Name() string { return "iptables" }

// Files are the rules of both families, the hook for the site's own commands,
// and the policy route of diverted packets.
func (s iptables) Files(f provision.Facts) []provision.File {
	out := []provision.File{
		{Path: rulesPath(f, "v4"), Content: s.rulesV4(f), Mode: 0o600},
		{Path: rulesPath(f, "v6"), Content: s.rulesV6(f), Mode: 0o600},
		{Path: hookDropIn(f), Content: []byte(hookLines)},
	}
	if s.pair.Transparent() {
		out = append(out, provision.File{Path: divertPath, Content: []byte(divertText)})
	}
	return out
}

func hookDropIn(f provision.Facts) string {
	return "/etc/systemd/system/" + rulesUnits(f)[0] + ".d/fwprov.conf"
}

// hookLines let a script of the site's own run before the rules are loaded at
// boot. What it puts into the tables raw, mangle and filter is replaced by the
// rules that follow; and they follow also if it fails.
const hookLines = `# Managed by fwprov.
[Service]
ExecStartPre=-/bin/sh -c 'test ! -x /etc/iptables/iptables || exec /etc/iptables/iptables --no-service'
`

// Probe compares the kernel's rules with what it made of the ruleset files.
func (s iptables) Probe() provision.Probe {
	return provision.Probe{
		Files: []string{rulesPathIn(true, "v4"), rulesPathIn(true, "v6"), rulesPathIn(false, "v4"), rulesPathIn(false, "v6"), divertPath,
			"/etc/systemd/system/iptables.service.d/fwprov.conf", "/etc/systemd/system/netfilter-persistent.service.d/fwprov.conf"},
		Units:  []string{"iptables.service", "ip6tables.service", "netfilter-persistent.service", divertUnit},
		Script: rulesProbe + sshPortsProbe,
		Parse:  parseIptables,
	}
}

// sshPortsProbe prints where sshd is told its ports, and that of the session that
// this runs in. sshd itself, which takes longer to tell than all the rest, is asked
// where its files include others, and under sudo, which hides the session.
const sshPortsProbe = `echo "ssh ${SSH_CONNECTION##* }"
ask=
[ -n "${SSH_CONNECTION-}" ] && [ -r /etc/ssh/sshd_config ] || ask=yes
for f in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do
	[ -r "$f" ] || continue
	while read -r l; do
		case $l in
		[Pp][Oo][Rr][Tt][[:space:]=]* | [Ll][Ii][Ss][Tt][Ee][Nn][Aa]*) printf '%s\n' "$l" ;;
		'Include /etc/ssh/sshd_config.d/*.conf') ;;
		[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=]*) ask=yes ;;
		esac
	done <"$f"
done
[ -z "$ask" ] || sshd -T | grep -i -e '^port ' -e '^listenaddress '
`

// sshPort reads a line of sshd_config(5), or of what sshd -T prints; "" if it names no
// port.
func sshPort(line string) string {
	key, value, _ := strings.Cut(strings.Replace(strings.TrimSpace(line), "=", " ", 1), " ")
	value = strings.Trim(strings.Fields(value + " -")[0], `"`)
	switch {
	case strings.EqualFold(key, "port"):
	case strings.EqualFold(key, "listenaddress"):
		// host:port, [host]:port, or an address alone.
		host, port, err := net.SplitHostPort(value)
		if err != nil || host == "" {
			return ""
		}
		value = port
	default:
		return ""
	}
	if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
		return ""
	}
	return value
}

func parseIptables(out string, f provision.Facts) error {
	drift := map[string]*strings.Builder{"v4": {}, "v6": {}}
	var ports []string
	for _, line := range strings.Split(out, "\n") {
		what, value, _ := strings.Cut(line, " ")
		switch {
		case what == "ipv6" && value == "yes":
			f[provision.Key("kernel", "ipv6")] = value
		case what == "rules":
			family, hash, _ := strings.Cut(value, " ")
			if drift[family] != nil && (hash == "changed" || isHash(hash)) {
				f[provision.Key("rules", family)] = hash
			}
		case what == "drift":
			family, text, _ := strings.Cut(value, " ")
			if b := drift[family]; b != nil {
				b.WriteString(text + "\n")
			}
		case what == "ssh":
			ports = append(ports, sshPort("port "+value))
		default:
			ports = append(ports, sshPort(line))
		}
	}
	slices.SortFunc(ports, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	if ports = slices.DeleteFunc(slices.Compact(ports), func(p string) bool { return p == "" }); len(ports) > 0 {
		f[provision.Key("ssh", "ports")] = strings.Join(ports, " ")
	}
	for family, b := range drift {
		if b.Len() > 0 {
			f[provision.Key("drift", "rules", family)] = b.String()
		}
	}
	return nil
}

func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// Plan wants the files, the kernel's rules made from them, the services that
// make them at boot, and the policy route.
func (s iptables) Plan(f provision.Facts) ([]provision.Change, error) {
	out := s.planNoDivert(f)
	out = append(out, provision.PlanFiles(f, s.Name(), s.Files(f)...)...)
	if c, ok := s.planLoad(f); ok {
		out = append(out, c)
	}
	for _, unit := range rulesUnits(f) {
		// firewalld conflicts with these units: to start one stops it, and it
		// takes the rules of the kernel along. It goes in a step of its own.
		if c, ok := planUnit(f, unit, "systemctl start --job-mode=ignore-dependencies "+unit+"\n"); ok {
			out = append(out, c)
		}
	}
	out = append(out, s.planDivert(f)...)
	for i := range out {
		out[i].Step = s.Name()
		out[i].Risky = out[i].Risky || out[i].Write != nil && out[i].Target != divertPath
	}
	return out, nil
}

// unitKeys are the facts that say whether a unit runs and whether it starts at
// boot.
func unitKeys(unit string) (active, enabled string) {
	return provision.Key("unit", unit, "ActiveState"), provision.Key("unit", unit, "UnitFileState")
}

// enable is the script that enables a unit in that state, without a daemon-reload for
// each: its change says so.
func enable(unit, state string) string {
	script := "systemctl --no-reload enable " + unit + "\n"
	if strings.HasPrefix(state, "masked") {
		script = "systemctl unmask " + unit + "\nsystemctl unmask --runtime " + unit + "\n" + script
	}
	return script
}

// planUnit wants a unit enabled and active; start is how it is started.
func planUnit(f provision.Facts, unit, start string) (provision.Change, bool) {
	active, enabled := unitKeys(unit)
	if f[active] == "active" && f[enabled] == "enabled" {
		return provision.Change{}, false
	}
	c := provision.Change{Target: unit, Action: provision.Run, From: f.Select(active, enabled),
		Makes: provision.Facts{active: "active", enabled: "enabled"}}
	var why []string
	if f[enabled] != "enabled" {
		why = append(why, "enable: starts at boot")
		c.Script, c.Enables = enable(unit, f[enabled]), true
	}
	if f[active] != "active" {
		why = append(why, "start: "+state(f[active]))
		c.Script += start
	}
	c.Why = strings.Join(why, "; ")
	return c, true
}

// Validate lets iptables-restore read the rules. Its nft variant does not see
// a jump to a missing chain; the tests of this package do.
func (s iptables) Validate(staged func(string) string) string {
	var b strings.Builder
	b.WriteString("failed=0\n")
	for _, debian := range []bool{true, false} {
		v4, v6 := provision.Quote(staged(rulesPathIn(debian, "v4"))), provision.Quote(staged(rulesPathIn(debian, "v6")))
		b.WriteString("[ ! -f " + v4 + " ] || iptables-restore --test <" + v4 + " || failed=1\n")
		b.WriteString("[ ! -f " + v6 + " ] || [ ! -e /proc/net/if_inet6 ] || ip6tables-restore --test <" + v6 + " || failed=1\n")
	}
	b.WriteString("exit $failed\n")
	return b.String()
}
