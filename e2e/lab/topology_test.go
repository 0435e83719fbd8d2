package lab

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fwprov/inventories"
)

var update = flag.Bool("update", false, "write the golden files")

// guide is the pair of inventories/guide.hcl, as far as the lab looks at it.
func guide() *inventories.Pair {
	p := &inventories.Pair{
		Name:    "fw",
		Domain:  "example.com",
		SSH:     inventories.SSH{User: "root"},
		Outside: inventories.Outside{Interface: "eth0", Network: prefixOf("192.168.1.0/24"), Gateway: addrOf("192.168.1.254"), VIP: addrOf("192.168.1.10")},
		Sync:    inventories.Sync{Interface: "eth1", Network: prefixOf("10.10.1.0/24")},
		Inside:  inventories.Inside{Interface: "eth2", Network: prefixOf("10.10.0.0/16"), VIPHost: 254},
		Nodes: []inventories.Node{
			{Name: "fw01", Outside: addrOf("192.168.1.1"), Sync: addrOf("10.10.1.1"), SSHHost: "192.168.1.1"},
			{Name: "fw02", Outside: addrOf("192.168.1.2"), Sync: addrOf("10.10.1.2"), SSHHost: "fw02-mgmt.example.com"},
		},
		Services: []inventories.Service{{
			Name: "smtp_ext", Address: addrOf("192.168.1.10"), Port: 25, Mode: "tcp", Check: &inventories.Check{Type: "smtp"},
			Servers: []inventories.Server{
				{Name: "ext-mx-in001", Address: addrOf("10.10.2.1"), Port: 25},
				{Name: "ext-mx-in002", Address: addrOf("10.10.2.2"), Port: 25},
			},
		}},
	}
	addVLAN(p, "mail", 2)
	return p
}

func addVLAN(p *inventories.Pair, name string, id int) {
	at := func(n int) netip.Addr { return addrOf(fmt.Sprintf("10.10.%d.%d", id, n)) }
	p.VLANs = append(p.VLANs, inventories.VLAN{
		Name: name, ID: id, Interface: fmt.Sprintf("eth2.%d", id), VIP: at(254),
		Network:   prefixOf(fmt.Sprintf("10.10.%d.0/24", id)),
		Addresses: map[string]netip.Addr{"fw01": at(253), "fw02": at(252)},
	})
}

