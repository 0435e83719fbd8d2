package steps

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

func TestPortMatches(t *testing.T) {
	ports := func(pairs ...int) []inventories.PortRange {
		var out []inventories.PortRange
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, inventories.PortRange{First: pairs[i], Last: pairs[i+1]})
		}
		return out
	}
	many := ports()
	for i := range 17 {
		many = append(many, inventories.PortRange{First: 10 + i, Last: 10 + i})
	}
	for _, tt := range []struct {
		ports []inventories.PortRange
		want  []string
	}{
		{nil, nil},
		{ports(25, 25), []string{"-p tcp --dport 25 "}},
		{ports(1000, 2000), []string{"-p tcp --dport 1000:2000 "}},
		{ports(25, 25, 53, 53, 1000, 2000), []string{"-p tcp -m multiport --dports 25,53,1000:2000 "}},
		{many, []string{"-p tcp -m multiport --dports 10,11,12,13,14,15,16,17,18,19,20,21,22,23,24 ", "-p tcp -m multiport --dports 25,26 "}},
		{slices.Concat(many[:14], ports(1000, 2000)), []string{"-p tcp -m multiport --dports 10,11,12,13,14,15,16,17,18,19,20,21,22,23 ", "-p tcp --dport 1000:2000 "}},
	} {
		if d := cmp.Diff(tt.want, portMatches("tcp", tt.ports)); d != "" {
			t.Errorf("%v: -want +got\n%s", tt.ports, d)
		}
	}
}

func TestAllow(t *testing.T) {
	p := sample.Pair(2, 0, inventories.Single)
	port := []inventories.PortRange{{First: 22, Last: 22}}
	for _, tt := range []struct {
		allow inventories.Allow
		want  string
	}{
		{inventories.Allow{From: "net2", To: "outside"}, "-A FORWARD -i eth2.2 -o eth0 -m conntrack --ctstate NEW -j ACCEPT\n"},
		{inventories.Allow{From: "outside", To: "inside", ICMP: true},
			"-A FORWARD -i eth0 -o eth2.2 -p icmp -m conntrack --ctstate NEW -j ACCEPT\n-A FORWARD -i eth0 -o eth2.3 -p icmp -m conntrack --ctstate NEW -j ACCEPT\n"},
		{inventories.Allow{From: "inside", To: "sync", UDP: port}, "-A INSIDE_FWD -o eth1 -p udp --dport 22 -m conntrack --ctstate NEW -j ACCEPT\n"},
		{inventories.Allow{From: "inside", To: "firewall", TCP: port}, "-A INSIDE_IN -p tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT\n"},
		{inventories.Allow{From: "firewall", To: "outside"}, ""},
		{inventories.Allow{Name: "a name that is longer than the kernel keeps", From: "sync", To: "net3", Log: true,
			Sources:      []netip.Prefix{netip.MustParsePrefix("10.10.1.9/32"), netip.MustParsePrefix("10.10.1.16/28")},
			Destinations: []netip.Prefix{netip.MustParsePrefix("10.10.3.0/24")}},
			"-A FORWARD -i eth1 -o eth2.3 -s 10.10.1.9,10.10.1.16/28 -d 10.10.3.0/24 -m conntrack --ctstate NEW -j LOG --log-prefix \"fwprov a_name_that_is_longe: \"\n" +
				"-A FORWARD -i eth1 -o eth2.3 -s 10.10.1.9,10.10.1.16/28 -d 10.10.3.0/24 -m conntrack --ctstate NEW -j ACCEPT\n"},
	} {
		got := strings.Join(append(iptables{p, p.Nodes[0]}.allow(tt.allow).Rules, ""), "\n")
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%+v: -want +got\n%s", tt.allow, d)
		}
	}
}

