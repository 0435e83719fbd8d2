package inventories

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// What a name may be. Each pattern is safe, unquoted, in a shell command and in
// the files of keepalived, conntrackd, HAProxy and iptables.
var (
	safeName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	safeIface = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	safeUser  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	safeHost  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)
	safePath  = regexp.MustCompile(`^/[A-Za-z0-9._~/?=&%+,:@-]{0,255}$`)
	dnsLabel  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	jumpHost  = regexp.MustCompile(`^(?:([^@]*)@)?(\[[0-9A-Fa-f:]+\]|[^:@\[\]]+)(?::([0-9]{1,5}))?$`)
	alnum     = regexp.MustCompile(`^[A-Za-z0-9]*$`)
)

// maxIface is IFNAMSIZ without the final NUL.
const maxIface = 15

// names checks the labels, each of which is used once.
func (f *finder) names() {
	f.name("cluster", f.p.Name)
	if d := f.p.Domain; d != "" && !dnsName(d) {
		f.add("cluster.domain", "Not a DNS domain", "%q is no domain such as example.com.", d)
	}
	seen := map[string]bool{}
	once := func(block, in, name string) {
		path := in + block + "." + name
		if f.name(path, name) && seen[path] {
			f.add(path+".name", "Name used twice", "There is a %s %q already.", block, name)
		}
		seen[path] = true
	}
	for _, n := range f.p.Nodes {
		once("node", "", n.Name)
	}
	for _, v := range f.p.VLANs {
		once("vlan", "", v.Name)
		switch v.Name {
		case ZoneOutside, ZoneInside, ZoneSync, ZoneFirewall:
			f.add("vlan."+v.Name+".name", "Name taken", "%q is a zone of its own: give the VLAN another name.", v.Name)
		}
	}
	for _, s := range f.p.Services {
		once("service", "", s.Name)
		for _, server := range s.Servers {
			once("server", "service."+s.Name+".", server.Name)
		}
	}
	for _, a := range f.p.Allows {
		once("allow", "", a.Name)
	}
}

func (f *finder) name(path, name string) bool {
	if safeName.MatchString(name) {
		return true
	}
	f.add(path+".name", "Bad name", "%q: a name has at most 63 letters, digits, _, . and -, and begins with a letter or digit.", name)
	return false
}

func dnsName(s string) bool {
	if len(s) > 189 { // 253 with a node's name of 63 before it
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if !dnsLabel.MatchString(l) {
			return false
		}
	}
	return true
}

// iface checks an interface's name.
func (f *finder) iface(path, name string) {
	switch {
	case name == "":
		f.add(path, "Interface missing", "Name the interface.")
	case !safeIface.MatchString(name):
		f.add(path, "Bad interface name", "%q: letters, digits, _, . and -, the first a letter or digit.", name)
	case name == "lo" || name == "all" || name == "default":
		f.add(path, "Bad interface name", "%q is no network interface.", name)
	case len(name) > maxIface:
		f.add(path, "Interface name too long", "%q has %d characters; Linux has at most %d.", name, len(name), maxIface)
	}
}

func (f *finder) ssh() {
	s := f.p.SSH
	if s.User != "" && !safeUser.MatchString(s.User) {
		f.add("ssh.user", "Bad user name", "%q: at most 32 letters, digits, _, . and -, the first a letter or _.", s.User)
	}
	if s.Port != 0 && f.between("ssh.port", "Port out of range", s.Port, 1, maxPort, "A port") && ownPorts[s.Port] != "" {
		f.add("ssh.port", "Port used twice", ownPorts[s.Port], s.Port)
	}
	f.filePath("ssh.identity_file", s.IdentityFile)
	f.filePath("ssh.known_hosts", s.KnownHosts)
	if s.ProxyJump != "" && s.ProxyJump != "none" {
		for _, hop := range strings.Split(s.ProxyJump, ",") {
			if !validJump(hop) {
				f.add("ssh.proxy_jump", "Bad jump host", "%q is no [user@]host[:port].", hop)
			}
		}
	}
	for i, a := range s.AllowFrom {
		f.member("ssh.allow_from["+strconv.Itoa(i)+"]", a)
	}
}

func validJump(hop string) bool {
	m := jumpHost.FindStringSubmatch(hop)
	if m == nil {
		return false
	}
	port, _ := strconv.Atoi(m[3])
	return (m[1] == "" && !strings.Contains(hop, "@") || safeUser.MatchString(m[1])) &&
		validHost(strings.Trim(m[2], "[]")) && (m[3] == "" || port >= 1 && port <= maxPort)
}

func validHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || safeHost.MatchString(s)
}

func (f *finder) filePath(path, file string) {
	if len(file) > 4096 || strings.IndexFunc(file, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) >= 0 {
		f.add(path, "Bad file name", "%q is too long or has control characters.", file)
	}
}

// member checks an element of a list of addresses and networks.
func (f *finder) member(path string, n netip.Prefix) {
	if !n.IsValid() || !n.Addr().Is4() || n != n.Masked() {
		f.add(path, "Not a network", "An element is an IPv4 address or network.")
	}
}
