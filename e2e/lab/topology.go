package lab

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"

	"fwprov/inventories"
)

// Hosts that every lab has beside the nodes and the servers.
const (
	Gateway = "gateway" // outside.gateway, which knows the way to the inside
	Client  = "client"  // somewhere on the Internet, beyond the gateway
	Admin   = "admin"   // on the outside network; where fwprov runs
)

// Kind says what a host is and so what runs on it.
type Kind string

// The kinds of host.
const (
	KindNode   Kind = "node"   // a machine with systemd and sshd
	KindRouter Kind = "router" // the gateway
	KindHost   Kind = "host"   // the client, the admin host, and a plain host on a VLAN without servers
	KindServer Kind = "server" // behind a service
)

// Topology is the network an inventory describes, as a value: what is to be
// built, without building it. It is stored in the lab's state as JSON.
type Topology struct {
	Bridges []Bridge
	Hosts   []Host
	SSH     Login
	Notes   []string // what the inventory asks for and this network does not have
}

// Login is how the nodes are reached over SSH.
type Login struct {
	User string
	Port int
}

// Bridge is one switch of the lab.
type Bridge struct {
	Name string
	VLAN int // id of the VLAN this is, 0 for a plain network
}

// Host is one machine, or one network namespace.
type Host struct {
	Name    string
	Kind    Kind
	Links   []Link
	Routes  []Route
	Forward bool
	Listens []Listen
	Aliases []string // further names for SSH
}

// Link is one cable from a host to a switch.
type Link struct {
	Interface string
	Bridge    string
	MAC       string
	Addr      netip.Prefix // not valid: none
	VLAN      int          // id of the VLAN that this link stands in for where the kernel has no 802.1q
	Configure bool         // the host's interface is given Addr by the lab, not by the host's own system
}

// Route is one line of a host's routing table.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Listen is one port a server answers on.
type Listen struct {
	Protocol string // "smtp", "http" or "tcp"
	Port     int
}

// Names of the switches.
const (
	bridgeOutside  = "outside"
	bridgeSync     = "sync"
	bridgeTrunk    = "trunk"
	bridgeInternet = "internet"
)

func vlanBridge(id int) string { return "vlan" + strconv.Itoa(id) }

// port is the name of the switch's end of a link: unique, and within the 15
// characters that an interface name may have.
func port(host, iface string) string {
	return "p" + digest(host, iface)[:10]
}

// mac is the address of a host's interface. It never changes: after a reboot
// a new one would cost the seconds that the neighbours take to notice.
func mac(host, iface string) string {
	d := digest(host, iface)
	return fmt.Sprintf("02:%s:%s:%s:%s:%s", d[0:2], d[2:4], d[4:6], d[6:8], d[8:10])
}

func digest(host, iface string) string {
	sum := sha256.Sum256([]byte(host + "\x00" + iface))
	return hex.EncodeToString(sum[:])
}

// Plan lays the network of a pair out. The pair is complete and valid.
func Plan(p *inventories.Pair) (Topology, error) {
	b := builder{pair: p, used: usedAddresses(p), hosts: map[string]bool{}}
	b.login()
	b.bridge(bridgeOutside, 0)
	b.bridge(bridgeSync, 0)
	b.bridge(bridgeTrunk, 0)
	b.bridge(bridgeInternet, 0)
	for _, v := range p.VLANs {
		b.bridge(vlanBridge(v.ID), v.ID)
	}
	for _, n := range p.Nodes {
		switch n.Name {
		case Gateway, Client, Admin, switchHost:
			return Topology{}, fmt.Errorf("node %s: the lab has a host of its own by that name", n.Name)
		}
		b.node(n)
	}
	if err := b.surroundings(); err != nil {
		return Topology{}, err
	}
	b.servers()
	b.idleVLANs()
	return b.top, nil
}

// builder collects a Topology.
type builder struct {
	pair  *inventories.Pair
	top   Topology
	used  map[netip.Addr]bool
	hosts map[string]bool
}

func (b *builder) bridge(name string, vlan int) {
	b.top.Bridges = append(b.top.Bridges, Bridge{Name: name, VLAN: vlan})
}

func (b *builder) add(h Host) {
	b.hosts[h.Name] = true
	b.top.Hosts = append(b.top.Hosts, h)
}

// login takes from the inventory how the nodes are reached. A way around by
// another host has no place here.
func (b *builder) login() {
	s := b.pair.SSH
	b.top.SSH = Login{User: cmp.Or(s.User, "root"), Port: cmp.Or(s.Port, 22)}
	if s.ProxyJump != "" {
		b.note("ssh.proxy_jump %s: the lab has no such host, and reaches the nodes directly", s.ProxyJump)
	}
}

func (b *builder) note(format string, args ...any) {
	b.top.Notes = append(b.top.Notes, fmt.Sprintf(format, args...))
}

// link makes a Link with its fixed MAC.
func link(host, iface, bridge string, addr netip.Prefix) Link {
	return Link{Interface: iface, Bridge: bridge, MAC: mac(host, iface), Addr: addr, Configure: true}
}

// node adds one firewall. Its own system configures its interfaces.
func (b *builder) node(n inventories.Node) {
	p := b.pair
	h := Host{
		Name: n.Name,
		Kind: KindNode,
		Links: []Link{
			link(n.Name, p.Outside.Interface, bridgeOutside, netip.PrefixFrom(n.Outside, p.Outside.Network.Bits())),
			link(n.Name, p.Sync.Interface, bridgeSync, netip.PrefixFrom(n.Sync, p.Sync.Network.Bits())),
			link(n.Name, p.Inside.Interface, bridgeTrunk, netip.Prefix{}),
		},
		Routes: []Route{{Dst: anywhere, Via: p.Outside.Gateway}},
	}
	for _, v := range p.VLANs {
		l := link(n.Name, v.Interface, vlanBridge(v.ID), netip.Prefix{})
		l.VLAN = v.ID
		h.Links = append(h.Links, l)
	}
	for i := range h.Links {
		h.Links[i].Configure = false
	}
	for _, alias := range []string{n.SSHHost, p.FQDN(n)} {
		if alias != "" && alias != n.Name && alias != n.Outside.String() {
			h.Aliases = append(h.Aliases, alias)
		}
	}
	b.add(h)
}

// surroundings adds the gateway, the client behind it and the admin host.
func (b *builder) surroundings() error {
	p := b.pair
	internet, err := b.internet()
	if err != nil {
		return err
	}
	router, client := host(internet, 1), host(internet, 10)
	inside := b.insideRoutes()

	b.add(Host{
		Name: Gateway, Kind: KindRouter, Forward: true,
		Links: []Link{
			link(Gateway, "eth0", bridgeOutside, netip.PrefixFrom(p.Outside.Gateway, p.Outside.Network.Bits())),
			link(Gateway, "eth1", bridgeInternet, netip.PrefixFrom(router, internet.Bits())),
		},
		Routes: inside,
	})
	b.add(Host{
		Name: Client, Kind: KindHost,
		Links:  []Link{link(Client, "eth0", bridgeInternet, netip.PrefixFrom(client, internet.Bits()))},
		Routes: []Route{{Dst: anywhere, Via: router}},
	})
	admin, ok := b.free(p.Outside.Network, 100)
	if !ok {
		return fmt.Errorf("no address is left on the outside network %s for the admin host", p.Outside.Network)
	}
	b.add(Host{
		Name: Admin, Kind: KindHost,
		Links:  []Link{link(Admin, "eth0", bridgeOutside, netip.PrefixFrom(admin, p.Outside.Network.Bits()))},
		Routes: append([]Route{{Dst: anywhere, Via: p.Outside.Gateway}}, inside...),
	})
	return nil
}