func TestSSHRules(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2001:db8::/32")
	const end = "--syn -m conntrack --ctstate NEW -j ACCEPT"
	for _, tt := range []struct {
		from   []netip.Prefix
		port   int
		facts  provision.Facts
		v4, v6 []string
	}{
		{nil, 0, nil, []string{"-A INPUT -p tcp --dport 22 " + end}, []string{"-A INPUT -p tcp --dport 22 " + end}},
		{nil, 2222, nil, []string{"-A INPUT -p tcp --dport 2222 " + end}, []string{"-A INPUT -p tcp --dport 2222 " + end}},
		{[]netip.Prefix{v4}, 2222, provision.Facts{"ssh ports": "22 22022"},
			[]string{"-A INPUT -s 192.168.1.0/24 -p tcp --dport 22 " + end, "-A INPUT -s 192.168.1.0/24 -p tcp --dport 22022 " + end}, nil},
		{[]netip.Prefix{v6}, 0, nil, nil, []string{"-A INPUT -s 2001:db8::/32 -p tcp --dport 22 " + end}},
	} {
		p := sample.Pair(0, 0, inventories.Single)
		p.SSH.AllowFrom, p.SSH.Port = tt.from, tt.port
		s := iptables{p, p.Nodes[0]}
		if d := cmp.Diff([][]string{tt.v4, tt.v6}, [][]string{s.ssh(tt.facts, true), s.ssh(tt.facts, false)}); d != "" {
			t.Errorf("%v, port %d, %v: -want +got\n%s", tt.from, tt.port, tt.facts, d)
		}
	}
}

// TestRulesAreComplete: every chain that is used is there before, both nodes
// hear each other, and nothing but named traffic is accepted.
func TestRulesAreComplete(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.PerVLAN, inventories.Single} {
		for _, size := range [][2]int{{0, 0}, {0, 3}, {1, 1}, {20, 50}, {250, 50}} {
			p := sample.Pair(size[0], size[1], form)
			for _, n := range p.Nodes {
				s := iptables{p, n}
				checkChains(t, string(s.rulesV4(debian12())))
				checkChains(t, string(s.rulesV6(debian12())))
				peer := p.Peer(n.Name)
				for _, want := range []string{
					fmt.Sprintf("-A INPUT -i eth1 -s %s -d 224.0.0.18 -p vrrp -j ACCEPT\n", peer.Sync),
					fmt.Sprintf("-A INPUT -i eth1 -s %s -d %s -p udp --dport 3780 -j ACCEPT\n", peer.Sync, map[inventories.VRRPForm]string{
						inventories.PerVLAN: "225.0.0.50", inventories.Single: n.Sync.String()}[form]),
				} {
					if !strings.Contains(string(s.rulesV4(debian12())), want) {
						t.Errorf("%s %v: no rule %s", form, size, want)
					}
				}
			}
		}
	}
}

func checkChains(t *testing.T, rules string) {
	t.Helper()
	chains := map[string]bool{}
	for i, line := range strings.Split(rules, "\n") {
		w := strings.Fields(line)
		switch {
		case len(w) == 0 || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "*"):
			chains = map[string]bool{"ACCEPT": true, "DROP": true, "LOG": true, "MARK": true, "REJECT": true, "CT": true}
		case strings.HasPrefix(line, ":"):
			chains[w[0][1:]] = true
		case w[0] == "-A":
			if target := w[slices.Index(w, "-j")+1]; !chains[w[1]] || !chains[target] {
				t.Errorf("line %d: a chain is not there: %s", i+1, line)
			}
		case line != "COMMIT":
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

// TestInsideStandsOnce: the rules for every VLAN do not multiply with them.
func TestInsideStandsOnce(t *testing.T) {
	p := sample.Pair(250, 0, inventories.Single)
	p.Allows = []inventories.Allow{{Name: "out", From: "inside", To: "outside"}, {Name: "dns", From: "inside", To: "firewall", UDP: []inventories.PortRange{{First: 53, Last: 53}}}}
	rules := string(iptables{p, p.Nodes[0]}.rulesV4(debian12()))
	for chain, want := range map[string]int{"-A INSIDE_FWD ": 1, "-A INSIDE_IN ": 1, "-j INSIDE_FWD\n": 250, "-j INSIDE_IN\n": 250} {
		if got := strings.Count(rules, chain); got != want {
			t.Errorf("%d times %q, want %d", got, chain, want)
		}
	}
}
