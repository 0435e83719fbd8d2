package inventories

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// vlans checks ids, networks and addresses.
func (f *finder) vlans() {
	f.trunk()
	f.hostNumbers()
	byID := map[int]string{}
	homeless := map[string][]string{}
	for i := range f.p.VLANs {
		v := &f.p.VLANs[i]
		path := "vlan." + v.Name
		if f.between(path+".id", "VLAN id out of range", v.ID, 1, 4094, "An 802.1q id") {
			if first, ok := byID[v.ID]; ok {
				f.add(path+".id", "VLAN id used twice", "Id %d is VLAN %q already.", v.ID, first).on("vlan." + first + ".id")
			} else {
				byID[v.ID] = v.Name
			}
		}
		f.vlanNetwork(path, v)
		if !f.overlaps(path, *v) {
			f.inside(path, *v)
		}
		if v.Network.IsValid() {
			f.vlan.add(i, v.Network)
		}
		f.vlanAddresses(path, *v, homeless)
	}
	for _, n := range f.p.Nodes {
		if in := homeless[n.Name]; len(in) > 0 {
			f.add("node."+n.Name+".vlan_host", "Node without an address",
				"Node %q has no vlan_host, and VLAN %q no address for it; that goes for %d of the VLANs. Write vlan_host.", n.Name, in[0], len(in))
		}
	}
}

// trunk checks the names of the VLAN interfaces, once for all.
func (f *finder) trunk() {
	in := f.p.Inside.Interface
	if len(in) > maxIface || !safeIface.MatchString(in) {
		return
	}
	for _, v := range f.p.VLANs {
		name := v.Interface
		if name != fmt.Sprintf("%s.%d", in, v.ID) && name != "" {
			f.add("vlan."+v.Name+".interface", "Bad interface name", "%q is not %s.%d.", name, in, v.ID)
			continue
		}
		if len(name) > maxIface {
			f.add("inside.interface", "Interface name too long",
				"VLAN %q would be %q, with %d characters; Linux has at most %d. Rename %s on both nodes.",
				v.Name, name, len(name), maxIface, in).on("vlan." + v.Name + ".id")
			return
		}
		if name == f.p.Outside.Interface || name == f.p.Sync.Interface {
			f.add("vlan."+v.Name+".id", "Interface used twice", "%q, the interface of VLAN %q, is that of outside or sync already.", name, v.Name)
		}
	}
}

// hostNumbers checks the numbers that every VLAN shares, so that a clash is told
// once and not for every VLAN. Nodes among each other are compared in twice.
func (f *finder) hostNumbers() {
	for _, n := range f.p.Nodes {
		if n.VLANHost < 1 || n.VLANHost != f.p.Inside.VIPHost || !f.derived(n) {
			continue
		}
		path := "node." + n.Name + ".vlan_host"
		f.add(path, "Address used twice",
			"Host %d of every VLAN is its VIP (inside.vip_host): take another number, or give each VLAN `addresses` or a `vip`.",
			n.VLANHost).on("inside.vip_host")
	}
}

// derived reports whether any VLAN has both its VIP and the node's address from
// the numbers.
func (f *finder) derived(n Node) bool {
	return slices.ContainsFunc(f.p.VLANs, func(v VLAN) bool {
		a, ok := v.Addresses[n.Name]
		return ok && a == v.VIP
	})
}

func (f *finder) vlanNetwork(path string, v *VLAN) {
	in := f.p.Inside.Network
	if !v.Network.IsValid() {
		if v.ID >= 1 && v.ID <= 4094 && in.IsValid() {
			f.add(path+".network", "VLAN without a network",
				"Only where inside.network is a /16 and the id is 1 to 255 is it the /24 of that number: write the network of VLAN %q.",
				v.Name).on("inside.network", path+".id")
		}
		return
	}
	f.network(path+".network", &v.Network, 29)
}

// inside warns of a VLAN that the gateway has no route to.
func (f *finder) inside(path string, v VLAN) {
	in := f.p.Inside.Network
	if in.IsValid() && v.Network.IsValid() && (!in.Overlaps(v.Network) || in.Bits() > v.Network.Bits()) {
		f.add(path+".network", "VLAN outside of inside.network",
			"%s is not in %s, which is all that the gateway has a route to.", v.Network, in).on("inside.network").warn()
	}
}

