// Package diagram draws a firewall pair: the outside network with its gateway,
// both nodes with their ports, the VIPs that float between them, the VLANs, and
// the services with their servers.
//
// Of turns a pair into a Topology, a plain value without coordinates or syntax.
// The rest of the package writes one: as SVG to hang on the wall, as DOT and as
// Mermaid. The same pair is always the same text. All takes linear time.
//
// A value that is not known, because a variable has none, is drawn as Unknown.
package diagram

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// Unknown stands for a value that the pair does not have.
const Unknown = "?"

// Topology is a pair as it is drawn. Every text in it is one line without control
// characters, but not escaped for any syntax.
type Topology struct {
	Name     string
	Facts    []string // how the two nodes agree, a sentence each
	Gateway  string   // its address
	Route    string   // what the gateway needs to reach the inside
	Nodes    []Node
	Outside  Segment
	Sync     Segment
	Trunk    Segment // carries the VLANs
	VLANs    []Segment
	Beyond   Segment // where servers stand that are in no network of the pair
	Services []Service
}

// Node is one of the firewalls, with its ports.
type Node struct {
	Name                 string
	Notes                []string
	Outside, Sync, Trunk Port
}

// Port is an interface of a node on a segment. The trunk has no address of its
// own.
type Port struct {
	Node      string
	Interface string
	Address   string
}

// Segment is a network.
type Segment struct {
	Name    string
	Network string
	VIPs    []VIP
	Ports   []Port // of a VLAN: the address of each node
}

// VIP is an address that fails over.
type VIP struct {
	Address string
	Carrier string // the VRRP instance that moves it
}

// Service is what clients reach on a VIP.
type Service struct {
	Name     string
	Endpoint string // address:port
	Traits   []string
	Servers  []Server
}

// Server is a machine behind a service.
type Server struct {
	Name     string
	Endpoint string // address:port
	At       Place
}

// Place is the segment that a server stands in: the index of a VLAN, or one of
// those below.
type Place int

// Places that are no VLAN.
const (
	Outside Place = -1
	Beyond  Place = -2
)

// Segment is the segment of a place.
func (t *Topology) Segment(at Place) Segment {
	switch at {
	case Outside:
		return t.Outside
	case Beyond:
		return t.Beyond
	}
	return t.VLANs[at]
}

// Of is the topology of a pair. The pair may have zero values where something is
// not known.
func Of(p *inventories.Pair) *Topology {
	t := &Topology{
		Name:    known(p.Name),
		Facts:   facts(p),
		Gateway: addr(p.Outside.Gateway),
		Route:   network(p.Inside.Network) + " via " + addr(p.Outside.VIP),
		Outside: Segment{Name: "outside", Network: network(p.Outside.Network)},
		Sync:    Segment{Name: "sync", Network: network(p.Sync.Network)},
		Trunk:   Segment{Name: "802.1q trunk", Network: network(p.Inside.Network)},
		Beyond:  Segment{Name: "behind the gateway", Network: "in no network of the pair"},
	}
	for _, n := range p.Nodes {
		t.Nodes = append(t.Nodes, node(p, n))
	}
	vips := p.VIPs()
	for i, v := range vips[:len(vips)-len(p.VLANs)] {
		t.Outside.VIPs = append(t.Outside.VIPs, VIP{addr(v.Addr), outsideCarrier(p, i == 0)})
	}
	if twoInstances(p) {
		t.Sync.VIPs = []VIP{{Carrier: fmt.Sprintf("HB, router id %d", p.VRRP.FirstRouterID+1)}}
	}
	for _, v := range p.VLANs {
		t.VLANs = append(t.VLANs, vlan(p, v))
	}
	at := places(p)
	for _, s := range p.Services {
		t.Services = append(t.Services, service(s, at))
	}
	return t
}

func node(p *inventories.Pair, n inventories.Node) Node {
	out := Node{
		Name:    known(p.FQDN(n)),
		Outside: Port{known(n.Name), known(p.Outside.Interface), withBits(n.Outside, p.Outside.Network)},
		Sync:    Port{known(n.Name), known(p.Sync.Interface), withBits(n.Sync, p.Sync.Network)},
		Trunk:   Port{Node: known(n.Name), Interface: known(p.Inside.Interface)},
		Notes:   []string{"VRRP priority " + number(n.Priority)},
	}
	if n.SSHHost != "" && n.SSHHost != n.Outside.String() {
		out.Notes = append(out.Notes, "SSH to "+clean(n.SSHHost))
	}
	return out
}

