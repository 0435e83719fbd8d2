package hcl

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
)

// TestReference holds that docs/inventory.md is what the code does. -update
// rewrites the generated parts.
func TestReference(t *testing.T) {
	const file = "../docs/inventory.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, part := range map[string]string{
		"functions": "`" + strings.Join(FunctionNames(), "`, `") + "`.",
		"blocks":    Reference(),
	} {
		re := regexp.MustCompile(`(?s)<!-- begin ` + name + ` -->\n.*?<!-- end ` + name + ` -->`)
		if !re.MatchString(text) {
			t.Fatalf("%s has no part %q", file, name)
		}
		text = re.ReplaceAllLiteralString(text, "<!-- begin "+name+" -->\n\n"+part+"\n\n<!-- end "+name+" -->")
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != string(b) {
		t.Errorf("%s is not what the language is; run go test ./hcl -update", file)
	}
	for _, t2 := range allBlocks(language()) {
		for _, a := range t2.attrs {
			if a.doc == "" || a.required == (a.def != "") {
				t.Errorf("%s.%s: no meaning, or not one of required and default", t2.name, a.name)
			}
		}
	}
}

func allBlocks(t *blockType) []blockType {
	out := t.blocks
	for i := range t.blocks {
		out = append(out, allBlocks(&t.blocks[i])...)
	}
	return out
}

// TestDefaults holds the defaults that the reference states: of a pair with
// nothing more than what is required, everything is as if it had been written.
func TestDefaults(t *testing.T) {
	more := "\nservice \"web\" {\n port = 80\n mode = \"MODE\"\n check {\n }\n server \"a\" {\n address = \"10.10.2.1\"\n }\n}\nvrrp {\nVRRP\n}\n"
	for _, tt := range []struct {
		name, mode, vrrp, want string
	}{
		{"bare", "tcp", "", `version = 3, instances = "single", heartbeat = ["sync", "outside"], advert_interval = "300ms", outside_advert_interval = "100ms", first_router_id = 1`},
		{"vm", "tcp", `profile = "vm"`, `advert_interval = "1s", outside_advert_interval = "300ms"`},
		{"version 2", "tcp", `version = 2`, `advert_interval = "1s", outside_advert_interval = "1s"`},
		{"per_vlan", "tcp", `instances = "per_vlan"`, `heartbeat = ["sync"]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			build := func(vrrp string) *inventories.Pair {
				src := strings.NewReplacer("MODE", tt.mode, "VRRP", strings.ReplaceAll(vrrp, ", ", "\n")).Replace(more)
				src = strings.ReplaceAll(src, "[\"sync\"\n\"outside\"]", `["sync", "outside"]`)
				pair, _ := load(t, minimal(src), Options{})
				return pair
			}
			short, long := build(tt.vrrp), build(strings.TrimPrefix(tt.vrrp+", "+tt.want, ", "))
			if diff := compare(short, long); diff != "" {
				t.Error(diff)
			}
		})
	}
	pair, _ := load(t, minimal(strings.NewReplacer("MODE", "http", "VRRP", "").Replace(more)), Options{})
	s := pair.Services[0]
	if want := (inventories.Timeouts{Connect: 5 * time.Second, Client: time.Minute, Server: time.Minute}); s.Timeouts != want {
		t.Errorf("timeouts %v", s.Timeouts)
	}
	if want := (inventories.Check{Type: "http", Path: "/", Interval: 2 * time.Second, FastInterval: time.Second, Rise: 2, Fall: 3}); *s.Check != want {
		t.Errorf("check %+v", *s.Check)
	}
}
