package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// readyFacts are those of a healthy standby and of its peer, which is active.
func readyFacts(p *inventories.Pair) map[string]provision.Facts {
	hash := strings.Repeat("a", 64)
	f := provision.Facts{"rules v4": hash, "rules v6": hash, "divert rule": "yes", "divert route": "yes", "sync kind": "FTFW UDP"}
	for unit, conf := range map[string]string{"conntrackd": conntrackdConf, "haproxy": haproxyConf, "keepalived": keepalivedConf} {
		f["unit "+unit+".service ActiveState"], f["loaded "+unit+".service"], f["file "+conf] = "active", hash, hash+" 0644 0:0"
	}
	for _, name := range []string{"eth0", "eth1", "eth2", "eth2.2", "eth2.3"} {
		f["link "+name], f["carrier "+name] = "up", "yes"
	}
	for _, s := range p.Services {
		for _, srv := range s.Servers {
			f[provision.Key("server", backendName(s), srv.Name)] = "UP"
		}
	}
	peer := f.With(provision.Facts{"sync internal": "1000", "sync external": "0", "vrrp GW": "master"})
	for _, v := range p.VIPs() {
		peer[provision.Key("addr", v.Interface, v.Addr.String()+"/24")] = "yes"
	}
	return map[string]provision.Facts{"fw01": peer, "fw02": f.With(provision.Facts{"sync internal": "0", "sync external": "990", "vrrp GW": "backup", "vrrp HB": "backup"})}
}

