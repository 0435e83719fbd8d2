package remote

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyUnknownError says that no known_hosts file has the host.
type HostKeyUnknownError struct {
	Host        string // as known_hosts writes it: fw01, or [fw01]:2222
	Algorithm   string // such as ssh-ed25519
	Fingerprint string // SHA256:...
	KnownHosts  string // the file it was to be found in
	Line        string // what would make it known, as a line of that file; its name is hashed if ssh_config wants that
}

func (e *HostKeyUnknownError) Error() string {
	return fmt.Sprintf("the host key of %s is not known: it shows %s %s, %s has none for it; "+
		"compare that with %s, then connect once by hand with ssh, or give --accept-new",
		e.Host, e.Algorithm, e.Fingerprint, e.KnownHosts, e.Compare())
}

// Compare is the command that shows the fingerprint on the machine itself.
func (e *HostKeyUnknownError) Compare() string {
	return "`ssh-keygen -lf /etc/ssh/ssh_host_" + keyFileType(e.Algorithm) + "_key.pub` on its console"
}

// Remember makes the key known: it appends Line to KnownHosts, which is made if
// it is not there. What the file has is not touched.
func (e *HostKeyUnknownError) Remember() error {
	if e.KnownHosts == "" {
		return fmt.Errorf("the host key of %s cannot be kept: ssh_config names no known_hosts file", e.Host)
	}
	if err := os.MkdirAll(filepath.Dir(e.KnownHosts), 0o700); err != nil {
		return fmt.Errorf("keep the host key of %s: %w", e.Host, err)
	}
	f, err := os.OpenFile(e.KnownHosts, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep the host key of %s: %w", e.Host, err)
	}
	line := e.Line + "\n"
	if last, err := lastByte(f); err == nil && last != '\n' {
		line = "\n" + line
	}
	_, err = f.WriteString(line) // at once, since others may append as well
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep the host key of %s: %w", e.Host, err)
	}
	return nil
}

func lastByte(f *os.File) (byte, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, info.Size()-1)
	return b[0], err
}

// HostKeyChangedError says that the host shows another key than known_hosts has.
type HostKeyChangedError struct {
	Host        string // as known_hosts writes it
	Algorithm   string
	Fingerprint string // of the key that the host shows
	KnownHosts  string // file that says otherwise
	Line        int    // in that file
}

func (e *HostKeyChangedError) Error() string {
	return fmt.Sprintf("THE HOST KEY OF %s HAS CHANGED: it shows %s %s, %s:%d says otherwise; someone may be listening in. "+
		"If the machine was set up anew, run `ssh-keygen -R %s -f %s`, compare the fingerprint on its console, and connect once by hand with ssh",
		e.Host, e.Algorithm, e.Fingerprint, e.KnownHosts, e.Line, Quote(e.Host), Quote(e.KnownHosts))
}

// keyFileType returns the TYPE of /etc/ssh/ssh_host_TYPE_key.
func keyFileType(algorithm string) string {
	switch {
	case strings.Contains(algorithm, "ecdsa"):
		return "ecdsa"
	case strings.Contains(algorithm, "rsa"):
		return "rsa"
	}
	return "ed25519"
}

// hostKeys checks the keys of one hop.
type hostKeys struct {
	db    *knownhosts.HostKeyDB
	name  string   // what known_hosts is searched for, with a port
	files []string // the first is named to the user
	hash  bool     // a name that is added is hashed
}

// newHostKeys reads those known_hosts files that exist.
func newHostKeys(h hop, known *KnownHosts) (*hostKeys, error) {
	k := &hostKeys{name: h.keyName(), files: h.knownHosts, hash: h.hashed}
	var err error
	if k.db, err = known.read(h.knownHosts); err != nil {
		return nil, fmt.Errorf("%w (mend or delete that line)", err)
	}
	return k, nil
}

// KnownHosts keeps what was read of known_hosts files as long as they are as they
// were: with a thousand hosts in them reading them takes longer than logging in. The
// zero value is ready, and nil keeps nothing. It is safe for concurrent use.
type KnownHosts struct {
	mu   sync.Mutex
	kept map[string]*knownFiles // by the names of the files
}

