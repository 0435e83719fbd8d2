package sample

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"time"

	"fwprov/inventories"
)

// Large makes a pair like that of Text.
func Large(vlans, services int) *inventories.Pair {
	p := Pair(0, 0, inventories.Single)
	p.Inside.Network = netip.MustParsePrefix("100.64.0.0/10")
	p.Allows = []inventories.Allow{{Name: "out", From: inventories.ZoneInside, To: inventories.ZoneOutside}}
	for i := range vlans {
		id := i + 2
		p.VLANs = append(p.VLANs, inventories.VLAN{
			Name: fmt.Sprintf("net%d", id), ID: id, Interface: fmt.Sprintf("eth2.%d", id), Network: netip.PrefixFrom(far(id, 0), 24), VIP: far(id, 254),
			Addresses: map[string]netip.Addr{"fw01": far(id, 253), "fw02": far(id, 252)},
		})
	}
	for i := range services {
		s := service(1, p) // http, with a check
		s.Name, s.Address, s.Port, s.Servers = fmt.Sprintf("svc_%d", i), p.Outside.VIP, 2000+i, nil
		for j := range 2 {
			s.Servers = append(s.Servers, inventories.Server{Name: fmt.Sprintf("srv%d", j), Address: far(2+i%max(1, vlans), 10+j), Port: 80})
		}
		p.Services = append(p.Services, s)
	}
	return p
}

func far(vlan, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, 64 + byte(vlan>>8), byte(vlan), byte(host)})
}

// Text is an inventory in HCL with as many VLANs, up to 4,000, and services, up to
// 1,000, as asked for, each written out.
func Text(vlans, services int) []byte {
	p := Large(vlans, services)
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %q {}\n", p.Name)
	fmt.Fprintf(&b, "outside {\n  interface = %q\n  network = %q\n  gateway = %q\n  vip = %q\n}\n", p.Outside.Interface, p.Outside.Network, p.Outside.Gateway, p.Outside.VIP)
	fmt.Fprintf(&b, "sync {\n  interface = %q\n  network = %q\n}\n", p.Sync.Interface, p.Sync.Network)
	fmt.Fprintf(&b, "inside {\n  interface = %q\n  network = %q\n}\n", p.Inside.Interface, p.Inside.Network)
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "node %q {\n  outside = %q\n  sync = %q\n  vlan_host = %d\n}\n", n.Name, n.Outside, n.Sync, n.VLANHost)
	}
	for _, v := range p.VLANs {
		fmt.Fprintf(&b, "vlan %q {\n  id = %d\n  network = %q\n}\n", v.Name, v.ID, v.Network)
	}
	for _, s := range p.Services {
		fmt.Fprintf(&b, "service %q {\n  port = %d\n  mode = %q\n  check {\n    type = \"http\"\n  }\n", s.Name, s.Port, s.Mode)
		for _, x := range s.Servers {
			fmt.Fprintf(&b, "  server %q {\n    address = %q\n    port = %d\n  }\n", x.Name, x.Address, x.Port)
		}
		b.WriteString("}\n")
	}
	return []byte(b.String())
}

// Growth is how much more of work an item takes among four times as many: about 1
// where the work grows with the number of items, 4 where it grows with its square.
// What counts is what is allocated, since time is never twice the same.
func Growth(n int, prepare func(n int) (work func())) float64 {
	per := func(n int) float64 {
		work := prepare(n)
		work() // what is made once does not count
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		work()
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	}
	return per(4*n) / per(n)
}

// Slowdown is the same of the processor's time, for what goes through things without
// making any. It is the least of several, and rough all the same.
func Slowdown(n int, prepare func(n int) (work func())) float64 {
	per := func(n int) float64 {
		work := prepare(n)
		least := time.Duration(math.MaxInt64)
		for range 3 {
			took, rounds := time.Duration(0), 0
			for before := processorTime(); took < 30*time.Millisecond; took = processorTime() - before {
				work()
				rounds++
			}
			least = min(least, took/time.Duration(rounds))
		}
		return float64(least) / float64(n)
	}
	const settled = 1.5 // what is above is measured again: others may have been at work
	g := per(4*n) / per(n)
	for again := 0; again < 3 && g > settled; again++ {
		g = min(g, per(4*n)/per(n))
	}
	return g
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("sample: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
