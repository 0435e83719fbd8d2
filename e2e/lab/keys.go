package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keys are the SSH keys of a lab.
type keys struct {
	authorized string               // the admin's public key
	host       map[string][]keyPair // by node
}

// keyPair is one key as OpenSSH stores it.
type keyPair struct{ name, private, public string }

// makeKeys makes the admin's key and the nodes' host keys, and the home
// directory from which the nodes are reached with them.
func (l *Lab) makeKeys(nodes []Host, login Login) (*keys, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	admin, err := pair("id_ed25519", private, "admin@"+l.opts.Name)
	if err != nil {
		return nil, err
	}
	k := &keys{authorized: admin.public, host: map[string][]keyPair{}}
	var known strings.Builder
	for _, n := range nodes {
		hostKeys, err := hostKeys(n.Name)
		if err != nil {
			return nil, err
		}
		k.host[n.Name] = hostKeys
		known.WriteString(knownHosts(n, login, hostKeys[0].public))
	}
	return k, l.writeHome(admin, known.String(), sshConfig(nodes, login, l.Home()))
}

func (l *Lab) writeHome(admin keyPair, known, config string) error {
	dir := l.path("home", ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range []struct{ name, content string }{
		{admin.name, admin.private},
		{admin.name + ".pub", admin.public},
		{"known_hosts", known},
		{"config", config},
	} {
		if err := os.WriteFile(l.path("home", ".ssh", f.name), []byte(f.content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// hostKeys makes a node's host keys. The admin knows the first of them.
func hostKeys(node string) ([]keyPair, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	first, err := pair("ssh_host_ed25519_key", ed, "root@"+node)
	if err != nil {
		return nil, err
	}
	second, err := pair("ssh_host_ecdsa_key", ec, "root@"+node)
	return []keyPair{first, second}, err
}

func pair(name string, key crypto.Signer, comment string) (keyPair, error) {
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return keyPair{}, err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return keyPair{}, err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + comment + "\n"
	return keyPair{name: name, private: string(pem.EncodeToMemory(block)), public: line}, nil
}
