package remote

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// serveAgent runs an agent with some keys, each with its name for a comment.
func serveAgent(t *testing.T, keys map[string]any) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ring := agent.NewKeyring()
	var names []string
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ring.Add(agent.AddedKey{PrivateKey: keys[name], Comment: name}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				agent.ServeAgent(ring, conn)
				conn.Close()
			}()
		}
	}()
	return socket
}

// Which keys are offered, and in which order.
func TestKeysOffered(t *testing.T) {
	private, signers := map[string]any{}, map[string]ssh.Signer{}
	for name, kind := range map[string]string{"ed25519": "ed25519", "rsa": "rsa", "deploy": "ed25519", "locked": "ed25519", "a1": "ed25519", "a2": "rsa"} {
		private[name], signers[name] = newKey(t, kind)
	}
	for name, c := range map[string]struct {
		files    []string // in ~/.ssh; "locked" is encrypted
		agent    []string // nil: there is none
		conf     string
		identity string
		accepts  string
		tried    []string
		want     []string // parts of the error
	}{
		"the usual file":                     {files: []string{"id_ed25519=ed25519"}, accepts: "ed25519", tried: []string{"ed25519"}},
		"rsa":                                {files: []string{"id_rsa=rsa"}, accepts: "rsa", tried: []string{"rsa"}},
		"the second of the usual files":      {files: []string{"id_ed25519=ed25519", "id_rsa=rsa"}, accepts: "rsa", tried: []string{"ed25519", "rsa"}},
		"the agent goes before them":         {files: []string{"id_ed25519=ed25519"}, agent: []string{"a1"}, accepts: "ed25519", tried: []string{"a1", "ed25519"}},
		"rsa by the agent":                   {agent: []string{"a2"}, accepts: "a2", tried: []string{"a2"}},
		"a usual file that the agent has":    {files: []string{"id_ed25519=ed25519"}, agent: []string{"a1", "ed25519"}, accepts: "ed25519", tried: []string{"ed25519"}},
		"the inventory's file first":         {files: []string{"deploy=deploy", "id_ed25519=ed25519"}, agent: []string{"a1"}, identity: "~/.ssh/deploy", accepts: "deploy", tried: []string{"deploy"}},
		"then the agent, no usual file":      {files: []string{"deploy=deploy", "id_ed25519=ed25519"}, agent: []string{"a1"}, identity: "~/.ssh/deploy", accepts: "ed25519", tried: []string{"deploy", "a1"}, want: []string{"unable to authenticate", "/deploy (SHA256:", `agent key "a1"`}},
		"IdentitiesOnly":                     {files: []string{"deploy=deploy"}, agent: []string{"a1"}, conf: "IdentitiesOnly yes\nIdentityFile %d/.ssh/deploy", accepts: "a1", tried: []string{"deploy"}, want: []string{"unable to authenticate"}},
		"two files of ssh_config":            {files: []string{"deploy=deploy", "id_rsa=rsa"}, conf: "IdentityFile ~/.ssh/deploy\nIdentityFile ~/.ssh/id_rsa", accepts: "rsa", tried: []string{"deploy", "rsa"}},
		"encrypted, in the agent":            {files: []string{"locked=locked"}, agent: []string{"a1", "locked"}, identity: "~/.ssh/locked", accepts: "locked", tried: []string{"locked"}},
		"encrypted, not in the agent":        {files: []string{"locked=locked"}, agent: []string{}, identity: "~/.ssh/locked", accepts: "locked", want: []string{"no key was there to be tried", "locked is encrypted", "ssh-add", "the agent has no key"}},
		"no such file":                       {identity: "~/.ssh/deploy", accepts: "deploy", want: []string{"deploy: no such file", "there is no agent"}},
		"not a key":                          {files: []string{"deploy="}, identity: "~/.ssh/deploy", accepts: "deploy", want: []string{"deploy is not a private key"}},
		"IdentityAgent none":                 {agent: []string{"a1"}, conf: "IdentityAgent none", accepts: "a1", want: []string{"no key was there"}},
		"public key only, the rest by agent": {files: []string{"deploy.pub=deploy"}, agent: []string{"a1", "deploy"}, identity: "~/.ssh/deploy", accepts: "deploy", tried: []string{"deploy"}},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			st.delay = 0
			t.Cleanup(st.end)
			if err := os.Remove(st.home + "/.ssh/id_ed25519"); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.files {
				file, key, _ := strings.Cut(f, "=")
				path := filepath.Join(st.home, ".ssh", file)
				switch {
				case key == "":
					write(t, path, "this is no key")
				case strings.HasSuffix(file, ".pub"):
					write(t, path, string(ssh.MarshalAuthorizedKey(signers[key].PublicKey())))
				case key == "locked":
					writeKey(t, path, private[key], "secret")
				default:
					writeKey(t, path, private[key], "")
				}
			}
			if c.agent != nil {
				keys := map[string]any{}
				for _, k := range c.agent {
					keys[k] = private[k]
				}
				st.opts.AgentSocket = serveAgent(t, keys)
			}
			st.opts.ConfigFile = st.home + "/config"
			write(t, st.opts.ConfigFile, c.conf+"\n")
			st.target.IdentityFile = c.identity
			st.users["root"] = signers[c.accepts].PublicKey()

			client, err := Dial(t.Context(), st.target, st.opts)
			if err == nil {
				client.Close()
			}
			if len(c.want) > 0 {
				wantError(t, err, append(c.want, "node fw01: log in to 192.0.2.1:22 as root")...)
			} else if err != nil {
				t.Error(err)
			}
			var tried []string
			for _, k := range c.tried {
				tried = append(tried, ssh.FingerprintSHA256(signers[k].PublicKey()))
			}
			st.end()
			if !slices.Equal(st.tried, tried) {
				t.Errorf("tried %q, want %q", st.tried, tried)
			}
		})
	}
}

func TestCertificate(t *testing.T) {
	_, ca := newKey(t, "ed25519")
	bubble(t, func(t *testing.T, st *site) {
		key, err := readKeyFile(st.home + "/.ssh/id_ed25519")
		if err != nil {
			t.Fatal(err)
		}
		cert := &ssh.Certificate{Key: key.public, CertType: ssh.UserCert, ValidPrincipals: []string{"root"}, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		write(t, st.home+"/.ssh/id_ed25519-cert.pub", string(ssh.MarshalAuthorizedKey(cert)))
		st.ca, st.users = ca.PublicKey(), nil
		st.connect(t).Close()
	})
}

// An agent that does not answer, such as one that waits for its user, costs no more
// than the time for a login.
func TestAgentDoesNotAnswer(t *testing.T) {
	st := newSite(t)
	st.delay = 0
	t.Cleanup(st.end)
	st.opts.AgentSocket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", st.opts.AgentSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// With a key file the login might still succeed in the last moment.
	if err := os.Remove(st.home + "/.ssh/id_ed25519"); err != nil {
		t.Fatal(err)
	}
	st.opts.Timeout = 50 * time.Millisecond
	_, err = Dial(t.Context(), st.target, st.opts)
	wantError(t, err, "node fw01: ")
}

func TestNoAgentAtSocket(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.opts.AgentSocket = st.home + "/gone"
		st.connect(t).Close()
		st.users = nil
		_, err := Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "could not use: agent: dial unix "+st.home+"/gone")
	})
}
