package steps

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// ruled are the names that the rules of inventories let through.
var ruled = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// FuzzNames puts a name wherever an inventory has one. A file made with it has
// the lines, and each line the words, that it has with any other name.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "end", "COMMIT", "global", "vrrp_instance", "-A", "x--y", "9", "a.b-c_d", "INPUT", "ACCEPT", "default", "listen"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		switch name {
		case inventories.ZoneOutside, inventories.ZoneInside, inventories.ZoneSync, inventories.ZoneFirewall:
			t.Skip("not a VLAN's name by the rules")
		}
		if !ruled.MatchString(name) {
			t.Skip("not a name by the rules")
		}
		got, want := named(name), named("plain")
		for path, content := range want {
			a, b := strings.Split(content, "\n"), strings.Split(got[path], "\n")
			if len(a) != len(b) {
				t.Fatalf("%s has %d lines, with another name %d:\n%s", path, len(b), len(a), got[path])
			}
			for i := range a {
				if strings.HasPrefix(a[i], "#") && strings.HasPrefix(b[i], "#") {
					continue
				}
				if x, y := strings.Fields(a[i]), strings.Fields(b[i]); len(x) != len(y) || len(x) > 0 && x[0] != y[0] {
					t.Errorf("%s line %d: %q, with another name %q", path, i+1, b[i], a[i])
				}
			}
		}
	})
}

// named renders all files of a pair in which everything has that name.
func named(name string) map[string]string {
	p := sample.Pair(1, 4, inventories.PerVLAN)
	p.Domain = name
	for i := range p.Nodes {
		p.VLANs[0].Addresses[name+p.Nodes[i].Name] = p.VLANs[0].Addresses[p.Nodes[i].Name]
		p.Nodes[i].Name = name + p.Nodes[i].Name
	}
	p.VLANs[0].Name = name
	for i := range p.Services {
		p.Services[i].Name = name
		for j := range p.Services[i].Servers {
			p.Services[i].Servers[j].Name = name
		}
	}
	p.Allows = []inventories.Allow{{Name: name, From: name, To: inventories.ZoneOutside, Log: true}}
	out := map[string]string{}
	for _, m := range machines {
		for _, s := range daemonSteps(p, p.Nodes[0]) {
			for _, f := range s.Files(m.facts()) {
				out[m.name+f.Path] = string(f.Content)
			}
		}
	}
	return out
}

// FuzzQuoting: whatever is given, what comes out is one word or one line.
func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"/health?x=1", `a b#c"d'e\f`, "x\ny", "\x00", "\u2028", `\`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(comment(s), "\n\r\x00") {
			t.Errorf("comment %q", comment(s))
		}
		p := logPrefix(s)
		if inner := p[1 : len(p)-1]; p[0] != '"' || p[len(p)-1] != '"' || len(inner) > 29 || strings.ContainsAny(inner, "\"\\\n\r") {
			t.Errorf("log prefix %q", p)
		}
		if got, rest := haproxyRead(haproxyWord(s)); got != s || rest != "" {
			t.Errorf("HAProxy reads %q as %q, and %q after it", haproxyWord(s), got, rest)
		}
	})
}

// haproxyRead reads a word as HAProxy does, and returns what follows it.
func haproxyRead(line string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case '\\':
			i++
			if i == len(line) {
				return b.String(), `\`
			}
			switch line[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(line[i])
			}
		case ' ', '\t', '\n', '\r', '#', '"', '\'':
			return b.String(), line[i:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		300 * time.Millisecond:  {"0.3", "300ms"},
		10 * time.Millisecond:   {"0.01", "10ms"},
		time.Second:             {"1", "1s"},
		1500 * time.Millisecond: {"1.5", "1500ms"},
		10 * time.Minute:        {"600", "10m"},
		90 * time.Second:        {"90", "90s"},
		24 * time.Hour:          {"86400", "1d"},
	} {
		if got := [2]string{seconds(d), millis(d)}; got != want {
			t.Errorf("%s: %v, want %v", d, got, want)
		}
	}
}

// TestIgnoredAddresses: an address over which a node is managed is not purged;
// one that is on its way out does not stay in the file.
func TestIgnoredAddresses(t *testing.T) {
	p := sample.Pair(1, 0, inventories.Single)
	s := conntrackd{p, p.Nodes[0]}
	f := debian12().With(provision.Facts{
		"addr lo 127.0.0.1/8": "yes", "addr eth0 192.168.1.1/24": "yes", "addr eth0 192.168.1.77/24": "yes", "addr eth2.9 10.10.9.253/24": "yes",
		"addr mgmt0 172.16.0.5/24": "yes", "addr mgmt0 fe80::1/64": "yes",
	})
	want := []string{"127.0.0.1", "192.168.1.1", "192.168.1.2", "10.10.1.1", "10.10.1.2", "192.168.1.10", "10.10.2.254", "10.10.2.253", "10.10.2.252", "172.16.0.5"}
	var got []string
	for _, a := range s.ignore(f) {
		got = append(got, a.String())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestHeartbeats: what the instances of the default form run on.
func TestHeartbeats(t *testing.T) {
	for _, tt := range []struct {
		version    string
		heartbeats []string
		want       string
	}{
		{"2.2.7", []string{"sync", "outside"}, "GW on eth0 every 100ms tracks [eth2.2], HB on eth1 every 300ms tracks []"},
		{"2.0.8", []string{"outside", "sync"}, "GW on eth0 every 100ms tracks [eth2.2], HB on eth1 every 300ms tracks []"},
		{"2.0.7", []string{"sync", "outside"}, "GW on eth1 every 300ms tracks [eth0 eth2.2]"},
		{"1.3.5", []string{"sync", "outside"}, "GW on eth1 every 300ms tracks [eth0 eth2.2]"},
		{"2.2.7", []string{"sync"}, "GW on eth1 every 300ms tracks [eth0 eth2.2]"},
		{"2.2.7", []string{"outside"}, "GW on eth0 every 100ms tracks [eth2.2]"},
	} {
		p := sample.Pair(1, 0, inventories.Single)
		p.VRRP.Heartbeats = tt.heartbeats
		var got []string
		for _, i := range (keepalived{p, p.Nodes[0]}).instances(tt.version) {
			got = append(got, i.Name+" on "+i.Interface+" every "+i.Advert.String()+" tracks ["+strings.Join(i.Track, " ")+"]")
		}
		if g := strings.Join(got, ", "); g != tt.want {
			t.Errorf("%s %v:\n got %s\nwant %s", tt.version, tt.heartbeats, g, tt.want)
		}
	}
}

func TestCommas(t *testing.T) {
	if got := commas([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.5/24")}); got != "10.0.0.1,10.0.0.0/24" {
		t.Error(got)
	}
}
