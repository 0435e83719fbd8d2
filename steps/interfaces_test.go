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

// listing is files one after the other.
func listing(files []provision.File) []byte {
	var b strings.Builder
	for _, f := range files {
		b.WriteString("==> " + f.Path + " " + f.Perm().String() + " <==\n" + string(f.Content))
	}
	return []byte(b.String())
}

func TestInterfaceFiles(t *testing.T) {
	p := sample.Pair(2, 0, inventories.Single)
	for _, stack := range stacks {
		f := machineFacts(stack).With(provision.Facts{"networkd eth0": "/run/systemd/network/10-netplan-eth0.network"})
		golden(t, "testdata/interfaces/"+stack, listing(interfaces{p, p.Nodes[0]}.Files(f)))
		f = f.With(provision.Facts{"kernel 8021q": ""})
		golden(t, "testdata/interfaces/"+stack+"-no-8021q", listing(interfaces{p, p.Nodes[1]}.Files(f)))
	}
}

// A trunk that somebody else brings up keeps its file.
func TestInterfaceForeignTrunk(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	for _, tt := range []struct{ stack, fact, path string }{
		{"ifcfg", "ifcfg trunk", ifcfgDir + "ifcfg-eth2 "},
		{"ifupdown", "ifupdown eth2", "iface eth2 inet manual"},
	} {
		f := machineFacts(tt.stack)
		if s := string(listing(interfaces{p, p.Nodes[0]}.Files(f))); !strings.Contains(s, tt.path) {
			t.Errorf("%s: no %s in %s", tt.stack, tt.path, s)
		}
		f[tt.fact] = "up"
		if s := string(listing(interfaces{p, p.Nodes[0]}.Files(f))); strings.Contains(s, tt.path) {
			t.Errorf("%s: %s in %s", tt.stack, tt.path, s)
		}
	}
}

