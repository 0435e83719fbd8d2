package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// credentials are the keys to offer to one hop, in order.
type credentials struct {
	signers []ssh.Signer
	offered []string // a label for each signer
	missed  []string // what could not be offered, and what to do about it
	agent   net.Conn
}

// close ends the connection to the agent, which signs as long as it is open.
func (c *credentials) close() {
	if c.agent != nil {
		c.agent.Close()
	}
}

func (c *credentials) add(s ssh.Signer, label string) {
	c.signers = append(c.signers, s)
	c.offered = append(c.offered, fmt.Sprintf("%s (%s)", label, ssh.FingerprintSHA256(s.PublicKey())))
}

// keyFile is what a private key file and its neighbours hold.
type keyFile struct {
	path   string
	public ssh.PublicKey
	signer ssh.Signer       // nil if it is encrypted
	cert   *ssh.Certificate // of path-cert.pub, or nil
}

// agentKey is a key that the agent holds.
type agentKey struct {
	signer  ssh.Signer
	comment string
	used    bool
}

// loadCredentials finds the keys for a hop: files that were named first, then
// what else the agent has, then the usual files; each through the agent if it has
// the key. It gives up with ctx, also while an agent asks its user, and
// then a signature by the agent fails.
func loadCredentials(ctx context.Context, h hop) *credentials {
	c := &credentials{}
	keys := c.askAgent(ctx, h.agent)
	var files []keyFile
	for _, path := range h.identities {
		f, err := readKeyFile(path)
		switch {
		case err == nil:
			files = append(files, f)
		case h.explicit || !errors.Is(err, fs.ErrNotExist):
			c.missed = append(c.missed, err.Error())
		}
	}
	// A key that the agent has comes at its file's place; one that it has not
	// comes there, too, if its file was named, else after the agent's others.
	for _, f := range files {
		if k := find(keys, f.public); k != nil {
			k.used = true
			c.addFile(f, k.signer, f.path+" by the agent")
		} else if h.explicit {
			c.addFile(f, f.signer, f.path)
		}
	}
	for i := range keys {
		if !keys[i].used && !h.only {
			c.add(keys[i].signer, fmt.Sprintf("agent key %q", keys[i].comment))
		}
	}
	if !h.explicit {
		for _, f := range files {
			if find(keys, f.public) == nil {
				c.addFile(f, f.signer, f.path)
			}
		}
	}
	return c
}

// addFile adds the certificate, if there is one, and the key.
func (c *credentials) addFile(f keyFile, signer ssh.Signer, label string) {
	if signer == nil {
		c.missed = append(c.missed, fmt.Sprintf("%s is encrypted and not in the agent (ssh-add %s)", f.path, Quote(strings.TrimSuffix(f.path, ".pub"))))
		return
	}
	if f.cert != nil {
		if s, err := ssh.NewCertSigner(f.cert, signer); err == nil {
			c.add(s, f.path+"-cert.pub")
		} else {
			c.missed = append(c.missed, fmt.Sprintf("%s-cert.pub: %v", f.path, err))
		}
	}
	c.add(signer, label)
}

func find(keys []agentKey, public ssh.PublicKey) *agentKey {
	for i := range keys {
		if public != nil && string(keys[i].signer.PublicKey().Marshal()) == string(public.Marshal()) {
			return &keys[i]
		}
	}
	return nil
}

// askAgent lists what the agent has. That there is none is only worth a
// word if the login fails.
func (c *credentials) askAgent(ctx context.Context, socket string) []agentKey {
	if socket == "" {
		c.missed = append(c.missed, "there is no agent")
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		c.missed = append(c.missed, fmt.Sprintf("agent: %v", err))
		return nil
	}
	c.agent = conn
	if deadline, ok := ctx.Deadline(); ok {
		// An error would mean a closed connection, which the next line meets.
		_ = conn.SetDeadline(deadline)
	}
	a := agent.NewClient(conn)
	list, err := a.List()
	var signers []ssh.Signer
	if err == nil {
		signers, err = a.Signers()
	}
	if err != nil || len(signers) != len(list) {
		c.missed = append(c.missed, fmt.Sprintf("agent: %s does not list its keys: %v", socket, err))
		return nil
	}
	if len(list) == 0 {
		c.missed = append(c.missed, "the agent has no key (ssh-add)")
	}
	keys := make([]agentKey, len(list))
	for i := range list {
		keys[i] = agentKey{signer: signers[i], comment: list[i].Comment}
	}
	return keys
}

// readKeyFile reads a private key, or as much as can be known of it without a
// passphrase. A public key alone will do for a key that the agent has.
func readKeyFile(path string) (keyFile, error) {
	f := keyFile{path: path}
	if cert, ok := readPublic(path + "-cert.pub").(*ssh.Certificate); ok {
		f.cert = cert
	}
	text, err := os.ReadFile(path)
	if err != nil {
		if f.public = readPublic(path + ".pub"); f.public != nil {
			return f, nil
		}
		return f, err
	}
	f.signer, err = ssh.ParsePrivateKey(text)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		f.public = f.signer.PublicKey()
	case errors.As(err, &encrypted):
		if f.public = encrypted.PublicKey; f.public == nil {
			f.public = readPublic(path + ".pub")
		}
	default:
		if f.public = readPublic(path); f.public == nil {
			return f, fmt.Errorf("%s is not a private key: %s", path, strings.TrimPrefix(err.Error(), "ssh: "))
		}
	}
	return f, nil
}

// readPublic returns the public key or certificate in a file, or nil.
func readPublic(path string) ssh.PublicKey {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}
