package inventories

import (
	"fmt"
	"net/netip"
)

// Ports that the pair itself uses on the sync network.
const (
	PeersPort     = 1347 // TCP: HAProxy's peers
	StateSyncPort = 3780 // UDP: conntrackd
	PeerPort      = 1349 // TCP: whether the node could serve
)

// ownPorts say who listens on a TCP port of the nodes.
var ownPorts = map[int]string{
	PeersPort: "HAProxy's peers use port %d on the nodes.",
	PeerPort:  "The nodes ask each other on port %d whether they could serve.",
}

const maxPort = 65535

// maxHost is the last host of the largest network, a /8.
const maxHost = 1<<24 - 2

// networks checks outside, sync and inside.
func (f *finder) networks() {
	seen := map[string]string{}
	for _, i := range []struct{ block, name string }{{"outside", f.p.Outside.Interface}, {"sync", f.p.Sync.Interface}, {"inside", f.p.Inside.Interface}} {
		path := i.block + ".interface"
		f.iface(path, i.name)
		if other := seen[i.name]; other != "" && i.name != "" {
			f.add(path, "Interface used twice", "%q is %s already; each of the three networks has an interface of its own.", i.name, other)
		}
		seen[i.name] = path
	}
	f.network("outside.network", &f.p.Outside.Network, 29)
	f.network("sync.network", &f.p.Sync.Network, 30)
	f.network("inside.network", &f.p.Inside.Network, 29)
	o, s, in := f.p.Outside, f.p.Sync, f.p.Inside
	if overlap(o.Network, s.Network) {
		f.add("sync.network", "Networks overlap", "%s overlaps outside.network, %s.", s.Network, o.Network).on("outside.network")
	}
	f.host("outside.gateway", o.Gateway, "outside.network", o.Network)
	f.host("outside.vip", o.VIP, "outside.network", o.Network)
	if o.VIP.IsValid() && o.VIP == o.Gateway {
		f.add("outside.vip", "Address used twice", "%s is the gateway: the VIP is an address that nobody has.", o.VIP).on("outside.gateway")
	}
	f.between("inside.vip_host", "Number out of range", in.VIPHost, 1, maxHost, "A host number")
}

// special are the networks that no host has an address in.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
}

// network checks one network, and makes it zero if it is none; longest is the
// prefix length of the smallest that has room.
func (f *finder) network(path string, network *netip.Prefix, longest int) {
	n := *network
	*network = netip.Prefix{}
	switch {
	case !n.IsValid() || !n.Addr().Is4() || n != n.Masked():
		f.add(path, "Not a network", "%s is an IPv4 network such as 192.168.1.0/24.", path)
		return
	case n.Bits() < 8:
		f.add(path, "Network too large", "%s: a network is a /8 at the largest.", n)
		return
	case n.Bits() > longest:
		f.add(path, "Network too small", "%s has too few addresses: at least a /%d is needed.", n, longest)
		return
	}
	for _, s := range special {
		if n.Overlaps(s) {
			f.add(path, "Network not usable", "%s lies in %s, which is reserved.", n, s)
			return
		}
	}
	*network = n
}

func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }

// host checks that an address is one that a machine in the network can have.
func (f *finder) host(path string, a netip.Addr, netPath string, n netip.Prefix) bool {
	if !a.IsValid() || !a.Is4() {
		f.add(path, "Not an address", "%s is an IPv4 address.", path)
		return false
	}
	if !n.IsValid() {
		return true
	}
	switch {
	case !n.Contains(a):
		f.add(path, "Address outside its network", "%s is not in %s, %s.", a, netPath, n).on(netPath)
		return false
	case a == n.Masked().Addr() && n.Bits() < 31:
		f.add(path, "Not a host address", "%s is the address of the network %s itself.", a, n).on(netPath)
		return false
	case a == Broadcast(n):
		f.add(path, "Not a host address", "%s is the broadcast address of %s.", a, n).on(netPath)
		return false
	}
	return true
}

// nodes checks that there are two, and their addresses.
func (f *finder) nodes() {
	nodes, o := f.p.Nodes, f.p.Outside
	switch len(nodes) {
	case 2:
	case 0:
		f.add("node", "Not two nodes", "A pair has exactly two node blocks; here is none.")
	case 1:
		f.add("node."+nodes[0].Name, "Not two nodes", "A pair has exactly two node blocks; here is one.").on("node")
	default:
		f.add("node."+nodes[2].Name, "Not two nodes", "A pair has exactly two node blocks; here are %d. More are not possible for now.", len(nodes)).on("node")
	}
	for i, n := range nodes {
		path := "node." + n.Name
		if f.host(path+".outside", n.Outside, "outside.network", o.Network) {
			switch n.Outside {
			case o.Gateway:
				f.add(path+".outside", "Address used twice", "%s is outside.gateway, which is another machine.", n.Outside).on("outside.gateway")
			case o.VIP:
				f.add(path+".outside", "Address used twice", "%s is outside.vip, which moves between the nodes: a node has one of its own.", n.Outside).on("outside.vip")
			}
		}
		f.host(path+".sync", n.Sync, "sync.network", f.p.Sync.Network)
		f.between(path+".priority", "Priority out of range", n.Priority, 1, 254, "A priority")
		if n.VLANHost != 0 {
			f.between(path+".vlan_host", "Number out of range", n.VLANHost, 1, maxHost, "A host number")
		}
		if !validHost(n.SSHHost) {
			f.add(path+".ssh_host", "Bad host name", "%q is no host name or address.", n.SSHHost).on(path + ".outside")
		}
		for _, m := range nodes[:i] {
			f.twice(path, n, m)
		}
	}
}

// twice compares a node with one before it.
func (f *finder) twice(path string, n, m Node) {
	other := "node." + m.Name
	same := func(attr, what string) {
		f.add(path+"."+attr, "Address used twice", "%s is node %q already.", what, m.Name).on(other + "." + attr)
	}
	if n.Outside.IsValid() && n.Outside == m.Outside {
		same("outside", n.Outside.String())
	} else if n.SSHHost != "" && n.SSHHost == m.SSHHost {
		same("ssh_host", n.SSHHost)
	}
	if n.Sync.IsValid() && n.Sync == m.Sync {
		same("sync", n.Sync.String())
	}
	if n.VLANHost > 0 && n.VLANHost == m.VLANHost {
		same("vlan_host", fmt.Sprintf("Host %d of every VLAN", n.VLANHost))
	}
	if n.Priority > 0 && n.Priority == m.Priority {
		f.add(path+".priority", "Priority used twice", "Node %q has %d already: with equal ones both can become active at once.", m.Name, m.Priority).on(other + ".priority")
	}
}