func vlan(p *inventories.Pair, v inventories.VLAN) Segment {
	carrier := "with GW"
	if p.VRRP.Form == inventories.PerVLAN {
		carrier = fmt.Sprintf("GW%03d, router id %s", v.ID, number(v.VRID))
	}
	out := Segment{
		Name:    "VLAN " + number(v.ID) + " " + known(v.Name),
		Network: network(v.Network),
		VIPs:    []VIP{{addr(v.VIP), carrier}},
	}
	for _, n := range p.Nodes {
		out.Ports = append(out.Ports, Port{known(n.Name), known(v.Interface), addr(v.Addresses[n.Name])})
	}
	return out
}

// outsideCarrier names the instance of the outside VIPs. Only the first of them is
// in its adverts; the others move with it.
func outsideCarrier(p *inventories.Pair, first bool) string {
	name := "GW"
	if p.VRRP.Form == inventories.PerVLAN {
		name = "GWEXT"
	}
	if !first {
		return "with " + name
	}
	return name + ", router id " + number(p.VRRP.FirstRouterID)
}

func twoInstances(p *inventories.Pair) bool {
	return p.VRRP.Form == inventories.Single && len(p.VRRP.Heartbeats) > 1
}

func facts(p *inventories.Pair) []string {
	v := p.VRRP
	form := "one instance for all addresses"
	if v.Form == inventories.PerVLAN {
		form = "one instance for each address"
	}
	beat := "heartbeat every " + span(v.AdvertInterval) + " on sync"
	switch onOutside := slices.Contains(v.Heartbeats, inventories.HeartbeatOutside); {
	case onOutside && len(v.Heartbeats) > 1:
		beat += ", every " + span(v.OutsideAdvertInterval) + " on outside"
	case onOutside:
		beat = "heartbeat every " + span(v.OutsideAdvertInterval) + " on outside"
	}
	return []string{
		"VRRP version " + number(v.Version) + ", " + form,
		beat,
		"connections outlive a node: conntrackd, " + known(p.StateSync.Mode) + " over " + known(p.StateSync.Transport),
	}
}

func service(s inventories.Service, at func(netip.Addr) Place) Service {
	out := Service{Name: known(s.Name), Endpoint: endpoint(s.Address, s.Port), Traits: []string{known(s.Mode)}}
	if s.Transparent {
		out.Traits = append(out.Traits, "transparent")
	}
	out.Traits = append(out.Traits, known(s.Balance))
	if s.Sticky > 0 {
		out.Traits = append(out.Traits, "sticky "+span(s.Sticky))
	}
	if s.Check != nil {
		out.Traits = append(out.Traits, "check "+known(s.Check.Type))
	}
	if len(s.From) > 0 {
		out.Traits = append(out.Traits, "from "+clean(strings.Join(s.From, ", ")))
	}
	for _, server := range s.Servers {
		out.Servers = append(out.Servers, Server{known(server.Name), endpoint(server.Address, server.Port), at(server.Address)})
	}
	return out
}

// places finds the segment that an address stands in.
func places(p *inventories.Pair) func(netip.Addr) Place {
	of := map[netip.Prefix]Place{p.Outside.Network.Masked(): Outside}
	for i, v := range p.VLANs {
		of[v.Network.Masked()] = Place(i)
	}
	return func(a netip.Addr) Place {
		for bits := a.BitLen(); bits > 0; bits-- {
			if n, err := a.Prefix(bits); err == nil {
				if at, ok := of[n]; ok {
					return at
				}
			}
		}
		return Beyond
	}
}

// clean makes a text one line without control characters.
func clean(s string) string {
	return strings.Join(strings.Fields(provision.Printable(strings.ToValidUTF8(s, "\ufffd"))), " ")
}

func known(s string) string {
	if s = clean(s); s == "" {
		return Unknown
	}
	return s
}

func number(n int) string {
	if n == 0 {
		return Unknown
	}
	return strconv.Itoa(n)
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return Unknown
	}
	return a.String()
}

func network(n netip.Prefix) string {
	if !n.IsValid() {
		return Unknown
	}
	return n.String()
}

func withBits(a netip.Addr, n netip.Prefix) string {
	if !a.IsValid() || !n.IsValid() {
		return addr(a)
	}
	return netip.PrefixFrom(a, n.Bits()).String()
}

func endpoint(a netip.Addr, port int) string {
	return addr(a) + ":" + number(port)
}

// span is a duration as it is written in an inventory.
func span(d time.Duration) string {
	if d == 0 {
		return Unknown
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
