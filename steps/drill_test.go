package steps

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
)

func TestDrillScriptsArePOSIX(t *testing.T) {
	p := sample.Pair(3, 3, inventories.Single)
	for _, w := range Ways() {
		o := DrillOutage(p, w, "it's me")
		posix(t, string(w)+" down", o.Down)
		posix(t, string(w)+" back", o.Back)
	}
	posix(t, "watch", HolderWatch(time.Minute))
	posix(t, "stick", StickScript(p, netip.MustParseAddr("192.0.2.1")))
}

func TestBounds(t *testing.T) {
	defaults := sample.Pair(1, 1, inventories.Single) // slower advert 300 ms
	guide := sample.Pair(1, 1, inventories.PerVLAN)   // 1 s
	for _, tc := range []struct {
		name string
		pair *inventories.Pair
		way  Way
		peer int
		want Bounds
	}{
		{"drain, to the second", defaults, ByDrain, 1, Bounds{182812500, 182812500}},
		{"stop, to the first", defaults, ByStop, 0, Bounds{124218750, 124218750}},
		{"interfaces", defaults, ByInterfaces, 1, Bounds{182812500, 1082812500}},
		{"the guide's", guide, ByInterfaces, 1, Bounds{609375000, 3609375000}},
	} {
		if got := BoundsOf(tc.pair, tc.way, tc.pair.Nodes[tc.peer]); got != tc.want {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}

func TestRoutedTargets(t *testing.T) {
	admin, office := netip.MustParseAddr("192.168.1.100"), netip.MustParseAddr("10.10.3.5")
	prefix := netip.MustParsePrefix
	ports := func(n ...int) (out []inventories.PortRange) {
		for _, p := range n {
			out = append(out, inventories.PortRange{First: p, Last: p})
		}
		return out
	}
	service := inventories.Service{Name: "mail", Port: 25, Check: &inventories.Check{Type: "smtp"},
		Servers: []inventories.Server{{Name: "mx1", Address: netip.MustParseAddr("10.10.2.1"), Port: 25}, {Name: "mx2", Address: netip.MustParseAddr("10.10.2.2"), Port: 25}}}
	for _, tc := range []struct {
		name   string
		from   netip.Addr
		allows []inventories.Allow
		want   []string
	}{
		{"nothing is let through", admin, nil, nil},
		{"to the service's own port", admin, []inventories.Allow{{From: "outside", To: "inside", TCP: ports(25)}}, []string{"10.10.2.1:25 smtp", "10.10.2.2:25 smtp"}},
		{"to one of them, by SSH", admin, []inventories.Allow{{Name: "ssh", From: "outside", To: "net2", Destinations: []netip.Prefix{prefix("10.10.2.2/32")}, TCP: ports(22)}}, []string{"10.10.2.2:22 idle"}},
		{"own ports first", admin, []inventories.Allow{{From: "outside", To: "net2", TCP: ports(22)}, {From: "outside", To: "net2", TCP: ports(25)}},
			[]string{"10.10.2.1:25 smtp", "10.10.2.2:25 smtp", "10.10.2.1:22 idle", "10.10.2.2:22 idle"}},
		{"not from here", admin, []inventories.Allow{{From: "outside", To: "net2", Sources: []netip.Prefix{prefix("203.0.113.0/24")}, TCP: ports(25)}}, nil},
		{"from another network", admin, []inventories.Allow{{From: "inside", To: "net2", TCP: ports(25)}}, nil},
		{"from a VLAN", office, []inventories.Allow{{From: "inside", To: "inside", TCP: ports(25)}}, []string{"10.10.2.1:25 smtp", "10.10.2.2:25 smtp"}},
		{"from the server's own VLAN it is not routed", netip.MustParseAddr("10.10.2.9"), []inventories.Allow{{From: "inside", To: "inside", TCP: ports(25)}}, nil},
		{"every protocol", admin, []inventories.Allow{{From: "outside", To: "net2"}}, []string{"10.10.2.1:25 smtp", "10.10.2.2:25 smtp"}},
		{"pings only", admin, []inventories.Allow{{From: "outside", To: "net2", ICMP: true}}, nil},
		{"to somebody who is no server", admin, []inventories.Allow{{Name: "web", From: "outside", To: "net3", Destinations: []netip.Prefix{prefix("10.10.3.7/32"), prefix("10.10.3.0/28")}, TCP: ports(80)}}, []string{"10.10.3.7:80 http"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := sample.Pair(2, 0, inventories.Single)
			p.Services, p.Allows = []inventories.Service{service}, tc.allows
			var got []string
			for _, x := range RoutedTargets(p, tc.from) {
				got = append(got, x.Addr.String()+" "+string(x.Talk))
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseTarget(t *testing.T) {
	for text, ok := range map[string]bool{"10.10.2.1:22": true, "10.10.2.1": false, "mx1:25": false, "[::1]:25": false, "10.10.2.1:0": false} {
		if _, err := ParseTarget(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseStick(t *testing.T) {
	p := sample.Pair(1, 3, inventories.Single)
	one, two := p.Services[0], p.Services[1]
	out := "# table: " + backendName(one) + ", type: ip, size:1048576, used:1\n0x55d: key=192.0.2.1 use=0 exp=599000 shard=0 server_id=2 server_key=x\n\n" +
		"# table: " + backendName(two) + ", type: ip, size:1048576, used:0\n\n" +
		"# table: other, type: ip, size:1, used:1\n0x1: key=192.0.2.1 server_id=1\nserver_id=9999999999999999999\n"
	one.Servers = append(one.Servers, inventories.Server{Name: "second"})
	p.Services[0] = one
	want := map[string]string{one.Name: one.Servers[1].Name}
	if d := cmp.Diff(want, ParseStick(p, out)); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "# table: ", "# table: " + backendName(one) + ",\nserver_id=0\nserver_id=99\nserver_id=-1", "server_id=1"} {
		if got := ParseStick(p, bad); len(got) > 0 {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

// TestLinks sets interfaces down and up in a network of its own: what went with them
// is there again.
func TestLinks(t *testing.T) {
	ns := newNamespace(t, "ip", "timeout")
	p := sample.Pair(1, 1, inventories.Single)
	var b strings.Builder
	b.WriteString("set -e\ncd " + t.TempDir() + "\n")
	for _, dev := range drillLinks(p) {
		b.WriteString("ip link add " + dev + " type veth peer name p" + dev + "\nip link set p" + dev + " up\nip link set " + dev + " up\n")
	}
	b.WriteString(`ip addr add 192.168.1.1/24 dev eth0
ip -6 addr add 2001:db8::1/64 dev eth0 nodad
ip route add 203.0.113.0/24 dev eth0
ip route add default via 203.0.113.1 dev eth0 metric 7
ip route add 198.51.100.0/24 via 192.168.1.9 table 77
see() { ip -4 route show table all; ip -6 -o addr show scope global; ip -6 route show default; }
see | sed 's/ linkdown//; s/ nodad//; s/ tentative//' | sort >before
`)
	b.WriteString("(\nset -e\n" + linksDown(p) + ")\nip -br link | grep -v '^p\\|^lo' >down\n! ip -4 route | grep .\n(\nset -e\n" + linksUp(p) + ")\nsee | sed 's/ linkdown//; s/ nodad//; s/ tentative//' | sort >after\ndiff before after\ncat down\n")
	out, err := ns.run(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out, "UP,LOWER_UP") {
		t.Errorf("an interface was not set down:\n%s", out)
	}
}
