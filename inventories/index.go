package inventories

import (
	"maps"
	"net/netip"
	"slices"
)

// vlanIndex finds VLANs, so that a rule about a service or another VLAN does not go
// through all of them. Its numbers are those of Pair.VLANs; where several fit it is
// the first.
type vlanIndex struct {
	byName   map[string][]int
	byVIP    map[netip.Addr]int
	lengths  []int                // of the prefixes, the longest first
	networks map[netip.Prefix]int // exactly these
	above    map[netip.Prefix]int // of one of the lengths, with a longer network in them
}

// index knows the names and VIPs, and no networks yet.
func index(vlans []VLAN) *vlanIndex {
	x := &vlanIndex{byName: map[string][]int{}, byVIP: map[netip.Addr]int{}, networks: map[netip.Prefix]int{}, above: map[netip.Prefix]int{}}
	lengths := map[int]bool{}
	for i, v := range vlans {
		x.byName[v.Name] = append(x.byName[v.Name], i)
		if _, ok := x.byVIP[v.VIP]; !ok && v.VIP.IsValid() {
			x.byVIP[v.VIP] = i
		}
		if v.Network.IsValid() {
			lengths[v.Network.Bits()] = true
		}
	}
	x.lengths = slices.Sorted(maps.Keys(lengths))
	slices.Reverse(x.lengths)
	return x
}

// add notes the network of VLAN i, which is masked.
func (x *vlanIndex) add(i int, n netip.Prefix) {
	first(x.networks, n, i)
	for _, bits := range x.lengths {
		if bits < n.Bits() {
			first(x.above, netip.PrefixFrom(n.Addr(), bits).Masked(), i)
		}
	}
}

func first(of map[netip.Prefix]int, n netip.Prefix, i int) {
	if _, ok := of[n]; !ok {
		of[n] = i
	}
}

// overlapping is the first VLAN whose network overlaps n.
func (x *vlanIndex) overlapping(n netip.Prefix) (int, bool) {
	found, ok := x.containing(n)
	if i, within := x.above[n]; within && (!ok || i < found) {
		found, ok = i, true
	}
	if slices.Contains(x.lengths, n.Bits()) {
		return found, ok
	}
	for m, i := range x.networks { // no VLAN has a network of that length
		if n.Overlaps(m) && (!ok || i < found) {
			found, ok = i, true
		}
	}
	return found, ok
}

// containing is the first VLAN whose network contains n.
func (x *vlanIndex) containing(n netip.Prefix) (found int, ok bool) {
	for _, bits := range x.lengths {
		if bits > n.Bits() {
			continue
		}
		if i, in := x.networks[netip.PrefixFrom(n.Addr(), bits).Masked()]; in && (!ok || i < found) {
			found, ok = i, true
		}
	}
	return found, ok
}

// home is the first VLAN whose network has the address.
func (x *vlanIndex) home(a netip.Addr) (int, bool) {
	if !a.Is4() {
		return 0, false
	}
	return x.containing(netip.PrefixFrom(a, a.BitLen()))
}
