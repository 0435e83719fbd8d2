package steps

import (
	"slices"
	"strings"
)

// What the keepalived of two nodes have to agree on, or they do not hear each
// other and both hold the VIPs. It is read out of a configuration, ours or
// anybody's. Priorities are not part of it: nobody moves for them (nopreempt,
// measured with keepalived 2.2.7, both ways and equal ones).

// spoken is what one instance says and understands.
type spoken struct {
	where string            // interface and router id: with others it is another instance
	terms map[string]string // version, interval, password, addresses
}

// agreement is all instances of a configuration, by name.
type agreement map[string]spoken

// terms, in the order in which they are named.
var terms = []string{"VRRP version", "advert interval", "password", "unicast", "advertised addresses"}

// readAgreement reads a configuration, whoever wrote it. What is said once for
// all instances, or not at all, has keepalived's defaults.
func readAgreement(conf string) agreement {
	out := agreement{}
	r, version := read(conf)
	for name, w := range r.instances {
		slices.Sort(w.vips)
		slices.Sort(w.peers)
		get := func(key, otherwise string) string {
			if w.words[key] != "" {
				return w.words[key]
			}
			return otherwise
		}
		out[name] = spoken{
			where: get("interface", "") + " " + get("virtual_router_id", ""),
			terms: map[string]string{
				"VRRP version":         get("version", version),
				"advert interval":      get("advert_int", "1"),
				"password":             get("auth_type", "") + " " + get("auth_pass", ""),
				"unicast":              get("unicast_src_ip", "") + " " + strings.Join(w.peers, " "),
				"advertised addresses": strings.Join(w.vips, " "),
			},
		}
	}
	return out
}

// allVIPs are the addresses of all instances of a configuration, in order.
func allVIPs(conf string) []string {
	r, _ := read(conf)
	var out []string
	for _, i := range r.instances {
		out = append(append(out, i.vips...), i.excluded...)
	}
	slices.Sort(out)
	return out
}

// read goes through a configuration and also returns the version that is said for all
// of its instances.
func read(conf string) (r reader, version string) {
	version = "2"
	for _, line := range strings.Split(conf, "\n") {
		if end := strings.IndexAny(line, "#!"); end >= 0 {
			line = line[:end]
		}
		words := strings.Fields(strings.NewReplacer("{", " { ", "}", " } ").Replace(line))
		if len(words) > 1 && words[0] == "vrrp_version" {
			version = words[1]
		}
		r.line(words)
	}
	return r, version
}

// reader goes through the blocks of a configuration.
type reader struct {
	instances map[string]*rawInstance
	now       *rawInstance
	depth     int
	block     string // of the instance
}

type rawInstance struct {
	words       map[string]string
	vips, peers []string
	excluded    []string
}

func (r *reader) line(w []string) {
	if len(w) == 0 {
		return
	}
	if r.depth == 0 && w[0] == "vrrp_instance" && len(w) > 1 {
		if r.instances == nil {
			r.instances = map[string]*rawInstance{}
		}
		r.now = &rawInstance{words: map[string]string{}}
		r.instances[w[1]] = r.now
	}
	if r.now != nil && r.depth == 1 {
		r.block = w[0]
	}
	var rest []string
	for _, word := range w {
		switch word {
		case "{":
			r.depth++
		case "}":
			r.depth = max(0, r.depth-1)
			if r.depth == 0 {
				r.now = nil
			}
		default:
			rest = append(rest, word)
		}
	}
	if r.now != nil && r.depth > 0 {
		r.now.say(rest, r.block, r.depth)
	}
}

func (i *rawInstance) say(w []string, block string, depth int) {
	switch {
	case len(w) == 0 || w[0] == block && depth == 2:
		// the opening or the end of a block
	case depth == 2 && block == "virtual_ipaddress":
		addr, _, _ := strings.Cut(w[0], "/")
		i.vips = append(i.vips, addr)
	case depth == 2 && block == "virtual_ipaddress_excluded":
		addr, _, _ := strings.Cut(w[0], "/")
		i.excluded = append(i.excluded, addr)
	case depth == 2 && block == "unicast_peer":
		i.peers = append(i.peers, w[0])
	case depth == 2 && block != "authentication":
		// not spoken of on the wire
	case len(w) > 1:
		i.words[w[0]] = strings.Join(w[1:], " ")
	}
}

// transition is how nodes get from one agreement to another.
type transition struct {
	// differs names what the nodes have to agree on and do not any more, because
	// no instance of both understands the other's: they have to be changed
	// together. Where one still does, the sync group keeps a standby with the new
	// settings from taking over.
	differs []string
	// anew: a reload lets the instances of the sync group start anew, and for an
	// election nobody holds the VIPs (3.6 s at 1 s adverts, measured with 2.2.7).
	anew bool
}

func transit(from, to agreement) transition {
	var t transition
	heard := false
	found := map[string]bool{}
	for name, now := range to {
		before, ok := from[name]
		switch {
		case !ok:
			t.anew = true
			found["instances"] = true
			continue
		case before.where != now.where:
			t.anew = true
			found["interface or router id"] = true
			continue
		}
		same := true
		for _, term := range terms {
			if before.terms[term] != now.terms[term] {
				same = false
				found[term] = true
			}
		}
		heard = heard || same
	}
	if heard {
		return t
	}
	for _, what := range append([]string{"instances", "interface or router id"}, terms...) {
		if found[what] {
			t.differs = append(t.differs, what)
		}
	}
	return t
}
