package inventories

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

func (f *finder) services() {
	own := f.ownAddresses()
	bound := map[netip.AddrPort]string{}
	for _, s := range f.p.Services {
		path := "service." + s.Name
		f.oneOf(path+".mode", s.Mode, "tcp", "http")
		f.oneOf(path+".balance", s.Balance, "roundrobin", "static-rr", "leastconn", "first", "source")
		if s.Sticky != 0 {
			f.span(path+".sticky", s.Sticky, time.Second, 576*time.Hour)
		}
		for _, t := range []struct {
			name string
			d    time.Duration
		}{{"connect", s.Timeouts.Connect}, {"client", s.Timeouts.Client}, {"server", s.Timeouts.Server}} {
			f.span(path+".timeouts."+t.name, t.d, 100*time.Millisecond, 24*time.Hour)
		}
		f.check(path+".check", s.Check)
		f.serviceAddress(path, s)
		f.servicePort(path, s, bound)
		f.serviceFrom(path, s)
		f.servers(path, s, own)
		f.transparent(path, s)
	}
}

// span checks a duration; finer than a millisecond is nothing to HAProxy.
func (f *finder) span(path string, d, low, high time.Duration) {
	switch {
	case d < low || d > high:
		f.add(path, "Duration out of range", "It is %s to %s, not %s.", short(low), short(high), short(d))
	case d%time.Millisecond != 0:
		f.add(path, "Duration too fine", "%s: whole milliseconds are counted.", d)
	}
}

