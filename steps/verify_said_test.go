package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// saidPair is the pair whose nodes have said what is in testdata/said.
func saidPair() *inventories.Pair {
	p := sample.Pair(1, 1, inventories.Single)
	p.Services[0].Name, p.Services[0].Transparent = "smtp_ext", true
	p.Services[0].Servers[0].Name = "ext-mx-in001"
	return p
}

// said is what a real node has said.
func said(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "said", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestVerifyHears holds that what real nodes of a healthy pair have said is
// understood, and judged to be healthy.
func TestVerifyHears(t *testing.T) {
	p := saidPair()
	v := verify{p}
	for _, image := range []string{"debian", "el"} {
		nodes := map[string]provision.Facts{}
		for _, n := range p.Nodes {
			role := "standby"
			if n.Name == "fw02" {
				role = "active"
			}
			f := provision.Facts{"asked from": "1", "asked until": "1"}
			if err := v.VerifyProbe().Parse(said(t, image+"-"+role+".txt"), f); err != nil {
				t.Fatal(err)
			}
			nodes[n.Name] = f
		}
		a, s := nodes["fw02"], nodes["fw01"]
		for _, key := range []string{"conntrack max", "free kbytes /", "free inodes /", "mac eth2.2", "sync internal", "sync external", "later lost", "later error recv",
			"sync heard", "ping sync", "ping 192.168.1.254", "canary sent", "canary asked", "canary seen", "table smtp_ext", "time first", "time last",
			"server smtp_ext ext-mx-in001", "link eth1", "carrier eth1"} {
			if a[key] == "" || s[key] == "" {
				t.Errorf("%s: %s is %q on the active node and %q on the standby", image, key, a[key], s[key])
			}
		}
		if a["session 10.10.1.1"] != "ESTA" || s["session 10.10.1.2"] != "ESTA" {
			t.Errorf("%s: sessions of the peers are %q and %q", image, a["session 10.10.1.1"], s["session 10.10.1.2"])
		}
		if !strings.HasPrefix(s["neigh 10.10.2.254"], "eth2.2 ") || !strings.HasSuffix(s["neigh 10.10.2.254"], a["mac eth2.2"]) {
			t.Errorf("%s: the VIP was seen at %q, its holder has %q", image, s["neigh 10.10.2.254"], a["mac eth2.2"])
		}
		if number(s["adverts eth0"]) == 0 || number(s["adverts eth1"]) == 0 {
			t.Errorf("%s: the standby has heard %q and %q adverts", image, s["adverts eth0"], s["adverts eth1"])
		}
		if len(s.Names("stopped"))+len(a.Names("stopped"))+len(s.Names("denied")) > 0 {
			t.Errorf("%s: a daemon is stopped or denied", image)
		}
		needEngine := []string{"starts at boot", "answers the peer", "runs", "is current", "clocks", "SELinux"}
		for _, c := range v.Verify(nodes) {
			known := false
			for _, w := range needEngine {
				known = known || strings.HasSuffix(c.Name, w)
			}
			if !c.OK && !known {
				t.Errorf("%s: %s on %s: %s", image, c.Name, c.Node, c.Detail)
			}
		}
	}
}

// TestParseLive holds that only what the live look prints becomes a fact.
func TestParseLive(t *testing.T) {
	f := provision.Facts{}
	out := "ping 192.168.1.10\nping 9.9.9.9\nping\nback x\nsync 19\nsync -1\nsync many\nadverts eth1 7\nadverts eth0 -3\nheard 2\ncanary sent\ncanary dead\n" +
		"unique 192.168.1.10\ntwice 10.10.2.254\ntwice 9.9.9.9\nneigh 192.168.1.10 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE\n" +
		"neigh 10.10.2.254 dev eth2.2 lladdr 02:00:00:00:00:01 STALE\nneigh 10.10.2.254 dev eth2.2 lladdr what REACHABLE\nneigh 10.10.2.254 dev eth2.2 FAILED\n"
	if err := (verify{saidPair()}).parseLive(out, f); err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{"ping 192.168.1.10": "yes", "ping sync": "19", "adverts eth1": "7", "sync heard": "2", "canary sent": "yes",
		"vip 192.168.1.10": "unique", "vip 10.10.2.254": "twice", "neigh 192.168.1.10": "eth0 02:00:00:00:00:01"}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestParseRoom(t *testing.T) {
	f := provision.Facts{}
	parseRoom("conntrack count 17\nconntrack max 262144\nconntrack x 1\nconntrack max\nkbytes 12 /\nkbytes x /tmp\ninodes 3 /var log\ninodes 1 relative\n", f)
	want := provision.Facts{"conntrack count": "17", "conntrack max": "262144", "free kbytes /": "12", "free inodes /var log": "3"}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestParseDenials(t *testing.T) {
	const denied = `type=AVC msg=audit(1700000%s.123:456): avc:  denied  { execute } for  pid=12 comm="keepalived" name="x.sh" scontext=system_u:system_r:keepalived_t:s0 tcontext=system_u:object_r:etc_t:s0 tclass=file permissive=0` + "\n"
	for _, c := range []struct {
		what, out, want string
	}{
		{"none", "start keepalived 1700000100\n", ""},
		{"before the start", "start keepalived 1700000100\n" + strings.Replace(denied, "%s", "099", 1), ""},
		{"since", "start keepalived 1700000100\n" + strings.Replace(denied, "%s", "100", 1), `{ execute } for pid=12 comm="keepalived" name="x.sh" scontext=system_u:system_r:keepalived_t:s0 tcontext=system_u:object_r:etc_t:s0 tclass=file permissive=0`},
		{"of another", "start haproxy 1700000100\n" + strings.Replace(denied, "%s", "200", 1), ""},
		{"nonsense", "start keepalived 1700000100\nstart haproxy x\navc denied keepalived_t\nmsg=audit(x.1) denied scontext=:keepalived_t\n", ""},
	} {
		f := provision.Facts{}
		parseDenials(c.out, f)
		if got := f.Get("denied", "keepalived"); got != c.want || len(f) > 1 {
			t.Errorf("%s: %v, want %q", c.what, f, c.want)
		}
	}
}

// TestVerifyProbeFits holds that the one command fits into a command line however
// many VLANs there are; quoting it costs more.
func TestVerifyProbeFits(t *testing.T) {
	p := sample.Pair(sample.Most, 50, inventories.Single)
	if n := len(verify{p}.VerifyProbe().Script); n > 40000 {
		t.Errorf("the probe of %d VLANs has %d bytes", sample.Most, n)
	}
}

// TestLooksArePOSIX holds that every shell takes what is asked of a node.
func TestLooksArePOSIX(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.Single, inventories.PerVLAN} {
		p := sample.Pair(2, 2, form)
		v := verify{p}
		for name, probe := range map[string]provision.Probe{"verify": v.VerifyProbe(), "ready": v.ReadyProbe(), "status": StatusProbe(p)} {
			posix(t, name, probe.Script)
			posix(t, name+" waits", probe.Wait)
		}
	}
}
