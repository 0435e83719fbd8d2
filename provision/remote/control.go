package remote

import (
	"crypto/sha1" // what ssh names its sockets by
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// controlPaths returns the sockets at which a master of ssh for a node would
// listen, the likeliest first: those that ssh itself would use for the same user,
// host and port. There are none where ssh_config has no ControlPath, or one that
// cannot be expanded here, or one that does not tell nodes apart. And there are
// none where the inventory has known_hosts or proxy_jump of its own: these say
// which machine it is, and a master was made without them.
func (r *resolver) controlPaths(t Target) []string {
	if t.KnownHosts != "" || t.ProxyJump != "" {
		return nil
	}
	h, s, err := r.named(jump{user: t.User, host: t.Host, port: t.Port}, "root")
	path := s.first["controlpath"]
	if err != nil || path == "none" || !distinct(path) {
		return nil
	}
	local, err := os.Hostname()
	if err != nil {
		return nil
	}
	short, _, _ := strings.Cut(local, ".")
	host, port, via := strings.ToLower(h.host), strconv.Itoa(h.port), ""
	if jumps, err := parseJumps(s.first["proxyjump"]); err == nil && len(jumps) > 0 {
		via = jumps[len(jumps)-1].host
	}
	tokens := map[rune]string{
		'd': r.home, 'h': host, 'i': strconv.Itoa(os.Getuid()), 'j': via, 'k': t.Host, 'L': short, 'l': local,
		'n': t.Host, 'p': port, 'r': h.user, 'u': r.local,
	}
	if h.hostKeyAlias != "" {
		tokens['k'] = h.hostKeyAlias
	}
	var out []string
	// Since 9.6 the jump host is in the hash.
	for _, last := range []string{via, ""} {
		hash := sha1.Sum([]byte(local + host + port + h.user + last))
		tokens['C'] = hex.EncodeToString(hash[:])
		p, err := expand(path, tokens)
		if err != nil {
			return nil
		}
		if p = expandHome(p, r.home); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// distinct reports whether a ControlPath is another for another host, port or
// user, as ssh_config(5) recommends. By any other the wrong node might be reached.
func distinct(path string) bool {
	has := map[byte]bool{}
	for i := 0; i+1 < len(path); i++ {
		if path[i] == '%' {
			i++
			has[path[i]] = true
		}
	}
	return has['C'] || (has['h'] || has['n']) && has['p'] && has['r']
}

// trusted makes sure that nobody but the user who runs this, or root, has made a
// socket, and that nobody else may put another in its place or speak to it.
func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is not a socket", path)
	case !ok || !trustedUser(st.Uid):
		return fmt.Errorf("%s belongs to somebody else", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s", path)
	}
	return nil
}

// trustedPeer is the same for who listens: the file may have been replaced
// since.
func trustedPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var who *syscall.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		who, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, asked); err == nil && !trustedUser(who.Uid) {
		err = errors.New("somebody else listens there")
	}
	return err
}

func trustedUser(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }
