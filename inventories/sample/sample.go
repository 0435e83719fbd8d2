// Package sample makes pairs of any size for tests: the guide's network with as
// many VLANs and services as asked for, and every attribute in use somewhere.
package sample

import (
	"fmt"
	"net/netip"
	"time"

	"fwprov/inventories"
)

// Most that a pair has VLANs of: 10.10.2.0/24 to 10.10.255.0/24, as 10.10.1.0/24
// is the sync network.
const Most = 254

// Pair makes a pair that obeys every rule; the same arguments make the same pair.
// It panics for more VLANs than Most.
func Pair(vlans, services int, form inventories.VRRPForm) *inventories.Pair {
	if vlans > Most {
		panic(fmt.Sprintf("sample: %d VLANs, there are addresses for %d", vlans, Most))
	}
	p := &inventories.Pair{
		Name: "sample", Domain: "example.com",
		SSH: inventories.SSH{User: "root", AllowFrom: prefixes("192.168.1.0/24", "203.0.113.10/32")},
		Outside: inventories.Outside{
			Interface: "eth0", Network: netip.MustParsePrefix("192.168.1.0/24"),
			Gateway: outside(254), VIP: outside(10),
		},
		Sync:      inventories.Sync{Interface: "eth1", Network: netip.MustParsePrefix("10.10.1.0/24")},
		Inside:    inventories.Inside{Interface: "eth2", Network: netip.MustParsePrefix("10.10.0.0/16"), VIPHost: 254},
		VRRP:      vrrp(form),
		StateSync: inventories.StateSync{Mode: inventories.ModeFTFW, Transport: inventories.TransportUnicast},
	}
	for i := range 2 {
		a := outside(i + 1)
		p.Nodes = append(p.Nodes, inventories.Node{
			Name: fmt.Sprintf("fw%02d", i+1), Outside: a, Sync: inside(1, i+1),
			VLANHost: 253 - i, SSHHost: a.String(), Priority: 150 - 50*i,
		})
	}
	if form == inventories.PerVLAN {
		p.StateSync = inventories.StateSync{Mode: inventories.ModeAlarm, Transport: inventories.TransportMulticast}
	}
	for i := range vlans {
		p.VLANs = append(p.VLANs, vlan(i, form))
	}
	for i := range services {
		p.Services = append(p.Services, service(i, p))
	}
	p.Allows = allows(p)
	return p
}

func outside(host int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(host)}) }

func inside(vlan, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 10, byte(vlan), byte(host)})
}

func vrrp(form inventories.VRRPForm) inventories.VRRP {
	if form == inventories.PerVLAN {
		return inventories.VRRP{
			Version: 2, Form: form, Heartbeats: []string{inventories.HeartbeatSync},
			Password: inventories.NewSecret("SOMEPASS"), FirstRouterID: 1,
			AdvertInterval: time.Second, OutsideAdvertInterval: time.Second,
		}
	}
	return inventories.VRRP{
		Version: 3, Form: form, FirstRouterID: 1,
		Heartbeats:     []string{inventories.HeartbeatSync, inventories.HeartbeatOutside},
		AdvertInterval: 300 * time.Millisecond, OutsideAdvertInterval: 100 * time.Millisecond,
	}
}

func vlan(i int, form inventories.VRRPForm) inventories.VLAN {
	id := i + 2
	v := inventories.VLAN{
		Name: fmt.Sprintf("net%d", id), ID: id, Interface: fmt.Sprintf("eth2.%d", id),
		Network: netip.PrefixFrom(inside(id, 0), 24), VIP: inside(id, 254),
		Addresses: map[string]netip.Addr{"fw01": inside(id, 253), "fw02": inside(id, 252)},
	}
	if form == inventories.PerVLAN {
		v.VRID = id
	}
	return v
}

// service makes the i-th service: on outside.vip, a further address or a VLAN's
// VIP in turn, with one to three servers in one VLAN.
func service(i int, p *inventories.Pair) inventories.Service {
	s := inventories.Service{
		Name: fmt.Sprintf("svc_%d", i), Address: p.Outside.VIP, Port: 2000 + i,
		Mode: [...]string{"tcp", "http"}[i%2], Balance: [...]string{"roundrobin", "leastconn", "source"}[i%3],
		Sticky: []time.Duration{0, 10 * time.Minute}[i/2%2], From: []string{inventories.ZoneOutside},
		Timeouts: inventories.Timeouts{Connect: 5 * time.Second, Client: time.Minute, Server: 5 * time.Minute},
		Check:    check(i),
	}
	home := 0 // of the servers: the outside network where there is no VLAN
	if n := len(p.VLANs); n > 0 {
		v := p.VLANs[i%n]
		home = v.ID
		s.Transparent = i%4 == 0
		if i%5 == 4 {
			s.Address, s.Transparent, s.From = v.VIP, false, []string{inventories.ZoneOutside, v.Name}
		}
	}
	if i%5 == 3 {
		s.Address = outside(11 + i%4)
	}
	for j := range 1 + i%3 {
		a := inside(home, 1+3*i+j)
		if home == 0 {
			a = outside(50 + 3*i%150 + j)
		}
		s.Servers = append(s.Servers, inventories.Server{Name: fmt.Sprintf("srv-%d-%d", i, j), Address: a, Port: s.Port + 10000*(i%2)})
	}
	return s
}

func check(i int) *inventories.Check {
	c := &inventories.Check{Interval: 2 * time.Second, FastInterval: time.Second, Rise: 2, Fall: 3}
	switch i % 4 {
	case 0:
		return nil
	case 1:
		c.Type, c.Path = "http", "/health?full=1"
	case 2:
		c.Type = "smtp"
	case 3:
		c.Type = "tcp"
	}
	return c
}

func allows(p *inventories.Pair) []inventories.Allow {
	out := []inventories.Allow{{
		Name: "monitoring", From: inventories.ZoneOutside, To: inventories.ZoneFirewall,
		Sources: prefixes("192.168.1.200/32", "203.0.113.0/24"), TCP: ports(9100, 9100), ICMP: true, Log: true,
	}}
	if len(p.VLANs) == 0 {
		return out
	}
	out = append(out, inventories.Allow{Name: "out", From: inventories.ZoneInside, To: inventories.ZoneOutside})
	for i, v := range p.VLANs {
		a := inventories.Allow{
			Name: "to-" + v.Name, From: inventories.ZoneOutside, To: v.Name,
			Destinations: []netip.Prefix{netip.PrefixFrom(inside(v.ID, 1), 32)}, TCP: ports(8000, 8080), UDP: ports(53, 53),
		}
		if i > 0 {
			a.From, a.TCP = p.VLANs[i-1].Name, nil
		}
		out = append(out, a)
	}
	return out
}

func ports(first, last int) []inventories.PortRange {
	return []inventories.PortRange{{First: first, Last: last}}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}
