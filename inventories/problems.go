package inventories

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Problem is one broken rule.
type Problem struct {
	// Path names the value: "vlan.mail.id", "allow.admin.sources[1]",
	// "service.smtp.server.mx1.address", "node" for the nodes as such, and
	// "vlan.mail.name" for a name.
	Path    string
	Summary string // what, in a few words, the same for every value
	Detail  string // the value, and what to do
	Warning bool   // the pair works, but not as one would expect

	// Depends are further paths that the verdict was taken from. If one of them is
	// not known or was refused already, the problem only follows from that.
	// "vlan" stands for the set of VLANs.
	Depends []string
}

// Problems checks every rule that a pair obeys, and returns all that are broken,
// in the order of the model. A value that is zero is a problem where it must not
// be, and is left alone by the rules that compare it with others.
//
// The rules also keep whatever goes into a configuration file or a command from
// meaning anything there: names, interfaces, hosts and paths are made of safe
// characters only.
func (p *Pair) Problems() []Problem {
	work := *p
	work.VLANs = slices.Clone(p.VLANs)
	f := &finder{p: &work, vlan: index(work.VLANs)}
	f.names()
	f.ssh()
	f.networks()
	f.nodes()
	f.vrrp()
	f.vlans()
	f.vrids()
	f.services()
	f.allows()
	out := make([]Problem, len(f.found))
	for i, x := range f.found {
		out[i] = *x
	}
	return out
}

type finder struct {
	p     *Pair // a copy, in which a network that is none is zero once that was told
	vlan  *vlanIndex
	found []*Problem
}

func (f *finder) add(path, summary, format string, args ...any) *Problem {
	x := &Problem{Path: path, Summary: summary, Detail: fmt.Sprintf(format, args...)}
	f.found = append(f.found, x)
	return x
}

func (x *Problem) on(paths ...string) *Problem {
	x.Depends = append(x.Depends, paths...)
	return x
}

func (x *Problem) warn() { x.Warning = true }

// between checks a number.
func (f *finder) between(path, summary string, n, low, high int, what string) bool {
	if n >= low && n <= high {
		return true
	}
	f.add(path, summary, "%s is %d to %d, not %d.", what, low, high, n)
	return false
}

// Nearest is the name that was probably meant by given, "" if none is near.
func Nearest(given string, names []string) string {
	best, limit := "", max(2, len(given)/3)
	for _, n := range names {
		d := levenshtein.Distance(given, n, nil)
		if len(given) <= 3 && d > 1 && letters(given) != letters(n) {
			continue // two of three letters are another word
		}
		if d <= limit && n != given {
			best, limit = n, d-1
		}
	}
	return best
}

func letters(s string) string {
	all := strings.Split(s, "")
	slices.Sort(all)
	return strings.Join(all, "")
}
