package inventories

import (
	"encoding/binary"
	"net/netip"
)

// HostAddr is the address with that number in an IPv4 network, counted from the
// network's base. It is false for the base itself, the broadcast address and
// whatever lies beyond.
func HostAddr(network netip.Prefix, host int) (netip.Addr, bool) {
	if !network.IsValid() || !network.Addr().Is4() || host < 1 || uint64(host) > uint64(^uint32(0)) {
		return netip.Addr{}, false
	}
	base := network.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(base[:])
	sum := n + uint32(host)
	if sum < n {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], sum)
	if a := netip.AddrFrom4(b); network.Contains(a) && a != Broadcast(network) {
		return a, true
	}
	return netip.Addr{}, false
}

// Broadcast is the last address of an IPv4 network. The zero Addr for anything
// else, and for a /31 or /32, which have none.
func Broadcast(network netip.Prefix) netip.Addr {
	if !network.IsValid() || !network.Addr().Is4() || network.Bits() > 30 {
		return netip.Addr{}
	}
	b := network.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | (1<<(32-network.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// VLANNetwork is the network of a VLAN that does not name one: the /24 whose
// third octet is the id. That exists only inside a /16 and for an id of 1..255.
func VLANNetwork(inside netip.Prefix, id int) (netip.Prefix, bool) {
	if !inside.IsValid() || !inside.Addr().Is4() || inside.Bits() != 16 || id < 1 || id > 255 {
		return netip.Prefix{}, false
	}
	b := inside.Masked().Addr().As4()
	b[2] = byte(id)
	return netip.PrefixFrom(netip.AddrFrom4(b), 24), true
}
