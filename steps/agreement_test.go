package steps

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// byHand is a configuration that somebody else wrote.
const byHand = `! made by hand
vrrp_sync_group VG_GW { group { GWEXT
  GW002 } }
vrrp_instance GWEXT {
  state MASTER   # for now
  interface eth1
  virtual_router_id 1
  priority 100
  authentication { # old
    auth_type PASS
    auth_pass SOMEPASS
  }
  virtual_ipaddress {
    192.168.1.10/24 dev eth0
  }
}
vrrp_instance GW002 {
  interface eth1
  virtual_router_id 2
  version 3
  unicast_src_ip 10.10.1.1
  unicast_peer {
    10.10.1.2
  }
  virtual_ipaddress {
    10.10.2.254/24 dev eth2.2
    10.10.2.250
  }
  track_interface {
    eth2.2
  }
}
`

func TestReadAgreement(t *testing.T) {
	want := agreement{
		"GWEXT": {"eth1 1", map[string]string{"VRRP version": "2", "advert interval": "1", "password": "PASS SOMEPASS", "unicast": " ", "advertised addresses": "192.168.1.10"}},
		"GW002": {"eth1 2", map[string]string{"VRRP version": "3", "advert interval": "1", "password": " ", "unicast": "10.10.1.1 10.10.1.2", "advertised addresses": "10.10.2.250 10.10.2.254"}},
	}
	if d := cmp.Diff(want, readAgreement(byHand), cmp.AllowUnexported(spoken{})); d != "" {
		t.Error(d)
	}
}