// short is a duration without the zeros of time.Duration.String.
func short(d time.Duration) string {
	switch {
	case d != 0 && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d != 0 && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

func (f *finder) check(path string, c *Check) {
	if c == nil {
		return
	}
	f.oneOf(path+".type", c.Type, "tcp", "smtp", "http")
	f.span(path+".interval", c.Interval, 100*time.Millisecond, time.Hour)
	if c.FastInterval != c.Interval {
		f.span(path+".fast_interval", c.FastInterval, 100*time.Millisecond, time.Hour)
	}
	if c.FastInterval > c.Interval && c.Interval > 0 {
		f.add(path+".fast_interval", "Slower than interval", "%s is longer than interval, %s.", short(c.FastInterval), short(c.Interval)).on(path + ".interval")
	}
	f.between(path+".rise", "Number out of range", c.Rise, 1, 100, "rise")
	f.between(path+".fall", "Number out of range", c.Fall, 1, 100, "fall")
	switch {
	case c.Type != "http" && c.Path != "":
		f.add(path+".path", "Path without http", "Only a check of type \"http\" asks for a path.").on(path + ".type")
	case c.Type == "http" && !safePath.MatchString(c.Path):
		f.add(path+".path", "Bad path", "%q: a path begins with / and has letters, digits and ._~/?=&%%+,:@-", c.Path).on(path + ".type")
	}
}

// serviceAddress checks that the address is a VIP or can become one.
func (f *finder) serviceAddress(path string, s Service) {
	o, a := f.p.Outside, s.Address
	path += ".address"
	if !a.IsValid() {
		f.add(path, "Not an address", "%s is an IPv4 address.", path)
		return
	}
	if _, vip := f.vlan.byVIP[a]; vip || a == o.VIP {
		return
	}
	if i, ok := f.vlan.home(a); ok {
		v := f.p.VLANs[i]
		f.add(path, "Address is no VIP", "%s is in VLAN %q, where only the VIP %s fails over.", a, v.Name, v.VIP).on(f.vips()...)
		return
	}
	if !o.Network.Contains(a) && f.networksKnown() {
		f.add(path, "Address is no VIP", "%s is neither a VIP of the inventory nor an address in outside.network, %s.", a, o.Network).on(f.vips()...)
		return
	}
	if !o.Network.Contains(a) {
		return
	}
	if !f.host(path, a, "outside.network", o.Network) {
		return
	}
	if a == o.Gateway {
		f.add(path, "Address used twice", "%s is outside.gateway, which is another machine.", a).on("outside.gateway")
	}
	for _, n := range f.p.Nodes {
		if a == n.Outside {
			f.add(path, "Address used twice", "%s is node %q, and does not fail over.", a, n.Name).on("node." + n.Name + ".outside")
		}
	}
}

// vips are the paths of all VIPs.
func (f *finder) vips() []string {
	out := []string{"vlan", "outside.vip"}
	for _, v := range f.p.VLANs {
		out = append(out, "vlan."+v.Name+".vip")
	}
	return out
}

// servicePort checks that nobody else listens there.
func (f *finder) servicePort(path string, s Service, bound map[netip.AddrPort]string) {
	path += ".port"
	if !f.between(path, "Port out of range", s.Port, 1, maxPort, "A port") {
		return
	}
	ssh := f.p.SSH.Port
	if ssh == 0 {
		ssh = 22
	}
	switch at := netip.AddrPortFrom(s.Address, uint16(s.Port)); {
	case s.Port == ssh:
		f.add(path, "Port used twice", "sshd of the nodes listens on port %d of all addresses.", ssh).on("ssh.port")
	case ownPorts[s.Port] != "":
		f.add(path, "Port used twice", ownPorts[s.Port], s.Port)
	case bound[at] != "" && s.Address.IsValid():
		f.add(path, "Port used twice", "Service %q has %s already.", bound[at], at).on("service."+bound[at]+".address", "service."+s.Name+".address")
	default:
		bound[at] = s.Name
	}
}

func (f *finder) serviceFrom(path string, s Service) {
	if len(s.From) == 0 {
		f.add(path+".from", "Zone missing", "Nobody could reach the service: name a zone.")
	}
	for i, z := range s.From {
		at := fmt.Sprintf("%s.from[%d]", path, i)
		switch {
		case slices.Contains(s.From[:i], z):
			f.add(at, "Zone twice", "%q is in the list already.", z)
		case z == ZoneFirewall:
			f.add(at, "Zone not possible", "The nodes reach their own services without being asked.")
		default:
			f.zone(at, z)
		}
	}
}

// zone checks the name of a zone.
func (f *finder) zone(path, zone string) bool {
	names := []string{ZoneOutside, ZoneInside, ZoneSync, ZoneFirewall}
	if slices.Contains(names, zone) || len(f.vlan.byName[zone]) > 0 {
		return true
	}
	for _, v := range f.p.VLANs {
		names = append(names, v.Name)
	}
	hint := "Zones are outside, inside, sync, firewall and the names of the VLANs."
	if s := Nearest(zone, names); s != "" {
		hint = fmt.Sprintf("Did you mean %q?", s)
	}
	f.add(path, "Unknown zone", "There is no zone %q. %s", zone, hint).on("vlan")
	return false
}

// ownAddresses are the pair's, each with what it is.
func (f *finder) ownAddresses() map[netip.Addr]string {
	own := map[netip.Addr]string{f.p.Outside.VIP: "outside.vip", f.p.Outside.Gateway: "outside.gateway"}
	for _, v := range f.p.VLANs {
		own[v.VIP] = fmt.Sprintf("the VIP of VLAN %q", v.Name)
		for _, n := range f.p.Nodes {
			if a, ok := v.Addresses[n.Name]; ok {
				own[a] = fmt.Sprintf("node %q in VLAN %q", n.Name, v.Name)
			}
		}
	}
	for _, s := range f.p.Services {
		if own[s.Address] == "" {
			own[s.Address] = fmt.Sprintf("the VIP of service %q", s.Name)
		}
	}
	for _, n := range f.p.Nodes {
		who := fmt.Sprintf("node %q", n.Name)
		if f.p.Outside.Network.Contains(n.Outside) {
			own[n.Outside] = who
		}
		if f.p.Sync.Network.Contains(n.Sync) {
			own[n.Sync] = who
		}
	}
	delete(own, netip.Addr{})
	return own
}

func (f *finder) servers(path string, s Service, own map[netip.Addr]string) {
	if len(s.Servers) == 0 {
		f.add(path+".server", "Service without a server", "Give service %q at least one server.", s.Name)
		return
	}
	seen := map[netip.AddrPort]string{}
	var lost []string
	for _, server := range s.Servers {
		at := path + ".server." + server.Name
		if server.Port != s.Port { // else the service's port was told
			f.between(at+".port", "Port out of range", server.Port, 1, maxPort, "A port")
		}
		if !server.Address.IsValid() || !server.Address.Is4() {
			f.add(at+".address", "Not an address", "%s is an IPv4 address.", at+".address")
			continue
		}
		if what := own[server.Address]; what != "" {
			f.add(at+".address", "Address used twice", "%s is %s: a server is a machine of its own.", server.Address, what).on("vlan", "node")
			continue
		}
		a := netip.AddrPortFrom(server.Address, uint16(server.Port))
		if first := seen[a]; first != "" {
			f.add(at+".address", "Address used twice", "%s is server %q already.", a, first).on(at+".port", path+".server."+first+".address")
		}
		seen[a] = server.Name
		name, network := f.home(server.Address)
		if n, ok := reserved(server.Address); name == "" && ok {
			f.add(at+".address", "Not a host address", "%s lies in %s, which is reserved.", server.Address, n)
			continue
		}
		if name == "" {
			lost = append(lost, at+".address")
			continue
		}
		f.host(at+".address", server.Address, name, network)
	}
	f.lost(path, s, lost)
}

// reserved is the special network that an address lies in.
func reserved(a netip.Addr) (netip.Prefix, bool) {
	for _, n := range special {
		if n.Contains(a) {
			return n, true
		}
	}
	return netip.Prefix{}, false
}

// home is the network that an address stands in, and its path.
func (f *finder) home(a netip.Addr) (string, netip.Prefix) {
	if i, ok := f.vlan.home(a); ok {
		v := f.p.VLANs[i]
		return "vlan." + v.Name + ".network", v.Network
	}
	if o := f.p.Outside.Network; o.IsValid() && o.Contains(a) {
		return "outside.network", o
	}
	return "", netip.Prefix{}
}

// lost tells of servers that stand in no network of the pair.
func (f *finder) lost(path string, s Service, lost []string) {
	if len(lost) == 0 || !f.networksKnown() {
		return
	}
	depends := []string{"vlan", path + ".server"}
	if len(lost) == len(s.Servers) {
		f.add(lost[0], "No server in a known network", "Every server of service %q stands outside of the VLANs and of the outside network: the nodes would look for them behind the gateway.", s.Name).
			on(depends...)
		return
	}
	for _, at := range lost {
		f.add(at, "Server in no known network", "It stands outside of the VLANs and of the outside network: the nodes look for it behind the gateway.").
			on(depends...).warn()
	}
}

// networksKnown reports whether it can be said of an address that it stands in no
// network of the pair.
func (f *finder) networksKnown() bool {
	return f.p.Outside.Network.IsValid() && !slices.ContainsFunc(f.p.VLANs, func(v VLAN) bool { return !v.Network.IsValid() })
}

// transparent checks that the answers of the servers come back to the pair. A
// server in the zone of its client answers it directly.
func (f *finder) transparent(path string, s Service) {
	if !s.Transparent {
		return
	}
	for i, z := range s.From {
		for _, server := range s.Servers {
			if !server.Address.IsValid() || !f.inZone(server.Address, z) {
				continue
			}
			f.add(path+".transparent", "Transparent within a zone",
				"Server %q stands in zone %q, from which clients come: it would answer them directly, past the pair. Drop transparent, or take the zone out of `from`.",
				server.Name, z).on("vlan", fmt.Sprintf("%s.from[%d]", path, i), path+".server."+server.Name+".address")
			return
		}
	}
}

// inZone reports whether the network of a zone has the address.
func (f *finder) inZone(a netip.Addr, zone string) bool {
	if zone == ZoneInside {
		_, ok := f.vlan.home(a)
		return ok
	}
	for _, n := range f.zoneNetworks(zone) {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// zoneNetworks are the networks that are known to make up a zone.
func (f *finder) zoneNetworks(zone string) []netip.Prefix {
	var out []netip.Prefix
	if zone == ZoneInside {
		for _, v := range f.p.VLANs {
			if v.Network.IsValid() {
				out = append(out, v.Network)
			}
		}
	}
	for _, i := range f.vlan.byName[zone] {
		if n := f.p.VLANs[i].Network; n.IsValid() && zone != ZoneInside {
			out = append(out, n)
		}
	}
	switch {
	case zone == ZoneOutside && f.p.Outside.Network.IsValid():
		out = append(out, f.p.Outside.Network)
	case zone == ZoneSync && f.p.Sync.Network.IsValid():
		out = append(out, f.p.Sync.Network)
	}
	return out
}
