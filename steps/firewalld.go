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
		Script: "nft list tables | grep -q ' firewalld$' && echo table\n" +
			"grep -qi '^ENABLED=yes' /etc/ufw/ufw.conf && echo ufw\n",
		Parse: func(out string, f provision.Facts) error {
			for _, line := range strings.Split(out, "\n") {
				switch line {
				case "table":
					f[provision.Key("firewalld", "table")] = "yes"
				case "ufw":
					f[provision.Key("ufw", "enabled")] = "yes"
				}
			}
			return nil
		},
	}
}

// Plan wants neither of them, now or at boot.
func (s firewalld) Plan(f provision.Facts) ([]provision.Change, error) {
	if f.Get("unit", nftablesUnit, "UnitFileState") == "enabled" {
		return nil, provision.Findings{{
			Summary: "nftables.service is enabled: at boot it would take our rules away and load its own",
			Hint:    "take what is needed of /etc/nftables.conf over into allow blocks, then: systemctl disable nftables.service (do not stop it, that flushes all rules)"}}
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
		c.Script = stopFirewalld(f)
	}
	c.Script += dropFirewalld
	return c, true
}

// stopFirewalld ends the daemon without its farewell: when it is stopped in the
// usual way it flushes every table of iptables, ours too, and leaves the
// policies at ACCEPT. What it leaves behind is taken away by dropFirewalld; for
// its nftables that needs nft. Without nft it is stopped in the usual way, and
// our rules are loaded again at once.
func stopFirewalld(f provision.Facts) string {
	families := []string{"v4"}
	if hasIPv6(f) {
		families = append(families, "v6")
	}
	again := ""
	for _, family := range families {
		again += "\t" + tool(family) + "-restore <" + rulesPath(f, family) + "\n"
	}
	return "systemctl disable " + firewalldUnit + "\n" +
		"systemctl mask " + firewalldUnit + "\n" +
		"if command -v nft >/dev/null; then\n" +
		"\tsystemctl kill --signal=KILL " + firewalldUnit + " 2>/dev/null || true\n" +
		"\tsystemctl stop " + firewalldUnit + "\n" +
		"else\n\tsystemctl stop " + firewalldUnit + "\n" + again + "fi\n" +
		"systemctl reset-failed " + firewalldUnit + " 2>/dev/null || true\n"
}

// dropFirewalld takes away the tables of its nftables backend, and empties
// those of its iptables backend that are not ours.
const dropFirewalld = `if command -v nft >/dev/null; then
	nft list tables | sed -n 's/^table \([a-z0-9]* firewalld\)$/\1/p' | while read -r family name; do
		nft delete table "$family" "$name"
	done
fi
for t in nat raw security; do
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
