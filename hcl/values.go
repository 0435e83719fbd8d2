package hcl

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	hcl2 "github.com/hashicorp/hcl/v2"

	"fwprov/inventories"
)

// The getters below return an attribute's value, or the default if it was not
// written. One that cannot be used is reported and void, and its zero value is
// returned: rules about it are not asked.

func (b *block) get(name string) (value, bool) {
	v, ok := b.attrs[name]
	return v, ok
}

// bad reports a value that is not of its kind.
func (b *block) bad(path string, at hcl2.Range, summary, format string, args ...any) {
	b.l.void[path] = true
	if r, ok := b.l.ranges[path]; ok {
		at = r
	}
	b.l.errorf(at, summary, format, args...)
}

// str is a string, one of those the attribute may have if it has a list of them.
func (b *block) str(name, def string) string {
	v, ok := b.get(name)
	if !ok {
		return b.unless(name, def)
	}
	s := v.val.AsString()
	t := b.typ.attr(name)
	if t.oneOf == nil {
		return s
	}
	for _, o := range t.oneOf {
		if s == o {
			return s
		}
	}
	hint := ""
	if o := inventories.Nearest(s, t.oneOf); o != "" {
		hint = fmt.Sprintf(" Did you mean %q?", o)
	}
	b.bad(join(b.path, name), v.at, "Unknown "+name, "%s is %s, not %q.%s", name, quoteList(t.oneOf), s, hint)
	return ""
}

// unless is def, or "" for an attribute that was written but is not known.
func (b *block) unless(name, def string) string {
	if b.l.isVoid(join(b.path, name)) {
		return ""
	}
	return def
}

func (b *block) number(name string, def int) int {
	v, ok := b.get(name)
	if !ok {
		if b.l.isVoid(join(b.path, name)) {
			return 0
		}
		return def
	}
	f := v.val.AsBigFloat()
	n, _ := f.Int64()
	if !f.IsInt() || n > 1<<31-1 || n < -1<<31 {
		b.bad(join(b.path, name), v.at, "Not a whole number", "%s counts: write a whole number.", name)
		return 0
	}
	return int(n)
}

func (b *block) bool(name string) bool {
	v, ok := b.get(name)
	return ok && v.val.True()
}

func (b *block) duration(name string, def time.Duration) time.Duration {
	v, ok := b.get(name)
	if !ok {
		if b.l.isVoid(join(b.path, name)) {
			return 0
		}
		return def
	}
	s := v.val.AsString()
	d, err := time.ParseDuration(s)
	if err != nil {
		hint := ""
		if _, err := strconv.Atoi(s); err == nil {
			hint = fmt.Sprintf(" Did you mean %q?", s+"s")
		}
		b.bad(join(b.path, name), v.at, "Not a duration", "%s is a number with a unit: \"300ms\", \"10s\", \"5m\", \"1h\".%s", name, hint)
		return 0
	}
	if d <= 0 {
		b.bad(join(b.path, name), v.at, "Not a duration", "%s is more than nothing.", name)
		return 0
	}
	return d
}

func (b *block) secret(name string) inventories.Secret {
	v, ok := b.get(name)
	if !ok {
		return inventories.Secret{}
	}
	if v.val.AsString() == "" {
		b.bad(join(b.path, name), v.at, "Empty "+name, "Leave %s out, or give it a value.", name)
	}
	return inventories.NewSecret(v.val.AsString())
}

func (b *block) addr(name string, def netip.Addr) netip.Addr {
	v, ok := b.get(name)
	if !ok {
		if b.l.isVoid(join(b.path, name)) {
			return netip.Addr{}
		}
		return def
	}
	return b.parseAddr(join(b.path, name), v.at, v.val.AsString())
}

func (b *block) parseAddr(path string, at hcl2.Range, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	switch {
	case err == nil && a.Is4():
		return a
	case err == nil:
		b.bad(path, at, "IPv6 address", "%q: a pair has IPv4 addresses only, for now.", s)
	case strings.Contains(s, "/"):
		b.bad(path, at, "Not an address", "%q is a network; an address has no /.", s)
	default:
		b.bad(path, at, "Not an address", "%q is no IPv4 address such as 192.168.1.10.", s)
	}
	return netip.Addr{}
}

func (b *block) network(name string) netip.Prefix {
	v, ok := b.get(name)
	if !ok {
		return netip.Prefix{}
	}
	return b.parseNetwork(join(b.path, name), v.at, v.val.AsString())
}

func (b *block) parseNetwork(path string, at hcl2.Range, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil && strings.Contains(s, "/"), err != nil && !isAddr(s):
		b.bad(path, at, "Not a network", "%q is no IPv4 network such as 192.168.1.0/24.", s)
	case err != nil:
		b.bad(path, at, "Not a network", "%q has no prefix length: write it as in 192.168.1.0/24.", s)
	case !p.Addr().Is4():
		b.bad(path, at, "IPv6 network", "%q: a pair has IPv4 networks only, for now.", s)
	case p != p.Masked():
		b.bad(path, at, "Not a network", "%q is an address in a network: the network is %q.", s, p.Masked())
	default:
		return p
	}
	return netip.Prefix{}
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// strings is a list of strings, each with its path.
func (b *block) strings(name string, each func(path string, at hcl2.Range, s string)) {
	v, ok := b.get(name)
	if !ok {
		return
	}
	i := 0
	for it := v.val.ElementIterator(); it.Next(); i++ {
		_, e := it.Element()
		each(fmt.Sprintf("%s[%d]", join(b.path, name), i), v.at, e.AsString())
	}
}

func (b *block) names(name string, def ...string) []string {
	if !b.has(name) {
		return def
	}
	var out []string
	b.strings(name, func(_ string, _ hcl2.Range, s string) { out = append(out, s) })
	return out
}

// networks is a list of addresses and networks; an address is a network of one.
func (b *block) networks(name string) []netip.Prefix {
	var out []netip.Prefix
	b.strings(name, func(path string, at hcl2.Range, s string) {
		if !strings.Contains(s, "/") {
			a := b.parseAddr(path, at, s)
			if a.IsValid() {
				out = append(out, netip.PrefixFrom(a, a.BitLen()))
				return
			}
			out = append(out, netip.Prefix{})
			return
		}
		out = append(out, b.parseNetwork(path, at, s))
	})
	return out
}

// ports is a list of "25" and "8000-8080".
func (b *block) ports(name string) []inventories.PortRange {
	var out []inventories.PortRange
	b.strings(name, func(path string, at hcl2.Range, s string) {
		first, last, isRange := strings.Cut(s, "-")
		if !isRange {
			last = first
		}
		r := inventories.PortRange{First: port(first), Last: port(last)}
		if r.First < 0 || r.Last < 0 {
			b.bad(path, at, "Not a port", "%q is no port such as 25 and no range such as \"8000-8080\".", s)
			r = inventories.PortRange{}
		}
		out = append(out, r)
	})
	return out
}

// port is -1 for what is no number of at most six digits.
func port(s string) int {
	if len(s) == 0 || len(s) > 6 || strings.Trim(s, "0123456789") != "" {
		return -1
	}
	n, _ := strconv.Atoi(s)
	return n
}

// hosts is a map of node to address.
func (b *block) hosts(name string) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	v, ok := b.get(name)
	if !ok {
		return out
	}
	for it := v.val.ElementIterator(); it.Next(); {
		k, e := it.Element()
		out[k.AsString()] = b.parseAddr(join(join(b.path, name), k.AsString()), v.at, e.AsString())
	}
	return out
}