// TestTransit goes from one inventory to another, which differ in what is named.
func TestTransit(t *testing.T) {
	single := func(do func(*inventories.VRRP)) *inventories.Pair {
		p := sample.Pair(2, 0, inventories.Single)
		do(&p.VRRP)
		return p
	}
	perVLAN := func(vlans int, do func(*inventories.VRRP)) *inventories.Pair {
		p := sample.Pair(vlans, 0, inventories.PerVLAN)
		do(&p.VRRP)
		return p
	}
	same := func(*inventories.VRRP) {}
	v2 := func(v *inventories.VRRP) {
		v.Version, v.AdvertInterval, v.OutsideAdvertInterval, v.Password = 2, time.Second, time.Second, inventories.NewSecret("abcd1234")
	}
	for _, tt := range []struct {
		name     string
		from, to *inventories.Pair
		want     transition
	}{
		{"nothing", single(same), single(same), transition{}},
		{"a VLAN more", sample.Pair(1, 0, inventories.Single), single(same), transition{}},
		{"the first outside address", single(same), func() *inventories.Pair {
			p := single(same)
			p.Outside.VIP = p.Outside.VIP.Next()
			return p
		}(), transition{}}, // HB still hears
		{"the interval of one heartbeat", single(same), single(func(v *inventories.VRRP) { v.OutsideAdvertInterval *= 2 }), transition{}},
		{"both intervals", single(same), single(func(v *inventories.VRRP) {
			v.OutsideAdvertInterval *= 2
			v.AdvertInterval *= 2
		}), transition{differs: []string{"advert interval"}}},
		{"version and password", single(same), single(v2), transition{differs: []string{"VRRP version", "advert interval", "password"}}},
		{"password", single(v2), single(func(v *inventories.VRRP) {
			v2(v)
			v.Password = inventories.NewSecret("other123")
		}), transition{differs: []string{"password"}}},
		{"router ids", single(same), single(func(v *inventories.VRRP) { v.FirstRouterID = 7 }), transition{differs: []string{"interface or router id"}, anew: true}},
		{"one heartbeat less", single(same), single(func(v *inventories.VRRP) { v.Heartbeats = []string{"sync"} }),
			transition{differs: []string{"interface or router id"}, anew: true}},
		{"priorities", single(same), func() *inventories.Pair {
			p := single(same)
			p.Nodes[0].Priority, p.Nodes[1].Priority = 10, 20
			return p
		}(), transition{}},
		{"the form", single(same), perVLAN(2, same), transition{differs: []string{"instances"}, anew: true}},
		{"an instance more", perVLAN(1, same), perVLAN(2, same), transition{anew: true}},
		{"an instance less", perVLAN(2, same), perVLAN(1, same), transition{}},
		{"an instance more, another password", perVLAN(1, same), perVLAN(2, v2),
			transition{differs: []string{"instances", "password"}, anew: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// As a plan sees it: what is there is masked.
			masked := func(p *inventories.Pair) string {
				conf := keepalived{p, p.Nodes[0]}.config(debian12(), p.VRRP.Password.Reveal())
				return string(maskPasswords(conf, tt.to.VRRP.Password))
			}
			got := transit(readAgreement(masked(tt.from)), readAgreement(masked(tt.to)))
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(transition{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestHandover holds what a plan says of keepalived's next configuration.
func TestHandover(t *testing.T) {
	p := sample.Pair(2, 0, inventories.PerVLAN)
	before := sample.Pair(1, 0, inventories.PerVLAN)
	s := services{p, p.Nodes[0]}
	old := string(keepalived{before, before.Nodes[0]}.config(debian12(), inventories.Masked))
	hash := provision.Hash([]byte(old))
	base := debian12().With(provision.Facts{
		"unit keepalived.service ActiveState": "active", "loaded keepalived.service": hash,
		"loaded keepalived.service.d": keepalived(s).started(debian12()),
		"content " + keepalivedConf:   old, "file " + keepalivedConf: hash + " 0600 0:0", runsDisk: "yes",
	})
	const election = "the VIPs move to fw02 and stay there: at most an election, about 3.6 s, without them; routed connections survive, proxied ones end"
	for _, tt := range []struct {
		name       string
		drift      provision.Facts
		disruptive bool
		together   string
		cost       string
	}{
		{"an instance more", nil, true, "", election},
		{"nobody recorded what was loaded", provision.Facts{"loaded keepalived.service": ""}, true, "", election},
		{"its unit has changed since", provision.Facts{"loaded keepalived.service.d": "old"}, true, "", election},
		{"it runs something else than the file", provision.Facts{runsDisk: ""}, true, "settings that cannot be known",
			"both nodes are changed together, without a standby meanwhile; nobody holds the VIPs for the time of an election, about 3.4 s"},
		{"another router id", provision.Facts{"content " + keepalivedConf: strings.ReplaceAll(old, "virtual_router_id 1", "virtual_router_id 77")}, true, "", election},
		{"another version", provision.Facts{"content " + keepalivedConf: strings.ReplaceAll(old, "vrrp_version 2", "vrrp_version 3")}, true,
			"instances, VRRP version", "both nodes are changed together, without a standby meanwhile; nobody holds the VIPs for the time of an election, about 3.4 s"},
		{"another priority", provision.Facts{"content " + keepalivedConf: strings.ReplaceAll(string(keepalived{p, p.Nodes[0]}.config(debian12(), inventories.Masked)), "priority 150", "priority 160")},
			false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes, err := s.Plan(base.With(tt.drift))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.Target == "keepalived.service" && !strings.HasPrefix(c.Why, "enable") &&
					(c.Disruptive != tt.disruptive || c.Together != tt.together || c.Cost != tt.cost) {
					t.Errorf("disruptive %t, together %q, cost %q", c.Disruptive, c.Together, c.Cost)
				}
			}
		})
	}
}

// FuzzAgreement: a configuration may be anything.
func FuzzAgreement(f *testing.F) {
	f.Add(byHand, "vrrp_instance X {\n")
	f.Add("vrrp_instance\n}\n}\n", "vrrp_instance GWEXT { interface eth1\nvirtual_ipaddress {\n{\n}}")
	f.Fuzz(func(t *testing.T, a, b string) {
		from, to := readAgreement(a), readAgreement(b)
		if x := transit(from, from); len(x.differs) > 0 && len(from) > 0 || x.anew {
			t.Errorf("differs from itself: %+v", x)
		}
		_ = transit(from, to)
	})
}
