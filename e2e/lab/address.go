package lab

import (
	"net/netip"

	"fwprov/inventories"
)

// anywhere is the destination of a default route.
var anywhere = netip.MustParsePrefix("0.0.0.0/0")

// host is the nth address of an IPv4 network, counted from its base.
func host(n netip.Prefix, nth int) netip.Addr {
	a := n.Masked().Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(nth)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// free takes the first unused address of a network, looking from its nth on.
func (b *builder) free(n netip.Prefix, nth int) (netip.Addr, bool) {
	size := 1 << min(n.Addr().BitLen()-n.Bits(), 16)
	for i := range size {
		k := (nth + i) % size
		if k == 0 || k == size-1 {
			continue // the network itself, and its broadcast address
		}
		if a := host(n, k); !b.used[a] {
			b.used[a] = true
			return a, true
		}
	}
	return netip.Addr{}, false
}

// usedAddresses are the addresses that the inventory gives to somebody.
func usedAddresses(p *inventories.Pair) map[netip.Addr]bool {
	used := map[netip.Addr]bool{p.Outside.Gateway: true}
	for _, v := range p.VIPs() {
		used[v.Addr] = true
	}
	for _, n := range p.Nodes {
		used[n.Outside], used[n.Sync] = true, true
	}
	for _, v := range p.VLANs {
		for _, a := range v.Addresses {
			used[a] = true
		}
	}
	for _, s := range p.Services {
		for _, srv := range s.Servers {
			used[srv.Address] = true
		}
	}
	return used
}
