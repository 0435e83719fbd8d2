// Package inventories says what a firewall pair is: the model an inventory
// decodes into, and the rules every pair obeys, without any syntax. Package hcl
// is one way to write a model; the rules here do not know about it and name the
// place of a mistake by a Path, which the syntax translates to file and line.
//
// All values are complete: a Pair that came out of hcl has every default
// filled in, so that no reader of it needs to know what a default is.
package inventories

import (
	"net/netip"
	"time"
)

// Pair is one redundant firewall: two nodes and all they share.
type Pair struct {
	Name      string // label of the cluster block
	Domain    string // DNS domain of the nodes, "" if none was given
	SSH       SSH
	Outside   Outside
	Sync      Sync
	Inside    Inside
	Nodes     []Node // exactly two once validated, in the order written
	VRRP      VRRP
	StateSync StateSync
	VLANs     []VLAN    // in the order written
	Services  []Service // in the order written
	Allows    []Allow   // in the order written; their order does not matter: all of them accept
}

// SSH is how the nodes are reached. A zero field is left to ssh_config and the
// defaults of OpenSSH.
type SSH struct {
	User         string
	Port         int // 1..65535, 0: not given
	IdentityFile string
	KnownHosts   string
	ProxyJump    string
	Sudo         bool
	AllowFrom    []netip.Prefix // who may reach SSH on the nodes; empty: anyone
}

// Outside is the network of the Internet gateway.
type Outside struct {
	Interface string
	Network   netip.Prefix
	Gateway   netip.Addr
	VIP       netip.Addr
}

// Sync is the state negotiation network of the two nodes.
type Sync struct {
	Interface string
	Network   netip.Prefix
}

// Inside is the 802.1q trunk.
type Inside struct {
	Interface string
	Network   netip.Prefix
	VIPHost   int // host number of a VLAN's VIP, counted from the base of the VLAN's network
}

// Node is one of the two machines.
type Node struct {
	Name     string // label; with Pair.Domain the name its daemons know it by
	Outside  netip.Addr
	Sync     netip.Addr
	VLANHost int    // host number on every VLAN, counted from the base of its network; 0: every VLAN names addresses
	SSHHost  string // where SSH goes; the outside address unless it was given
	Priority int    // VRRP priority, 1..254
}

// VRRPForm is how addresses are spread over VRRP instances.
type VRRPForm string

// The two forms.
const (
	Single  VRRPForm = "single"   // GW and HB, two heartbeats, all further VIPs excluded from the adverts
	PerVLAN VRRPForm = "per_vlan" // the guide's: GWEXT and GWnnn, one instance an address
)

// Heartbeat paths, as they are written in vrrp.heartbeat.
const (
	HeartbeatSync    = "sync"
	HeartbeatOutside = "outside"
)

// VRRP is how the two nodes agree on who is active.
type VRRP struct {
	Version               int // 2 or 3
	Form                  VRRPForm
	Heartbeats            []string // HeartbeatSync, HeartbeatOutside
	Password              Secret   // version 2 only; 1..8 letters and digits
	AdvertInterval        time.Duration
	OutsideAdvertInterval time.Duration // of instance GW where outside is a heartbeat
	Profile               string        // "" or "vm"
	FirstRouterID         int           // 1..255: GW or GWEXT; HB is the next
}

// Watchdog is how long keepalived may say nothing before systemd ends it: its VIPs
// stay on the interfaces of a node on which it hangs, while the peer takes them over.
func (v VRRP) Watchdog() time.Duration {
	if v.Profile == "vm" {
		return 10 * time.Second // a host that stalls is no fault
	}
	return 4 * time.Second
}

// Sync modes and transports of conntrackd.
const (
	ModeFTFW           = "ftfw"
	ModeAlarm          = "alarm"
	TransportUnicast   = "unicast"
	TransportMulticast = "multicast"
)

// StateSync is how conntrackd keeps connections alive.
type StateSync struct {
	Mode      string
	Transport string
}

// VLAN is one inside network.
type VLAN struct {
	Name      string
	ID        int    // 1..4094
	Interface string // Inside.Interface + "." + ID
	Network   netip.Prefix
	VIP       netip.Addr
	Addresses map[string]netip.Addr // by node name
	VRID      int                   // per_vlan form only, else 0
}

// Service is one balanced service on a VIP.
type Service struct {
	Name        string
	Address     netip.Addr // outside.vip, a VLAN's VIP, or a further address of the outside network
	Port        int
	Mode        string // "tcp" or "http"
	Transparent bool
	Balance     string
	Sticky      time.Duration // 0: not sticky
	From        []string      // zones that may reach it
	Check       *Check        // nil: a TCP connect
	Servers     []Server
	Timeouts    Timeouts
}

// Timeouts of a service. All are set.
type Timeouts struct {
	Connect, Client, Server time.Duration
}

// Check is how a server's health is found out.
type Check struct {
	Type         string // "tcp", "smtp", "http"
	Path         string // http only
	Interval     time.Duration
	FastInterval time.Duration
	Rise, Fall   int
}

// Server is one machine behind a service.
type Server struct {
	Name    string
	Address netip.Addr
	Port    int
}

// Zones that are not the name of a VLAN.
const (
	ZoneOutside  = "outside"
	ZoneInside   = "inside" // every VLAN
	ZoneSync     = "sync"
	ZoneFirewall = "firewall" // the nodes themselves
)

// Allow lets connections pass that would be dropped. No TCP, UDP or ICMP: every
// protocol.
type Allow struct {
	Name         string
	From, To     string // zones
	Sources      []netip.Prefix
	Destinations []netip.Prefix
	TCP, UDP     []PortRange
	ICMP         bool
	Log          bool
}

// PortRange is one port, First == Last, or a range of them.
type PortRange struct {
	First, Last int // 1..65535
}

// FQDN is the name the daemons of a node know it by.
func (p *Pair) FQDN(n Node) string {
	if p.Domain == "" {
		return n.Name
	}
	return n.Name + "." + p.Domain
}

// Peer is the other node of the pair. It panics if the pair has no node of
// that name or not two nodes: a validated pair has.
func (p *Pair) Peer(name string) Node {
	for i, n := range p.Nodes {
		if n.Name == name {
			return p.Nodes[1-i]
		}
	}
	panic("inventories: no node " + name)
}

// Node returns the node of that name.
func (p *Pair) Node(name string) (Node, bool) {
	for _, n := range p.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// VIP is one address that fails over, and where it lives.
type VIP struct {
	Addr      netip.Addr
	Bits      int // prefix length it is configured with
	Interface string
}

// VIPs lists every address that fails over: outside.vip first, then further
// outside addresses of services in the order of the services, then the VLANs'
// in their order.
func (p *Pair) VIPs() []VIP {
	out := []VIP{{p.Outside.VIP, p.Outside.Network.Bits(), p.Outside.Interface}}
	seen := map[netip.Addr]bool{p.Outside.VIP: true}
	for _, v := range p.VLANs {
		seen[v.VIP] = true
	}
	for _, s := range p.Services {
		if !seen[s.Address] {
			seen[s.Address] = true
			out = append(out, VIP{s.Address, p.Outside.Network.Bits(), p.Outside.Interface})
		}
	}
	for _, v := range p.VLANs {
		out = append(out, VIP{v.VIP, v.Network.Bits(), v.Interface})
	}
	return out
}

// Transparent reports whether any service shows its servers the client's own
// address: then packets have to be diverted to the proxy.
func (p *Pair) Transparent() bool {
	for _, s := range p.Services {
		if s.Transparent {
			return true
		}
	}
	return false
}
