package inventories

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The index finds what going through all VLANs would find.
func TestIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	network := func() netip.Prefix {
		// From a small part of the address space, so that many overlap.
		a := netip.AddrFrom4([4]byte{10, byte(random.IntN(3)), byte(random.IntN(8)), byte(random.IntN(256))})
		return netip.PrefixFrom(a, 12+random.IntN(18)).Masked()
	}
	for range 300 {
		vlans := make([]VLAN, random.IntN(12))
		for i := range vlans {
			if random.IntN(5) > 0 {
				vlans[i].Network = network()
			}
		}
		x := index(vlans)
		for i, v := range vlans {
			if v.Network.IsValid() {
				x.add(i, v.Network)
			}
		}
		brute := func(fits func(netip.Prefix) bool) (int, bool) {
			for i, v := range vlans {
				if v.Network.IsValid() && fits(v.Network) {
					return i, true
				}
			}
			return 0, false
		}
		for range 20 {
			n := network()
			i, ok := x.overlapping(n)
			j, want := brute(n.Overlaps)
			if ok != want || ok && i != j {
				t.Fatalf("%s overlaps %d, %v, want %d, %v, of %v", n, i, ok, j, want, vlans)
			}
			i, ok = x.home(n.Addr())
			j, want = brute(func(m netip.Prefix) bool { return m.Contains(n.Addr()) })
			if ok != want || ok && i != j {
				t.Fatalf("%s is in %d, %v, want %d, %v, of %v", n.Addr(), i, ok, j, want, vlans)
			}
		}
	}
}
