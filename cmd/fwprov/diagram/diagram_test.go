package diagram

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/inventories/sample"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestGolden holds the pictures of the example inventories.
func TestGolden(t *testing.T) {
	for name, text := range map[string][]byte{"guide": inventories.Guide, "minimal": inventories.Minimal} {
		p, _, diags := hcl.Parse(text, name+".hcl", hcl.Options{AllowUnknown: true})
		if p == nil {
			t.Fatal(diags)
		}
		top := Of(p)
		for kind, got := range map[string]string{"svg": top.SVG(), "dot": top.DOT(), "mmd": top.Mermaid()} {
			t.Run(name+"."+kind, func(t *testing.T) { golden(t, name+"."+kind, got) })
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// pairs are what the pictures have to stand: all sizes, names that no syntax would
// take, the longest names there are, and a pair of which nothing is known.
func pairs() map[string]*inventories.Pair {
	out := map[string]*inventories.Pair{
		"nothing known": {},
		"hostile":       named(`"><script>alert(1)</script>&amp;]]>\N\"-->;#quot;` + "`%%{init}%%\n\r\x00\x1b\x7f\u202e\ufffe\xff end"),
		"longest":       named(strings.Repeat("Mw", 31) + "W"),
		"wide":          named(strings.Repeat("防火墙", 30)),
		"crowded":       crowded(),
	}
	for _, form := range []inventories.VRRPForm{inventories.Single, inventories.PerVLAN} {
		for _, vlans := range []int{0, 1, 20, sample.Most} {
			for _, services := range []int{0, 7, 50} {
				out[fmt.Sprintf("%s/%d/%d", form, vlans, services)] = sample.Pair(vlans, services, form)
			}
		}
	}
	return out
}

// named is a pair with the same name everywhere.
func named(name string) *inventories.Pair {
	p := sample.Pair(3, 4, inventories.Single)
	p.Name, p.Domain = name, name
	p.Outside.Interface, p.Sync.Interface, p.Inside.Interface = name, name, name
	for i := range p.Nodes {
		p.Nodes[i].Name, p.Nodes[i].SSHHost = name, name
	}
	for i := range p.VLANs {
		p.VLANs[i].Name, p.VLANs[i].Interface = name, name
	}
	for i := range p.Services {
		p.Services[i].Name, p.Services[i].Mode, p.Services[i].Balance = name, name, name
		p.Services[i].From = []string{name, name}
		for j := range p.Services[i].Servers {
			p.Services[i].Servers[j].Name = name
		}
	}
	return p
}

// crowded has many services in one VLAN, one of them with servers everywhere, and
// many VIPs outside.
func crowded() *inventories.Pair {
	p := sample.Pair(1, 40, inventories.PerVLAN)
	for i := range p.Services {
		p.Services[i].Address = netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + i)})
	}
	for i, a := range []string{"192.168.1.77", "198.51.100.1", "10.10.2.200", "10.10.2.201", "255.255.255.255"} {
		p.Services[0].Servers = append(p.Services[0].Servers, inventories.Server{Name: fmt.Sprintf("far%d", i), Address: netip.MustParseAddr(a), Port: 65535})
	}
	return p
}

func TestWellFormed(t *testing.T) {
	for name, p := range pairs() {
		t.Run(name, func(t *testing.T) {
			svg := Of(p).SVG()
			d := xml.NewDecoder(strings.NewReader(svg))
			for {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if e, ok := token.(xml.StartElement); ok {
					element(t, e)
				}
			}
			if again := Of(p).SVG(); again != svg {
				t.Error("drawn twice, the pictures differ")
			}
		})
	}
}

// element holds that a picture can neither run nor fetch anything.
func element(t *testing.T, e xml.StartElement) {
	t.Helper()
	switch e.Name.Local {
	case "svg", "title", "rect", "polyline", "text":
	default:
		t.Errorf("there is a %s in it", e.Name.Local)
	}
	for _, a := range e.Attr {
		if n := a.Name.Local; n == "href" || strings.HasPrefix(n, "on") || strings.Contains(a.Value, "url(") {
			t.Errorf("%s has %s", e.Name.Local, n)
		}
	}
}

// TestDOTAndMermaid holds that whatever a name is, it stays within its quotes, and
// that every line begins with a name of ours.
func TestDOTAndMermaid(t *testing.T) {
	dot := regexp.MustCompile(`^ *("(?:[^"\\]|\\[n"\\])*"|[A-Za-z0-9_=#. {}\[\]-]|--)*$`)
	mermaid := regexp.MustCompile(`^ *("(?:[A-Za-z0-9 .,:/()?_-]|#[0-9]+;|<br/>|[^\x00-\x7f])*"|[A-Za-z0-9_#:,\[\]| -])*$`)
	for name, p := range pairs() {
		t.Run(name, func(t *testing.T) {
			top := Of(p)
			for l := range strings.Lines(top.DOT()) {
				if !dot.MatchString(strings.TrimSuffix(l, "\n")) {
					t.Errorf("DOT: %s", l)
				}
			}
			text := top.Mermaid()
			for l := range strings.Lines(text) {
				if !mermaid.MatchString(strings.TrimSuffix(l, "\n")) {
					t.Errorf("Mermaid: %s", l)
				}
			}
			if open, closed := strings.Count(text, "  subgraph "), strings.Count(text, "  end\n"); open != closed {
				t.Errorf("Mermaid: %d subgraphs, %d ends", open, closed)
			}
		})
	}
}

// TestTopology holds where things stand that are not in the examples.
func TestTopology(t *testing.T) {
	top := Of(crowded())
	var got []Place
	for _, s := range top.Services[0].Servers {
		got = append(got, s.At)
	}
	if d := cmp.Diff([]Place{0, Outside, Beyond, 0, 0, Beyond}, got); d != "" {
		t.Errorf("servers (-want +got):\n%s", d)
	}
	if n := len(top.Outside.VIPs); n < 30 || top.Outside.VIPs[0].Carrier != "GWEXT, router id 1" || top.Outside.VIPs[1].Carrier != "with GWEXT" {
		t.Errorf("%d VIPs: %v", n, top.Outside.VIPs)
	}
	unknown := Of(&inventories.Pair{})
	if unknown.Gateway != Unknown || unknown.Outside.Network != Unknown || unknown.Route != "? via ?" {
		t.Errorf("%+v", unknown)
	}
}