// knownFiles is a list of files that are read once.
type knownFiles struct {
	state string // names, sizes and times of change
	once  sync.Once
	db    *knownhosts.HostKeyDB
	err   error
}

// read reads those of the files that exist.
func (k *KnownHosts) read(files []string) (*knownhosts.HostKeyDB, error) {
	var exist []string
	var state strings.Builder
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && !info.IsDir() {
			exist = append(exist, f)
			fmt.Fprintf(&state, "%q %d %d\n", f, info.Size(), info.ModTime().UnixNano())
		}
	}
	if k == nil {
		return knownhosts.NewDB(exist...)
	}
	names := strings.Join(files, "\n")
	k.mu.Lock()
	f := k.kept[names]
	if f == nil || f.state != state.String() {
		f = &knownFiles{state: state.String()}
		if k.kept == nil {
			k.kept = map[string]*knownFiles{}
		}
		k.kept[names] = f
	}
	k.mu.Unlock()
	f.once.Do(func() { f.db, f.err = knownhosts.NewDB(exist...) })
	return f.db, f.err
}

// algorithms returns the key types to ask the host for: first those that it is
// known by, so that it does not show another one, then the rest, so that a host
// that has lost its known key is told from one that speaks no common language.
func (k *hostKeys) algorithms() []string {
	sha1 := []string{ssh.KeyAlgoRSA, ssh.CertAlgoRSAv01}
	known := slices.DeleteFunc(k.db.HostKeyAlgorithms(k.name), func(a string) bool { return slices.Contains(sha1, a) })
	for _, a := range []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	} {
		if !slices.Contains(known, a) {
			known = append(known, a)
		}
	}
	return known
}

// check looks a key up.
func (k *hostKeys) check(key ssh.PublicKey) error {
	// By name alone: the address it has today proves nothing.
	err := k.db.HostKeyCallback()(k.name, &net.TCPAddr{IP: net.IPv4zero}, key)
	var keyErr *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	host, fingerprint := knownhosts.Normalize(k.name), ssh.FingerprintSHA256(key)
	switch {
	case errors.As(err, &revoked):
		return fmt.Errorf("the host key %s of %s is revoked by %s:%d: %w", fingerprint, host, revoked.Revoked.Filename, revoked.Revoked.Line, err)
	case errors.As(err, &keyErr) && len(keyErr.Want) > 0:
		want := keyErr.Want[0]
		for _, w := range keyErr.Want {
			if w.Key.Type() == key.Type() {
				want = w
				break
			}
		}
		return &HostKeyChangedError{Host: host, Algorithm: key.Type(), Fingerprint: fingerprint, KnownHosts: want.Filename, Line: want.Line}
	case errors.As(err, &keyErr):
		e := &HostKeyUnknownError{Host: host, Algorithm: key.Type(), Fingerprint: fingerprint, Line: knownhosts.Line([]string{k.name}, key)}
		if k.hash {
			_, rest, _ := strings.Cut(e.Line, " ")
			e.Line = xknownhosts.HashHostname(host) + " " + rest
		}
		if len(k.files) > 0 {
			e.KnownHosts = k.files[0]
		}
		return e
	}
	return err
}

// verdict is what was found about the key of one hop. The key is checked again
// whenever the connection agrees on new session keys.
type verdict struct {
	keys *hostKeys
	ask  func(*HostKeyUnknownError) error // about an unknown host, or nil

	mu       sync.Mutex
	accepted []byte // key that was found good
	err      error
}

// check is an ssh.HostKeyCallback. It is called once at a time; get may be called
// meanwhile, when the connection has timed out.
func (v *verdict) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	if bytes.Equal(v.accepted, key.Marshal()) {
		return nil
	}
	err := v.keys.check(key)
	var unknown *HostKeyUnknownError
	if v.ask != nil && errors.As(err, &unknown) {
		err = v.ask(unknown)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err = err; err == nil {
		v.accepted = key.Marshal()
	}
	return err
}

// get reports whether a key was accepted, or why not.
func (v *verdict) get() (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.accepted != nil, v.err
}