func addrOf(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestPlanGolden(t *testing.T) {
	top, err := Plan(guide())
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "guide.json", string(got)+"\n")

	// It comes back from the state file as it went in.
	var back Topology
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(top, back, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("after a round trip through JSON (-want +got):\n%s", diff)
	}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(*inventories.Pair)
		host  string
		want  string // bridge, address, routes and ports of the host
		notes []string
	}{
		{
			name: "a VLAN without servers has a host of its name",
			edit: func(p *inventories.Pair) { addVLAN(p, "office", 3) },
			host: "office",
			want: "vlan3 10.10.3.100/24 0.0.0.0/0>10.10.3.254",
		},
		{
			name: "its name is taken",
			edit: func(p *inventories.Pair) { addVLAN(p, "client", 3) },
			host: "vlan-client",
			want: "vlan3 10.10.3.100/24 0.0.0.0/0>10.10.3.254",
		},
		{
			name: "one address behind two services is one host",
			edit: func(p *inventories.Pair) {
				p.Services = append(p.Services, inventories.Service{Name: "web", Address: addrOf("192.168.1.10"), Port: 80, Mode: "http",
					Servers: []inventories.Server{{Name: "web1", Address: addrOf("10.10.2.1"), Port: 8080}}})
			},
			host: "ext-mx-in001",
			want: "vlan2 10.10.2.1/24 0.0.0.0/0>10.10.2.254 smtp:25 http:8080",
		},
		{
			name: "one name behind two services is two hosts",
			edit: func(p *inventories.Pair) {
				p.Services = append(p.Services, inventories.Service{Name: "db", Address: addrOf("10.10.2.254"), Port: 5432, Mode: "tcp",
					Servers: []inventories.Server{{Name: "ext-mx-in001", Address: addrOf("10.10.2.9"), Port: 5432}}})
			},
			host: "db-ext-mx-in001",
			want: "vlan2 10.10.2.9/24 0.0.0.0/0>10.10.2.254 tcp:5432",
		},
		{
			name: "a server on the outside network",
			edit: func(p *inventories.Pair) { p.Services[0].Servers[0].Address = addrOf("192.168.1.77") },
			host: "ext-mx-in001",
			want: "outside 192.168.1.77/24 0.0.0.0/0>192.168.1.254 smtp:25",
		},
		{
			name:  "a server nowhere",
			edit:  func(p *inventories.Pair) { p.Services[0].Servers[0].Address = addrOf("172.16.0.1") },
			host:  "ext-mx-in002",
			want:  "vlan2 10.10.2.2/24 0.0.0.0/0>10.10.2.254 smtp:25",
			notes: []string{"server ext-mx-in001 of service smtp_ext: 172.16.0.1 is in no network of the inventory"},
		},
		{
			name: "the admin's usual address is a node's",
			edit: func(p *inventories.Pair) { p.Nodes[1].Outside = addrOf("192.168.1.100") },
			host: Admin,
			want: "outside 192.168.1.101/24 0.0.0.0/0>192.168.1.254 10.10.0.0/16>192.168.1.10",
		},
		{
			name: "a small outside network",
			edit: func(p *inventories.Pair) {
				p.Outside.Network, p.Outside.Gateway = prefixOf("192.168.1.0/28"), addrOf("192.168.1.14")
			},
			host: Admin,
			want: "outside 192.168.1.4/28 0.0.0.0/0>192.168.1.14 10.10.0.0/16>192.168.1.10",
		},
		{
			name: "the client's usual network is an inside one",
			edit: func(p *inventories.Pair) { p.Inside.Network = prefixOf("203.0.113.0/24") },
			host: Client,
			want: "internet 198.51.100.10/24 0.0.0.0/0>198.51.100.1",
		},
		{
			name: "a VLAN outside the inside network has its own route",
			edit: func(p *inventories.Pair) {
				addVLAN(p, "far", 9)
				p.VLANs[1].Network = prefixOf("172.20.0.0/24")
			},
			host: Gateway,
			want: "outside 192.168.1.254/24 10.10.0.0/16>192.168.1.10 172.20.0.0/24>192.168.1.10",
		},
		{
			name:  "no jump host",
			edit:  func(p *inventories.Pair) { p.SSH.ProxyJump = "bastion" },
			host:  Client,
			want:  "internet 203.0.113.10/24 0.0.0.0/0>203.0.113.1",
			notes: []string{"ssh.proxy_jump bastion: the lab has no such host, and reaches the nodes directly"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := guide()
			tt.edit(p)
			top, err := Plan(p)
			if err != nil {
				t.Fatal(err)
			}
			l := Lab{state: state{Topology: top}}
			h, err := l.Host(tt.host)
			if err != nil {
				t.Fatal(err)
			}
			words := []string{h.Links[0].Bridge, h.Links[0].Addr.String()}
			for _, r := range h.Routes {
				words = append(words, r.Dst.String()+">"+r.Via.String())
			}
			for _, s := range h.Listens {
				words = append(words, fmt.Sprintf("%s:%d", s.Protocol, s.Port))
			}
			if got := strings.Join(words, " "); got != tt.want {
				t.Errorf("%s:\n got %s\nwant %s", tt.host, got, tt.want)
			}
			if diff := cmp.Diff(tt.notes, top.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanWithoutRoomForTheAdmin(t *testing.T) {
	p := guide()
	p.Outside.Network = prefixOf("192.168.1.0/29")
	p.Outside.Gateway, p.Outside.VIP = addrOf("192.168.1.6"), addrOf("192.168.1.5")
	p.Services = []inventories.Service{
		{Address: addrOf("192.168.1.3"), Port: 1}, {Address: addrOf("192.168.1.4"), Port: 1},
	}
	if _, err := Plan(p); err == nil || !strings.Contains(err.Error(), "192.168.1.0/29") {
		t.Errorf("got %v, want an error that names the network", err)
	}
}

func TestPlanRefusesANodeNamedLikeALabHost(t *testing.T) {
	p := guide()
	p.Nodes[0].Name = "admin"
	if _, err := Plan(p); err == nil || !strings.Contains(err.Error(), "node admin") {
		t.Errorf("got %v, want an error that names the node", err)
	}
}

// 250 VLANs on both nodes: what the kernel knows by name must differ and fit.
func TestPortsFitAndDiffer(t *testing.T) {
	p := guide()
	for id := 3; id <= 250; id++ {
		addVLAN(p, fmt.Sprintf("a-vlan-with-a-long-name-%d", id), id)
	}
	top, err := Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	ports, macs := map[string]bool{}, map[string]bool{}
	for _, h := range top.Hosts {
		for _, l := range h.Links {
			name := port(h.Name, l.Interface)
			if len(name) > 15 || ports[name] || macs[l.MAC] {
				t.Errorf("%s %s: port %s or MAC %s is too long or taken", h.Name, l.Interface, name, l.MAC)
			}
			ports[name], macs[l.MAC] = true, true
		}
	}
	if len(ports) < 3*248 {
		t.Errorf("only %d links", len(ports))
	}
}

func TestNewListens(t *testing.T) {
	smtp, web := Listen{"smtp", 25}, Listen{"http", 80}
	have := []Host{{Name: "mx1", Listens: []Listen{smtp}}, {Name: "gone", Listens: []Listen{smtp}}}
	want := []Host{{Name: "mx1", Listens: []Listen{smtp, web}}, {Name: "mx2", Listens: []Listen{smtp}}, {Name: "client"}}
	var got []string
	for _, e := range newListens(have, want) {
		got = append(got, fmt.Sprintf("%s %s:%d", e.host.Name, e.listen.Protocol, e.listen.Port))
	}
	if diff := cmp.Diff([]string{"mx1 http:80", "mx2 smtp:25"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
