package inventories_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/inventories/sample"
)

// TestNothing holds that the rules take a pair apart that has nothing in it.
func TestNothing(t *testing.T) {
	for _, p := range []*inventories.Pair{
		{},
		{Nodes: make([]inventories.Node, 3), VLANs: make([]inventories.VLAN, 2), Services: make([]inventories.Service, 2), Allows: make([]inventories.Allow, 2)},
		{VRRP: inventories.VRRP{Form: inventories.PerVLAN}, VLANs: []inventories.VLAN{{Name: "a", ID: 9000}}, Services: []inventories.Service{{Check: &inventories.Check{}, Servers: make([]inventories.Server, 2)}}},
	} {
		if len(p.Problems()) == 0 {
			t.Error("a pair of nothing has no problem")
		}
	}
}

// TestNothingEscapes puts what would break out of a file or a command into every
// single value of a pair, and expects a rule against it.
func TestNothingEscapes(t *testing.T) {
	forms := []inventories.VRRPForm{inventories.Single, inventories.PerVLAN}
	caught := map[string]bool{}
	for _, form := range forms {
		n := len(leaves(reflect.ValueOf(whole(form)).Elem(), "pair"))
		for i := range n {
			p := whole(form)
			leaf := leaves(reflect.ValueOf(p).Elem(), "pair")[i]
			for _, bad := range evil(leaf.typ()) {
				leaf.set(bad)
				key := fmt.Sprintf("%s = %q", leaf.path, fmt.Sprint(bad))
				caught[key] = caught[key] || refused(p)
			}
		}
	}
	if len(caught) < 300 {
		t.Errorf("only %d values tried", len(caught))
	}
	for key, ok := range caught {
		if !ok {
			t.Errorf("%s is accepted", key)
		}
	}
}

// whole is a pair with everything in it.
func whole(form inventories.VRRPForm) *inventories.Pair {
	p := sample.Pair(3, 6, form)
	p.SSH = inventories.SSH{
		User: "root", Port: 22, IdentityFile: "/root/.ssh/id", KnownHosts: "/root/.ssh/known_hosts",
		ProxyJump: "root@bastion:22", AllowFrom: p.SSH.AllowFrom,
	}
	p.VRRP.Profile = "vm"
	return p
}

func refused(p *inventories.Pair) bool {
	for _, x := range p.Problems() {
		if !x.Warning {
			return true
		}
	}
	return false
}

func evil(t reflect.Type) []any {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return []any{netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("255.255.255.255")}
	case reflect.TypeFor[netip.Prefix]():
		return []any{netip.MustParsePrefix("fe80::/64"), netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 8)}
	case reflect.TypeFor[time.Duration]():
		return []any{time.Duration(-1), time.Duration(1), 1 << 20 * time.Hour}
	case reflect.TypeFor[int]():
		return []any{-1, 1 << 30}
	case reflect.TypeFor[inventories.Secret]():
		return []any{inventories.NewSecret("a}b"), inventories.NewSecret("a\nb"), inventories.NewSecret("letters99")}
	case reflect.TypeFor[inventories.VRRPForm]():
		return []any{inventories.VRRPForm("x}\n")}
	case reflect.TypeFor[string]():
		return []any{"x\n}", "x\x00", "\x1b[2J"}
	}
	return nil
}

type leaf struct {
	path  string
	value reflect.Value
	key   reflect.Value // of the map that value is in
}

func (l leaf) typ() reflect.Type {
	if l.key.IsValid() {
		return l.value.Type().Elem()
	}
	return l.value.Type()
}

func (l leaf) set(x any) {
	if l.key.IsValid() {
		l.value.SetMapIndex(l.key, reflect.ValueOf(x))
		return
	}
	l.value.Set(reflect.ValueOf(x))
}

// leaves lists the values under v.
func leaves(v reflect.Value, path string) []leaf {
	if evil(v.Type()) != nil {
		return []leaf{{path: path, value: v}}
	}
	var out []leaf
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, leaves(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
	case reflect.Slice:
		for i := range v.Len() {
			out = append(out, leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			out = append(out, leaf{path: path + "[" + k.String() + "]", value: v, key: k})
		}
		slices.SortFunc(out, func(a, b leaf) int { return strings.Compare(a.path, b.path) })
	case reflect.Pointer:
		if !v.IsNil() {
			out = leaves(v.Elem(), path)
		}
	}
	return out
}

// TestSecret holds that no way of printing gives a secret away.
func TestSecret(t *testing.T) {
	s := inventories.NewSecret("hunter2")
	p := inventories.VRRP{Password: s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{s, &s, p, &p, []inventories.Secret{s}} {
			if got := fmt.Sprintf(verb, x); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T: %s", verb, x, got)
			}
		}
	}
}

func TestHostAddr(t *testing.T) {
	for _, tt := range []struct {
		network string
		host    int
		want    string
	}{
		{"10.10.2.0/24", 254, "10.10.2.254"},
		{"10.10.2.0/24", 255, ""},
		{"10.10.2.0/24", 256, ""},
		{"10.10.2.0/24", 0, ""},
		{"10.10.2.0/24", -1, ""},
		{"10.10.0.0/16", 258, "10.10.1.2"},
		{"10.10.2.64/26", 1, "10.10.2.65"},
		{"10.10.2.64/26", 63, ""},
		{"10.10.2.0/31", 1, "10.10.2.1"},
		{"255.255.255.0/24", 1 << 40, ""},
		{"255.255.255.0/24", 300, ""},
		{"fd00::/64", 1, ""},
	} {
		got, ok := inventories.HostAddr(netip.MustParsePrefix(tt.network), tt.host)
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("host %d of %s: %v, %v, want %q", tt.host, tt.network, got, ok, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		given string
		names []string
		want  string
	}{
		{"vlna", []string{"variable", "vlan"}, "vlan"},
		{"vpi", []string{"id", "vip"}, "vip"},
		{"udp", []string{"tcp", "http"}, ""},
		{"firewall", []string{"outside", "inside"}, ""},
		{"mail", []string{"mail"}, ""},
		{"advert_intervall", []string{"outside_advert_interval", "advert_interval"}, "advert_interval"},
		{"", []string{"abc"}, ""},
	} {
		if got := inventories.Nearest(tt.given, tt.names); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.given, got, tt.want)
		}
	}
}