func TestReady(t *testing.T) {
	p := sample.Pair(2, 2, inventories.Single)
	first := p.Services[0]
	server := provision.Key("server", backendName(first), first.Servers[0].Name)
	for _, tt := range []struct {
		name       string
		ours       provision.Facts // of fw02, the standby
		theirs     provision.Facts
		held, gone bool // gone: fw01 does not answer
		want       string
	}{
		{name: "a healthy standby"},
		{name: "its peer is gone", gone: true},
		{name: "keepalived stopped", ours: provision.Facts{"unit keepalived.service ActiveState": "inactive"}, want: "keepalived runs: inactive"},
		{name: "an older configuration", ours: provision.Facts{"loaded haproxy.service": "old"}, want: "haproxy is current: does not run what /etc/haproxy/haproxy.cfg says"},
		{name: "a cable out", ours: provision.Facts{"carrier eth2.3": ""}, want: "interfaces: eth2.3 has no carrier"},
		{name: "the sync cable out, with two heartbeats", ours: provision.Facts{"carrier eth1": ""}},
		{name: "a VLAN missing, another down", ours: provision.Facts{"link eth2.2": "", "link eth2.3": "down vlan eth2 3"}, want: "interfaces: eth2.2 is missing, eth2.3 is down"},
		{name: "rules flushed", ours: provision.Facts{"rules v4": "changed"}, want: "rules v4: not the ruleset of the inventory"},
		{name: "drained", ours: provision.Facts{"drain operator": "alice from admin1", "vrrp GW": "fault", "vrrp HB": "fault"}, want: "vrrp: drained by alice from admin1"},
		{name: "left by an apply", ours: provision.Facts{"drain apply": "bob"}, want: "vrrp: drained by an apply of bob"},
		{name: "held", held: true, ours: provision.Facts{"drain apply": "bob", "vrrp GW": "fault", "vrrp HB": "fault"}},
		{name: "held, where keepalived tracks no files", held: true, ours: provision.Facts{"drain apply": "bob", "unit keepalived.service ActiveState": "inactive", "vrrp GW": "", "vrrp HB": ""}},
		{name: "held, and keepalived has failed", held: true, ours: provision.Facts{"drain apply": "bob", "unit keepalived.service ActiveState": "failed"}, want: "keepalived runs: failed"},
		{name: "held and drained", held: true, ours: provision.Facts{"drain operator": "alice", "drain apply": "bob"}, want: "vrrp: drained by alice"},
		{name: "FAULT", ours: provision.Facts{"vrrp GW": "fault"}, want: "vrrp: GW is in FAULT"},
		{name: "keepalived says nothing", ours: provision.Facts{"vrrp GW": "", "vrrp HB": ""}},
		{name: "behind", ours: provision.Facts{"sync external": "900"}, want: "connection states: knows 900 of 1000 connections of fw01"},
		{name: "few of few", ours: provision.Facts{"sync external": "0"}, theirs: provision.Facts{"sync internal": "12"}},
		{name: "another transport", ours: provision.Facts{"sync external": "0", "sync kind": "FTFW Multicast"}},
		{name: "the peer's conntrackd is stopped", ours: provision.Facts{"sync external": "0"}, theirs: provision.Facts{"sync internal": ""}},
		{name: "no server", ours: provision.Facts{server: "DOWN"}, want: "service " + first.Name + ": 0 of 1 servers up, while fw01 sees 1"},
		{name: "no server for both", ours: provision.Facts{server: "DOWN"}, theirs: provision.Facts{server: "DOWN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes := readyFacts(p)
			nodes["fw02"], nodes["fw01"] = nodes["fw02"].With(tt.ours), nodes["fw01"].With(tt.theirs)
			if tt.gone {
				nodes["fw01"] = nil
			}
			var got []string
			for _, c := range (verify{p}).Ready("fw02", nodes, tt.held) {
				if !c.OK {
					got = append(got, c.Name+": "+c.Detail)
				}
			}
			if d := cmp.Diff(tt.want, strings.Join(got, "\n")); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
	t.Run("the active one", func(t *testing.T) {
		for _, c := range (verify{p}).Ready("fw01", readyFacts(p), false) {
			if !c.OK {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestReadyWithin(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	if d := (verify{p}).ReadyWithin(); d.Seconds() != 17 {
		t.Errorf("%s", d)
	}
	p.StateSync.Mode = inventories.ModeAlarm
	if d := (verify{p}).ReadyWithin(); d.Seconds() != 82 {
		t.Errorf("in alarm mode %s", d)
	}
}

func TestParseVRRP(t *testing.T) {
	f := provision.Facts{}
	parseVRRP("\"iname\":\"GW\n\"state\":2\n\"iname\":\"HB\n\"state\":3\n\"state\":1\n\"iname\":\"X\n\"state\":9\n", f)
	if d := cmp.Diff(provision.Facts{"vrrp GW": "master", "vrrp HB": "fault"}, f); d != "" {
		t.Error(d)
	}
}

func TestParseDrain(t *testing.T) {
	f := provision.Facts{}
	parseDrain(drainRun+" alice from admin1\n"+drainKept+" \n/etc/passwd x\n", f)
	if d := cmp.Diff(provision.Facts{"drain apply": "alice from admin1", "drain operator": "unknown"}, f); d != "" {
		t.Error(d)
	}
}

// TestDrainScripts runs them on a folder of the test.
func TestDrainScripts(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	const tracks = "file \"/run/fwprov/drain\"\n"
	for _, tt := range []struct {
		name, conf, follows string // what keepalived does when the file appears
		want                string // what systemctl was told
		fails               bool
	}{
		{"keepalived follows the file", tracks, "yes", "", false},
		{"it does not, although it is in the file", tracks, "no", "stop keepalived.service\n", false},
		{"its configuration has no such file", "", "no", "stop keepalived.service\n", false},
		{"its VIPs stay", "", "never", "stop keepalived.service\n", true},
		{"its VIPs are not those of the inventory, and stay", tracks + "vrrp_instance GW {\nvirtual_ipaddress {\n10.9.9.9/24 dev eth9\n}\n}\n", "never", "stop keepalived.service\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write := func(path, text string) {
				t.Helper()
				if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(root+path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(keepalivedConf, strings.ReplaceAll(tt.conf, "/run", root+"/run"))
			vip := "192.168.1.10/24"
			if strings.Contains(tt.conf, "virtual_ipaddress") {
				vip = "10.9.9.9/24"
			}
			write("/vips", "2: eth0    inet "+vip+" scope global secondary eth0\n")
			write("/bin/ip", "#!/bin/sh\n[ "+tt.follows+" != yes ] || [ ! -e "+root+drainRun+" ] || exit 0\ncat "+root+"/vips\n")
			write("/bin/systemctl", "#!/bin/sh\ncase $1 in is-active) [ ! -e "+root+"/stopped ]; exit ;; esac\necho \"$@\" >>"+root+"/told\n"+
				"case $1:"+tt.follows+" in stop:never) ;; stop:*) : >"+root+"/stopped; : >"+root+"/vips ;; start:*) rm "+root+"/stopped ;; esac\n")
			sh := func(script string) error {
				script = strings.NewReplacer("/run/fwprov", root+"/run/fwprov", "/var/lib/fwprov", root+"/var/lib/fwprov", "/etc/", root+"/etc/").Replace(script)
				out, err := exec.Command("sh", "-euc", "PATH="+root+"/bin:$PATH\n"+script).CombinedOutput()
				t.Logf("%s", out)
				return err
			}
			if err := sh(drainScript(p, drainRun, "alice's host")); (err != nil) != tt.fails {
				t.Errorf("drain: %v", err)
			}
			told := func() string {
				b, _ := os.ReadFile(root + "/told")
				return string(b)
			}
			if got := told(); got != tt.want {
				t.Errorf("systemctl was told %q, want %q", got, tt.want)
			}
			if b, _ := os.ReadFile(root + drainRun); string(b) != "1 alice's host\n" {
				t.Errorf("the file has %q", b)
			}
			if err := sh(undrainScript(drainRun)); err != nil {
				t.Errorf("undrain: %v", err)
			}
			want := tt.want
			if _, err := os.Stat(root + "/stopped"); err == nil {
				t.Error("keepalived does not run")
			} else if want != "" && !tt.fails {
				want += "start keepalived.service\n"
			}
			if got := told(); got != want {
				t.Errorf("systemctl was told %q, want %q", got, want)
			}
			if _, err := os.Stat(root + drainRun); err == nil {
				t.Error("the file is still there")
			}
		})
	}
}

// TestDrainedWithoutTrackFile: where keepalived does not look at the files, it is
// not started on a drained node.
func TestDrainedWithoutTrackFile(t *testing.T) {
	p := sample.Pair(1, 0, inventories.PerVLAN)
	el7 := machines[0].facts()
	s := services{p, p.Nodes[0]}
	if !strings.Contains(string(keepalived(s).dropIn(el7)), "ConditionPathExists=!/var/lib/fwprov/drain\n") {
		t.Error("keepalived would start at boot")
	}
	stopped := el7.With(provision.Facts{"unit keepalived.service UnitFileState": "enabled", "drain operator": "alice"})
	changes, err := s.Plan(stopped)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.Target == "keepalived.service" {
			t.Errorf("a drained node is planned to take over: %+v", c)
		}
	}
}

// TestLeftDrain: an apply that died may have left its drain behind.
func TestLeftDrain(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	changes, err := services{p, p.Nodes[0]}.Plan(debian12().With(provision.Facts{"drain apply": "bob"}))
	if err != nil {
		t.Fatal(err)
	}
	last := changes[len(changes)-1]
	if last.Target != drainRun || last.Action != provision.Delete || last.Makes["drain apply"] != "" || !strings.Contains(last.Script, "rm -f "+drainRun) {
		t.Errorf("%+v", last)
	}
}
