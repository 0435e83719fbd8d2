package remote

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Target is a node as an inventory names it. A zero field is left to
// ssh_config, and then to the default.
type Target struct {
	Node         string // label used in errors
	Host         string // name or address; ssh_config may send it elsewhere
	User         string // default root
	Port         int    // 1..65535, default 22
	IdentityFile string // offered first; ~/ is the home folder
	KnownHosts   string // in place of the user's files
	ProxyJump    string // [user@]host[:port], several with commas, or "none"
	Sudo         bool   // commands run through sudo, see Options.Password
}

// hop is one SSH server on the way to a node, or the node itself.
type hop struct {
	host         string // where to connect
	port         int
	user         string
	identities   []string // private key files
	explicit     bool     // the files were named, they are not just the usual ones
	only         bool     // IdentitiesOnly
	agent        string   // socket, "" for none
	knownHosts   []string // files that exist or not, the user's first
	hostKeyAlias string
	hashed       bool          // HashKnownHosts
	timeout      time.Duration // ConnectTimeout; 0: not set
	skipped      []string      // see settings
}

func (h hop) addr() string { return net.JoinHostPort(h.host, strconv.Itoa(h.port)) }

// keyName is what known_hosts is searched for, always with a port.
func (h hop) keyName() string {
	if h.hostKeyAlias != "" {
		return net.JoinHostPort(h.hostKeyAlias, "22")
	}
	return net.JoinHostPort(strings.ToLower(h.host), strconv.Itoa(h.port))
}

// maxJumps bounds the way to a node, so that jump hosts in a circle are found.
const maxJumps = 8

// resolver turns names into hops.
type resolver struct {
	config *sshConfig
	home   string
	agent  string // socket that IdentityAgent may override
	local  string // name of the user who runs this
}

func newResolver(o Options) (*resolver, error) {
	r := &resolver{home: o.HomeDir, agent: o.AgentSocket, local: "root"}
	if u, err := user.Current(); err == nil {
		r.local = u.Username
	}
	var err error
	r.config, err = loadConfig(o.ConfigFile, o.HomeDir)
	return r, err
}

// route returns the hops to a node, the node's own last.
func (r *resolver) route(t Target) ([]hop, error) {
	h, s, err := r.hop(jump{user: t.User, host: t.Host, port: t.Port}, "root")
	if err != nil {
		return nil, err
	}
	if t.IdentityFile != "" {
		named := []string{expandHome(t.IdentityFile, r.home)}
		if h.explicit {
			named = append(named, h.identities...)
		}
		h.identities, h.explicit = named, true
	}
	var extra []string
	if t.KnownHosts != "" {
		extra = []string{expandHome(t.KnownHosts, r.home)}
		if h.knownHosts, err = r.knownHosts(s, &h, extra); err != nil {
			return nil, err
		}
	}
	spec := t.ProxyJump
	if spec == "" {
		if spec, err = proxyJump(s, t.Host); err != nil {
			return nil, err
		}
	}
	hops, err := r.jumps(spec, h, extra, 0)
	return append(hops, h), err
}

// proxyJump returns what ssh_config wants, which must not be a ProxyCommand.
func proxyJump(s settings, host string) (string, error) {
	if c := s.first["proxycommand"]; s.first["proxyjump"] == "" && c != "" && c != "none" {
		return "", fmt.Errorf("ssh_config has a ProxyCommand for %s, which is not supported: use ProxyJump", host)
	}
	return s.first["proxyjump"], nil
}

// jumps returns the hops that spec lists before to. The first of them may have
// jump hosts of its own. knownHosts are searched besides each hop's own files.
func (r *resolver) jumps(spec string, to hop, knownHosts []string, depth int) ([]hop, error) {
	list, err := parseJumps(spec)
	if err != nil {
		return nil, err
	}
	if depth+len(list) > maxJumps {
		return nil, fmt.Errorf("more than %d jump hosts before %s: do they lead in a circle?", maxJumps, to.host)
	}
	var out []hop
	for i, j := range list {
		h, s, err := r.hop(j, r.local)
		if err != nil {
			return nil, fmt.Errorf("jump host %s: %w", j.host, err)
		}
		// "Host *" with a ProxyJump matches the jump host, too.
		if len(list) == 1 && h.host == to.host && h.port == to.port {
			return nil, nil
		}
		h.knownHosts = append(h.knownHosts, knownHosts...)
		if i == 0 {
			own, err := proxyJump(s, j.host)
			if err != nil {
				return nil, err
			}
			if out, err = r.jumps(own, h, knownHosts, depth+len(list)); err != nil {
				return nil, err
			}
		}
		out = append(out, h)
	}
	return out, nil
}

// hop looks a name up. What j says goes before ssh_config.
func (r *resolver) hop(j jump, defaultUser string) (hop, settings, error) {
	h, s, err := r.named(j, defaultUser)
	if err != nil {
		return hop{}, s, err
	}
	if err := r.fill(&h, s); err != nil {
		return hop{}, s, fmt.Errorf("ssh_config for %s: %w", j.host, err)
	}
	return h, s, nil
}