// internet picks a documentation network that the inventory does not use.
func (b *builder) internet() (netip.Prefix, error) {
	p := b.pair
	for _, s := range []string{"203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"} {
		n := netip.MustParsePrefix(s)
		taken := n.Overlaps(p.Outside.Network) || n.Overlaps(p.Sync.Network) || n.Overlaps(p.Inside.Network)
		for _, v := range p.VLANs {
			taken = taken || n.Overlaps(v.Network)
		}
		if !taken {
			return n, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("the inventory uses all networks that are reserved for examples, none is left for the client")
}

// insideRoutes is what the gateway must know: the inside by way of the VIP.
func (b *builder) insideRoutes() []Route {
	p := b.pair
	routes := []Route{{Dst: p.Inside.Network.Masked(), Via: p.Outside.VIP}}
	for _, v := range p.VLANs {
		if !p.Inside.Network.Overlaps(v.Network) {
			routes = append(routes, Route{Dst: v.Network.Masked(), Via: p.Outside.VIP})
		}
	}
	return routes
}

// servers adds a host for every server. One address is one host, however many
// services it stands behind.
func (b *builder) servers() {
	index := map[netip.Addr]int{}
	for _, s := range b.pair.Services {
		for _, srv := range s.Servers {
			listen := Listen{Protocol: protocol(s), Port: srv.Port}
			if i, ok := index[srv.Address]; ok {
				h := &b.top.Hosts[i]
				h.Listens = appendNew(h.Listens, listen)
				continue
			}
			bridge, bits, via, ok := b.home(srv.Address)
			if !ok {
				b.note("server %s of service %s: %s is in no network of the inventory", srv.Name, s.Name, srv.Address)
				continue
			}
			name := b.unique(srv.Name, s.Name+"-"+srv.Name)
			index[srv.Address] = len(b.top.Hosts)
			b.add(Host{
				Name: name, Kind: KindServer,
				Links:   []Link{link(name, "eth0", bridge, netip.PrefixFrom(srv.Address, bits))},
				Routes:  []Route{{Dst: anywhere, Via: via}},
				Listens: []Listen{listen},
			})
		}
	}
}

// idleVLANs adds one plain host to every VLAN that has no server, named like
// the VLAN, so that there is somebody to talk to.
func (b *builder) idleVLANs() {
	p := b.pair
	for _, v := range p.VLANs {
		if b.inhabited(vlanBridge(v.ID)) {
			continue
		}
		addr, ok := b.free(v.Network, 100)
		if !ok {
			b.note("vlan %s: no address is left for a host", v.Name)
			continue
		}
		name := b.unique(v.Name, "vlan-"+v.Name)
		b.add(Host{
			Name: name, Kind: KindHost,
			Links:  []Link{link(name, "eth0", vlanBridge(v.ID), netip.PrefixFrom(addr, v.Network.Bits()))},
			Routes: []Route{{Dst: anywhere, Via: v.VIP}},
		})
	}
}

func (b *builder) inhabited(bridge string) bool {
	for _, h := range b.top.Hosts {
		if h.Kind == KindServer && h.Links[0].Bridge == bridge {
			return true
		}
	}
	return false
}

// home finds the network an address is in: its switch, and who routes for it.
func (b *builder) home(a netip.Addr) (bridge string, bits int, via netip.Addr, ok bool) {
	p := b.pair
	for _, v := range p.VLANs {
		if v.Network.Contains(a) {
			return vlanBridge(v.ID), v.Network.Bits(), v.VIP, true
		}
	}
	if p.Outside.Network.Contains(a) {
		return bridgeOutside, p.Outside.Network.Bits(), p.Outside.Gateway, true
	}
	return "", 0, netip.Addr{}, false
}

// unique takes the first name that no host has yet. It can be the name of a file.
func (b *builder) unique(names ...string) string {
	for _, n := range names {
		if n = fileName.ReplaceAllString(n, "-"); !b.hosts[n] && n != switchHost {
			return n
		}
	}
	base := fileName.ReplaceAllString(names[len(names)-1], "-")
	for i := 2; ; i++ {
		if n := base + "-" + strconv.Itoa(i); !b.hosts[n] {
			return n
		}
	}
}

// protocol is what a server of a service has to speak.
func protocol(s inventories.Service) string {
	switch {
	case s.Port == 25, s.Check != nil && s.Check.Type == "smtp":
		return "smtp"
	case s.Mode == "http", s.Check != nil && s.Check.Type == "http":
		return "http"
	}
	return "tcp"
}

// fileName finds what a host's name shall not have in it.
var fileName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

func appendNew(list []Listen, l Listen) []Listen {
	for _, have := range list {
		if have == l {
			return list
		}
	}
	return append(list, l)
}