// overlaps compares a VLAN's network with all that come before it. Two of one id
// were reported already.
func (f *finder) overlaps(path string, v VLAN) bool {
	tell := func(name string, n netip.Prefix, paths ...string) {
		f.add(path+".network", "Networks overlap", "%s overlaps %s, %s.", v.Network, name, n).on(paths...)
	}
	switch {
	case overlap(v.Network, f.p.Outside.Network):
		tell("outside.network", f.p.Outside.Network, "outside.network", "inside.network")
		return true
	case overlap(v.Network, f.p.Sync.Network):
		tell("sync.network", f.p.Sync.Network, "sync.network", "inside.network")
		return true
	}
	if !v.Network.IsValid() {
		return false
	}
	i, ok := f.vlan.overlapping(v.Network)
	if ok && v.ID != f.p.VLANs[i].ID {
		w := f.p.VLANs[i]
		tell(fmt.Sprintf("VLAN %q", w.Name), w.Network, "vlan."+w.Name+".network")
	}
	return ok
}

// vlanAddresses checks the VIP and the nodes' addresses. Homeless collects, by node,
// the VLANs that have none for want of a vlan_host.
func (f *finder) vlanAddresses(path string, v VLAN, homeless map[string][]string) {
	if !v.Network.IsValid() {
		return
	}
	vipOK := v.VIP.IsValid()
	if vipOK {
		vipOK = f.host(path+".vip", v.VIP, path+".network", v.Network)
	} else if f.p.Inside.VIPHost > 0 {
		f.add(path+".vip", "VLAN without a VIP", "inside.vip_host %d is no host of %s: give VLAN %q a `vip`.",
			f.p.Inside.VIPHost, v.Network, v.Name).on("inside.vip_host", path+".network")
	}
	var names []string
	for i, n := range f.p.Nodes {
		names = append(names, n.Name)
		if _, ok := v.Addresses[n.Name]; !ok && n.VLANHost == 0 {
			homeless[n.Name] = append(homeless[n.Name], v.Name)
			continue
		}
		f.vlanAddress(path, v, n, f.p.Nodes[:i], vipOK)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Addresses)) {
		if slices.Contains(names, name) {
			continue
		}
		f.add(path+".addresses."+name, "Unknown node", "There is no node %q, only %s.", name, strings.Join(names, " and ")).on("node")
	}
}

// vlanAddress checks the address of one node in a VLAN.
func (f *finder) vlanAddress(vlan string, v VLAN, n Node, before []Node, vipOK bool) {
	path, number := vlan+".addresses."+n.Name, "node."+n.Name+".vlan_host"
	a, ok := v.Addresses[n.Name]
	switch {
	case !ok && n.VLANHost > 0:
		f.add(path, "Node without an address", "vlan_host %d of node %q is no host of %s: give VLAN %q `addresses`.",
			n.VLANHost, n.Name, v.Network, v.Name).on(number, vlan+".network")
		return
	case !ok || !f.host(path, a, vlan+".network", v.Network):
		return
	}
	vip, _ := HostAddr(v.Network, f.p.Inside.VIPHost)
	byNumber := func(n Node, a netip.Addr) bool {
		b, ok := HostAddr(v.Network, n.VLANHost)
		return ok && a == b
	}
	if derived := byNumber(n, a); vipOK && a == v.VIP && !(derived && a == vip) {
		at := path
		if derived {
			at = vlan + ".vip"
		}
		f.add(at, "Address used twice", "%s is the VIP of VLAN %q and node %q: give it another `vip`, or the node another address in `addresses`.",
			a, v.Name, n.Name).on(path, vlan+".vip", number, "inside.vip_host")
	}
	for _, m := range before {
		switch derived := byNumber(n, a); {
		case v.Addresses[m.Name] != a, derived && byNumber(m, a):
		case derived:
			f.add(vlan+".addresses."+m.Name, "Address used twice", "%s is node %q by its vlan_host.", a, n.Name).on(number)
		default:
			f.add(path, "Address used twice", "%s is node %q already.", a, m.Name).on(vlan + ".addresses." + m.Name)
		}
	}
}