// named is hop without what it takes to log in.
func (r *resolver) named(j jump, defaultUser string) (hop, settings, error) {
	if j.host == "" {
		return hop{}, settings{}, errors.New("no host is given")
	}
	s := r.config.lookup(j.host)
	h := hop{host: j.host, port: j.port, user: j.user, agent: r.agent, skipped: s.skipped, only: s.first["identitiesonly"] == "yes"}
	if h.port == 0 {
		h.port = 22
		if p := s.first["port"]; p != "" {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return hop{}, s, fmt.Errorf("ssh_config: Port %q for %s is not in 1..65535", p, j.host)
			}
			h.port = int(n)
		}
	}
	for _, u := range []string{s.first["user"], defaultUser} {
		if h.user == "" {
			h.user = u
		}
	}
	if t := s.first["connecttimeout"]; t != "" && t != "none" {
		// Seconds, as in ssh_config(5); a bound of an hour keeps a slip of the hand from waiting for ever.
		n, err := strconv.ParseUint(t, 10, 16)
		if err != nil || n == 0 || n > 3600 {
			return hop{}, s, fmt.Errorf("ssh_config: ConnectTimeout %q for %s is not in 1..3600 seconds", t, j.host)
		}
		h.timeout = time.Duration(n) * time.Second
	}
	if name := s.first["hostname"]; name != "" {
		var err error
		if h.host, err = expand(name, map[rune]string{'h': j.host, 'n': j.host}); err != nil {
			return hop{}, s, fmt.Errorf("ssh_config for %s: HostName: %w", j.host, err)
		}
	}
	h.hostKeyAlias = s.first["hostkeyalias"]
	return h, s, nil
}

// fill sets how to log in.
func (r *resolver) fill(h *hop, s settings) error {
	h.hashed = strings.EqualFold(s.first["hashknownhosts"], "yes")
	for _, id := range s.identities {
		h.explicit = true
		if id == "none" {
			continue
		}
		p, err := r.path(id, h)
		if err != nil {
			return fmt.Errorf("IdentityFile: %w", err)
		}
		if !slices.Contains(h.identities, p) {
			h.identities = append(h.identities, p)
		}
	}
	if !h.explicit {
		for _, f := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			h.identities = append(h.identities, filepath.Join(r.home, ".ssh", f))
		}
	}
	var err error
	switch a := s.first["identityagent"]; {
	case a == "" || a == "SSH_AUTH_SOCK":
	case a == "none":
		h.agent = ""
	case strings.HasPrefix(a, "$") && !strings.HasPrefix(a, "${"):
		h.agent = os.Getenv(a[1:])
	default:
		if h.agent, err = r.path(a, h); err != nil {
			return fmt.Errorf("IdentityAgent: %w", err)
		}
	}
	h.knownHosts, err = r.knownHosts(s, h, nil)
	return err
}

// knownHosts returns the user's files, or instead those given, and the
// machine's.
func (r *resolver) knownHosts(s settings, h *hop, given []string) ([]string, error) {
	user, machine := arguments(s.first["userknownhostsfile"]), arguments(s.first["globalknownhostsfile"])
	if len(user) == 0 {
		user = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if len(machine) == 0 {
		machine = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	out := slices.Clone(given)
	if len(given) > 0 {
		user = nil
	}
	for _, f := range append(user, machine...) {
		if f == "none" {
			continue
		}
		p, err := r.path(f, h)
		if err != nil {
			return nil, fmt.Errorf("known hosts file: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

// path expands ~/, ${VARIABLE} and the tokens that ssh_config(5) allows in
// file names and that make sense here.
func (r *resolver) path(s string, h *hop) (string, error) {
	p, err := expand(s, map[rune]string{'d': r.home, 'h': h.host, 'p': strconv.Itoa(h.port), 'r': h.user, 'u': r.local})
	return expandHome(p, r.home), err
}

func expand(s string, tokens map[rune]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+1 < len(s):
			i++
			v, ok := tokens[rune(s[i])]
			if s[i] == '%' {
				v, ok = "%", true
			}
			if !ok {
				return "", fmt.Errorf("%q: %%%c is not supported here", s, s[i])
			}
			b.WriteString(v)
		case strings.HasPrefix(s[i:], "${") && strings.Contains(s[i:], "}"):
			name, _, _ := strings.Cut(s[i+2:], "}")
			v, ok := os.LookupEnv(name)
			if !ok {
				return "", fmt.Errorf("%q: the environment has no %s", s, name)
			}
			b.WriteString(v)
			i += len(name) + 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// jump is an entry of ProxyJump; a zero user or port was not given.
type jump struct {
	user, host string
	port       int
}

// parseJumps reads [user@]host[:port] or ssh://[user@]host[:port], several with
// commas between them. An IPv6 address with a port stands in brackets.
func parseJumps(spec string) ([]jump, error) {
	if spec == "" || strings.EqualFold(spec, "none") {
		return nil, nil
	}
	var out []jump
	for item := range strings.SplitSeq(spec, ",") {
		j, err := parseJump(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("proxy jump %q: %w", spec, err)
		}
		out = append(out, j)
	}
	return out, nil
}

func parseJump(item string) (jump, error) {
	var j jump
	rest, uri := strings.CutPrefix(item, "ssh://")
	if uri {
		rest = strings.TrimSuffix(rest, "/")
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if j.user, rest = rest[:i], rest[i+1:]; j.user == "" {
			return j, fmt.Errorf("%q has no user before the @", item)
		}
	}
	j.host = rest
	if in, ok := strings.CutPrefix(rest, "["); ok && strings.HasSuffix(in, "]") {
		j.host = strings.TrimSuffix(in, "]")
	} else if _, err := netip.ParseAddr(rest); err != nil && strings.Contains(rest, ":") {
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return j, fmt.Errorf("%q is not [user@]host[:port]", item)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return j, fmt.Errorf("port %q of %q is not in 1..65535", port, item)
		}
		j.host, j.port = host, int(n)
	}
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("/[]@", r)
	}
	if j.host == "" || j.host[0] == '-' || strings.IndexFunc(j.host, odd) >= 0 || strings.IndexFunc(j.user, unicode.IsControl) >= 0 {
		return j, fmt.Errorf("%q is not [user@]host[:port]", item)
	}
	return j, nil
}
