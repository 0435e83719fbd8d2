package steps

import (
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// Who holds the traffic is not only a matter of the inventory's VIPs: it may
// have others than those in force, all of them. What keepalived serves by the
// file on disk counts as well, whoever wrote it, and the token of instance HB.

// vipsInForce sets vips to the addresses of all blocks virtual_ipaddress and
// virtual_ipaddress_excluded on disk, as ip prints them, a line each. A block
// may stand on one line.
const vipsInForce = `vips=$(sed 's/[!#].*//; s/[{}]/\n&\n/g' ` + keepalivedConf + ` 2>/dev/null |
	sed -n '/^[[:space:]]*virtual_ipaddress/,/}/s/^[[:space:]]*\([0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}\).*/ \1\//p')
`

// holdsAny defines a shell function that succeeds while the node has a VIP that
// is in force, or one of more.
func holdsAny(more ...inventories.VIP) string {
	token := " -e ' " + heartbeatAddr + "/'"
	var b strings.Builder
	b.WriteString(vipsInForce + "holds() { ip -4 -o addr show | grep -qF" + token)
	for _, v := range more {
		b.WriteString(" -e ' " + v.Addr.String() + "/'")
	}
	// An empty pattern would match everything.
	b.WriteString(` -e "${vips:- ` + heartbeatAddr + `/}"; }` + "\n")
	return b.String()
}

// heldProbe tells whether the node has a VIP that is in force.
var heldProbe = holdsAny() + "holds && echo VIPs held\n"

func parseHeld(out string, f provision.Facts) {
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "VIPs held" {
			f[vipsHeld] = "yes"
		}
	}
}

// inForceProbe prints the same addresses, each block's in a line.
const inForceProbe = `sed -n -e 's/[!#].*//; H; $!d; x' -e 's/\n/ /g; s/virtual_ipaddress[a-z_]*[[:space:]]*{\([^}]*\)}/\nVIPs \1\n/g' \
	-e ':l' -e '/^VIPs/P; s/^[^\n]*\n//; t l' ` + keepalivedConf + `
`

// parseInForce looks for them, and for the token, among the node's addresses, which
// it has to know.
func parseInForce(out string, f provision.Facts) {
	held := map[string]bool{}
	for _, name := range f.Names("addr") {
		_, prefix, _ := strings.Cut(name, " ")
		addr, _, _ := strings.Cut(prefix, "/")
		held[addr] = true
	}
	vips := []string{heartbeatAddr}
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "VIPs" {
			vips = append(vips, words[1:]...)
		}
	}
	for _, v := range vips {
		if addr, _, _ := strings.Cut(v, "/"); held[addr] {
			f[vipsHeld] = "yes"
		}
	}
}

// vipsHeld is the fact that the node has an address that its own keepalived
// takes for a VIP.
const vipsHeld = "vips held"

// serves reports whether a node holds any of the pair's VIPs, those in force or
// those of the inventory.
func serves(p *inventories.Pair, f provision.Facts) bool {
	if f[vipsHeld] != "" {
		return true
	}
	for _, v := range p.VIPs() {
		if holds(f, v) {
			return true
		}
	}
	return false
}

// Role tells from the facts of both nodes, by name, what each is: a node is
// active if it holds any of the pair's VIPs.
func Role(p *inventories.Pair, nodes map[string]provision.Facts) map[string]provision.Role {
	roles := map[string]provision.Role{}
	others := provision.None
	for _, n := range p.Nodes {
		if serves(p, nodes[n.Name]) {
			roles[n.Name] = provision.Active
			others = provision.Standby
		}
	}
	for _, n := range p.Nodes {
		if roles[n.Name] == "" {
			roles[n.Name] = others
		}
	}
	return roles
}

// Unused reports, from the facts of the nodes, whether nobody can be using the
// pair yet. Where keepalived runs and nobody holds a VIP, somebody may in a
// moment.
func Unused(p *inventories.Pair, nodes map[string]provision.Facts) bool {
	for _, n := range p.Nodes {
		f := nodes[n.Name]
		switch f.Get("unit", "keepalived.service", "ActiveState") {
		case "active", "activating", "reloading":
			return false
		}
		if serves(p, f) {
			return false
		}
	}
	return true
}

// holds reports whether a node has the VIP on its interface.
func holds(f provision.Facts, v inventories.VIP) bool {
	key := provision.Key("addr", v.Interface, v.Addr.String()) + "/"
	for bits := range v.Addr.BitLen() + 1 { // whatever length it has there; going through all facts would take longer
		if f[key+strconv.Itoa(bits)] != "" {
			return true
		}
	}
	return false
}
