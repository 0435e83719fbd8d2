package inventories

import (
	"fmt"
	"net/netip"
)

func (f *finder) allows() {
	for _, a := range f.p.Allows {
		path := "allow." + a.Name
		known := f.zone(path+".from", a.From)
		known = f.zone(path+".to", a.To) && known
		switch {
		case !known:
		case a.From == a.To && a.From != ZoneInside:
			f.add(path+".to", "Zone to itself", "What stays within %q does not pass the pair.", a.From).on(path + ".from")
		case a.From == ZoneFirewall:
			f.add(path+".from", "Rule without effect", "The nodes' own outgoing traffic is free.").warn()
		}
		for i, n := range a.Sources {
			f.member(fmt.Sprintf("%s.sources[%d]", path, i), n)
		}
		for i, n := range a.Destinations {
			at := fmt.Sprintf("%s.destinations[%d]", path, i)
			f.member(at, n)
			f.reachable(at, n, path, a.To)
		}
		f.ports(path+".tcp", a.TCP)
		f.ports(path+".udp", a.UDP)
	}
}

// reachable warns of a destination that no packet to the zone can have.
func (f *finder) reachable(at string, n netip.Prefix, path, zone string) {
	if zone == ZoneOutside || zone == ZoneFirewall || !n.IsValid() {
		return
	}
	if _, ok := f.vlan.overlapping(n.Masked()); ok && zone == ZoneInside {
		return
	}
	networks := f.zoneNetworks(zone)
	for _, z := range networks {
		if z.Overlaps(n) {
			return
		}
	}
	if len(networks) == 0 {
		return
	}
	depends := []string{"vlan", path + ".to", "inside.network", "sync.network"}
	for _, v := range f.p.VLANs {
		if v.Name == zone || zone == ZoneInside {
			depends = append(depends, "vlan."+v.Name+".network")
		}
	}
	f.add(at, "Destination outside of its zone", "No packet to zone %q goes to %s.", zone, text(n)).on(depends...).warn()
}

// text is a network as it would be written: an address without its /32.
func text(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

func (f *finder) ports(path string, ranges []PortRange) {
	for i, r := range ranges {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case r.First < 1 || r.Last > maxPort || r.Last < 1 || r.First > maxPort:
			n := r.First
			if n >= 1 && n <= maxPort {
				n = r.Last
			}
			f.between(at, "Port out of range", n, 1, maxPort, "A port")
		case r.First > r.Last:
			f.add(at, "Port range backwards", "Write \"%d-%d\".", r.Last, r.First)
		}
	}
}