func TestInterfacesParse(t *testing.T) {
	f := provision.Facts{}
	err := parseInterfaces(`== ip
lo               UNKNOWN        00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP> 
eth0@if12        UP             02:00:00:00:01:01 <BROADCAST,MULTICAST,UP,LOWER_UP> 
eth2             DOWN           02:00:00:00:01:03 <NO-CARRIER,BROADCAST,MULTICAST,UP> 
eth2.2@eth2      LOWERLAYERDOWN 02:00:00:00:01:03 <BROADCAST,MULTICAST> 
lo               UNKNOWN        127.0.0.1/8 
eth0@if12        UP             192.168.1.1/24 metric 100 192.168.1.10/24 
ppp0             UNKNOWN        10.9.9.1 peer 10.9.9.2/32 
default via 192.168.1.254 dev eth0 proto static metric 100 
default via 10.0.0.1 dev eth3 metric 200
== vlan
VLAN Dev name	 | VLAN ID
Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD
eth2.2         | 2  | eth2
eth2.9         | 9  | eth2
== interfaces
/etc/network/interfaces:source /etc/network/interfaces.d/*
/etc/network/interfaces:iface eth0 inet static
/etc/network/interfaces.d/fwprov:iface eth2.2 inet static
== ifcfg
ONBOOT="yes"
BOOTPROTO=none
`, f)
	if err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{
		"link lo": "up", "link eth0": "up", "link eth2": "up", "link eth2.2": "down vlan eth2 2",
		"carrier lo": "yes", "carrier eth0": "yes",
		"addr lo 127.0.0.1/8": "yes", "addr eth0 192.168.1.1/24": "yes", "addr eth0 192.168.1.10/24": "yes",
		"route default":   "via 192.168.1.254 dev eth0",
		"ifupdown source": "yes", "ifupdown eth0": "/etc/network/interfaces", "ifcfg trunk": "up",
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestInterfacesPlan(t *testing.T) {
	vip := provision.Facts{"addr eth2.2 10.10.2.254/24": "yes"}
	for _, tt := range []struct {
		name   string
		stack  string
		before provision.Facts         // of the clean machine
		edit   func(*inventories.Pair) // after the first run
		after  func(provision.Facts) provision.Facts
		want   string
		not    string // in no script
	}{
		{"done", "networkd", nil, nil, nil, "", ""},
		{"address removed by hand", "networkmanager", nil, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(vip, provision.Facts{"addr eth2.2 10.10.2.253/24": ""})
			},
			"run NetworkManager.service: reads its files again\nupdate eth2.2: has no address 10.10.2.253/24\n", "254"},
		{"interface removed by hand", "ifupdown", nil, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(provision.Facts{"link eth2.2": "", "addr eth2.2 10.10.2.253/24": ""})
			}, "create eth2.2: VLAN 2 on eth2, 10.10.2.253/24\n", ""},
		{"interface and trunk down", "ifcfg", nil, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(provision.Facts{"link eth2": "down", "link eth2.2": "down vlan eth2 2"})
			}, "update eth2: is down\nupdate eth2.2: is down\n", ""},
		{"file changed by hand", "networkmanager", nil, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(provision.Facts{"file " + nmDir + "fwprov-eth2.2.nmconnection": "0 0644 0:0"})
			}, "update " + nmDir + "fwprov-eth2.2.nmconnection: was changed by hand\n", ""},
		{"VLAN added", "networkd", nil, func(p *inventories.Pair) { p.VLANs = sample.Pair(3, 0, inventories.Single).VLANs }, nil,
			"update /etc/systemd/network/05-fwprov-eth2.network\ncreate /etc/systemd/network/05-fwprov-eth2.4.netdev\n" +
				"create /etc/systemd/network/05-fwprov-eth2.4.network\nrun systemd-networkd.service: reads its files again\n" +
				"create eth2.4: VLAN 4 on eth2, 10.10.4.253/24\n", ""},
		{"VLAN removed", "networkmanager", nil, func(p *inventories.Pair) { p.VLANs = p.VLANs[1:] },
			func(f provision.Facts) provision.Facts { return f.With(vip) },
			"delete eth2.2: left the inventory (late)\nrun NetworkManager.service: reads its files again (late)\n" +
				"delete " + nmDir + "fwprov-eth2.2.nmconnection: left the inventory (late)\n", ""},
		{"VLAN removed, crashed before the interface went", "ifupdown", nil, func(p *inventories.Pair) { p.VLANs = p.VLANs[1:] },
			func(f provision.Facts) provision.Facts {
				p := sample.Pair(2, 0, inventories.Single)
				p.VLANs = p.VLANs[1:]
				w := interfaces{p, p.Nodes[0]}.Files(f)[0]
				h := provision.Hash(w.Content)
				return f.With(provision.Facts{"file " + w.Path: provision.FileState(h, w.Perm(), "0:0"), "managed file " + w.Path: "interfaces " + h})
			}, "delete eth2.2: left the inventory (late)\n", ""},
		{"last VLAN removed", "ifupdown", nil, func(p *inventories.Pair) { p.VLANs = nil }, nil,
			"delete eth2.2: left the inventory (late)\ndelete eth2.3: left the inventory (late)\n" +
				"delete /etc/network/interfaces.d/fwprov: left the inventory (late)\n", ""},
		{"address of a node changed", "ifupdown", nil,
			func(p *inventories.Pair) { p.VLANs[0].Addresses["fw01"] = p.VLANs[0].Addresses["fw01"].Prev().Prev() },
			func(f provision.Facts) provision.Facts { return f.With(vip) },
			"update /etc/network/interfaces.d/fwprov\nupdate eth2.2: has no address 10.10.2.251/24\ndelete eth2.2 10.10.2.253/24: the interface has another address now (late)\n", "254"},
		{"manifest lost", "ifcfg", nil, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(provision.Facts{"managed interface eth2.3": ""})
			},
			"update eth2.3: is as it should be, but not recorded as managed\n", ""},
		{"used as it is", "ifupdown", provision.Facts{"kernel 8021q": "", "link eth2": "", "link eth2.2": "down", "link eth2.3": "up"}, nil,
			func(f provision.Facts) provision.Facts {
				return f.With(provision.Facts{"addr eth2.3 10.10.3.253/24": ""})
			},
			"update eth2.3: has no address 10.10.3.253/24\n", "ip link add"},
		{"used as it is, removed", "ifupdown", provision.Facts{"kernel 8021q": "", "link eth2.2": "up", "link eth2.3": "up"},
			func(p *inventories.Pair) { p.VLANs = p.VLANs[1:] }, nil,
			"update /etc/network/interfaces.d/fwprov\n" +
				"delete eth2.2 10.10.2.253/24: left the inventory; fwprov did not make the interface, it stays (late)\n", "ip link del"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sample.Pair(2, 0, inventories.Single)
			_, f := settle(t, []provision.Step{interfaces{p, p.Nodes[0]}}, machineFacts(tt.stack).With(tt.before))
			if tt.edit != nil {
				tt.edit(p)
			}
			if tt.after != nil {
				f = tt.after(f)
			}
			changes, f := settle(t, []provision.Step{interfaces{p, p.Nodes[0]}}, f)
			if d := cmp.Diff(tt.want, brief(changes)); d != "" {
				t.Error(d)
			}
			for _, c := range changes {
				if tt.not != "" && strings.Contains(c.Script, tt.not) {
					t.Errorf("%s in the script of %s:\n%s", tt.not, c.Target, c.Script)
				}
			}
			for _, k := range f.Names("managed", "interface") {
				if !strings.Contains(brief(nil)+k, "eth2.") || f["link "+k] == "" {
					t.Errorf("%s is managed and does not exist", k)
				}
			}
		})
	}
}

// 250 VLANs are planned in no time, and the probe does not grow with them.
func TestInterfacesMany(t *testing.T) {
	few, many := sample.Pair(1, 0, inventories.Single), sample.Pair(250, 0, inventories.Single)
	a, b := interfaces{few, few.Nodes[0]}, interfaces{many, many.Nodes[0]}
	if d := cmp.Diff(a.Probe().Files, b.Probe().Files); d != "" || a.Probe().Script != b.Probe().Script {
		t.Errorf("the probe depends on the number of VLANs: %s", d)
	}
	start := time.Now()
	settle(t, []provision.Step{b}, machineFacts("networkd"))
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("planning 250 VLANs twice took %s", d)
	}
}
