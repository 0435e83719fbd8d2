package steps

import (
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// firewalld is what else would rule over the packets of the node: firewalld,
// which distributions start by default, ufw, and nftables.service. By the time
// of this step our rules are in the kernel, and they stay there throughout.
type firewalld struct {
	pair *inventories.Pair
	node inventories.Node
}

var _ provision.Step = firewalld{}

const (
	firewalldUnit = "firewalld.service"
	ufwUnit       = "ufw.service"
	nftablesUnit  = "nftables.service"
)

func (firewalld) Name() string { return "firewalld" }

func (firewalld) Probe() provision.Probe {
	return provision.Probe{
		Units: []string{firewalldUnit, ufwUnit, nftablesUnit},
		// Where it is masked, it has taken its table along.
		Script: "if [ -x /usr/sbin/firewalld ] && [ ! -L /etc/systemd/system/" + firewalldUnit + " ]; then nft list tables; fi\n" +
			"[ ! -r /etc/ufw/ufw.conf ] || grep -i '^ENABLED=yes' /etc/ufw/ufw.conf\n",
		Once: firewalldRuntime,
		Parse: func(out string, f provision.Facts) error {
			for _, line := range strings.Split(out, "\n") {
				switch {
				case strings.HasPrefix(line, "table ") && strings.HasSuffix(line, " firewalld"):
					f[provision.Key("firewalld", "table")] = "yes"
				case line == "runtime":
					f[provision.Key("firewalld", "runtime")] = "yes"
				case strings.HasPrefix(strings.ToUpper(line), "ENABLED=YES"):
					f[provision.Key("ufw", "enabled")] = "yes"
				}
			}
			return nil
		},
	}
}

// firewalldRuntime tells whether zones differ from what firewalld would start
// with. Which interfaces are in them others say too.
const firewalldRuntime = `if [ -d /sys/fs/cgroup/system.slice/` + firewalldUnit + ` ] || [ -d /sys/fs/cgroup/systemd/system.slice/` + firewalldUnit + ` ]; then
	zones() { firewall-cmd "$@" --list-all-zones | sed -e '/^[^ ]/s/ .*//' -e '/^  interfaces:/d'; }
	[ "$(zones)" = "$(zones --permanent)" ] || echo runtime
fi
`

// Plan wants neither of them, now or at boot.
func (s firewalld) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("unit", nftablesUnit, "UnitFileState") == "enabled" {
		return nil, provision.Findings{{
			Summary: "nftables.service is enabled: at boot it would take our rules away and load its own",
			Hint:    "take what is needed of /etc/nftables.conf over into allow blocks, then: systemctl disable nftables.service (do not stop it, that flushes all rules)"}}
	}
	if f.Get("firewalld", "runtime") != "" {
		return nil, provision.Findings{{
			Summary: "firewalld has settings that are not permanent: if the node had to go back, they would be lost, and SSH perhaps with them",
			Hint:    "keep them: firewall-cmd --runtime-to-permanent; or drop them: firewall-cmd --reload"}}
	}
	var out []provision.Change
	if c, ok := s.planFirewalld(f); ok {
		out = append(out, c)
	}
	if c, ok := s.planUfw(f); ok {
		out = append(out, c)
	}
	return out, nil
}

func (s firewalld) planFirewalld(f provision.Facts) (provision.Change, bool) {
	load, table := provision.Key("unit", firewalldUnit, "LoadState"), provision.Key("firewalld", "table")
	active, enabled := unitKeys(firewalldUnit)
	gone := f[load] == "" || f[load] == "not-found"
	if f[table] == "" && (gone || f[load] == "masked" && f[active] == "inactive") {
		return provision.Change{}, false
	}
	c := provision.Change{Step: s.Name(), Target: firewalldUnit, Action: provision.Run, Why: "stop, disable and mask: our rules take its place",
		Risky: true, From: f.Select(load, table, active, enabled), Makes: provision.Facts{table: ""}}
	if !gone {
		c.Makes[load], c.Makes[active], c.Makes[enabled] = "masked", "inactive", "masked"
		c.Script = stopFirewalld
	}
	c.Script += dropFirewalld
	return c, true
}

// stopFirewalld ends the daemon without its farewell: when it is stopped in the
// usual way it flushes every table of iptables, ours too (seen with 1.3, with
// both of its backends). What it leaves behind is taken away by dropFirewalld.
const stopFirewalld = "systemctl --no-reload disable " + firewalldUnit + "\n" +
	"systemctl mask " + firewalldUnit + "\n" +
	"systemctl kill --signal=KILL " + firewalldUnit + " 2>/dev/null || true\n" +
	"systemctl stop " + firewalldUnit + "\n" +
	"systemctl reset-failed " + firewalldUnit + " 2>/dev/null || true\n"

// dropFirewalld takes away the tables of its nftables backend, and empties
// those of its iptables backend that are not ours. firewalld brings a library
// for nftables, not always the program.
const dropFirewalld = `nft_() {
	if command -v nft >/dev/null; then nft "$@"; return; fi
	python=$(sed -n '1s/^#! *\([^ ]*\).*/\1/p' /usr/sbin/firewalld)
	"$python" -c 'import sys, nftables
rc, out, err = nftables.Nftables().cmd(" ".join(sys.argv[1:]))
sys.stdout.write(out)
sys.exit(rc)' "$@"
}
nft_ list tables 2>/dev/null | sed -n 's/^table \([a-z0-9]* firewalld\)$/\1/p' | while read -r family name; do
	nft_ delete table "$family" "$name"
done
for t in mangle nat raw security; do
	for tool in iptables ip6tables; do
		if $tool-save -t $t 2>/dev/null | grep -q '^:[A-Z]*_direct '; then
			printf '*%s\nCOMMIT\n' $t | $tool-restore
		fi
	done
done
`

// planUfw masks ufw's unit without stopping it: its stop sets the policies to
// ACCEPT. Its chains went when our rules were loaded.
func (s firewalld) planUfw(f provision.Facts) (provision.Change, bool) {
	_, enabled := unitKeys(ufwUnit)
	on := provision.Key("ufw", "enabled")
	if f[on] == "" || f[enabled] == "" || f[enabled] == "masked" {
		return provision.Change{}, false
	}
	return provision.Change{Step: s.Name(), Target: ufwUnit, Action: provision.Run, Why: "mask: our rules take its place",
		From: f.Select(on, enabled), Makes: provision.Facts{enabled: "masked"},
		Script: "systemctl mask " + ufwUnit + "\n"}, true
}
