package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func keyText(k ssh.PublicKey) string {
	return k.Type() + " " + base64.StdEncoding.EncodeToString(k.Marshal())
}

func TestHostKeys(t *testing.T) {
	_, ed := newKey(t, "ed25519")
	_, ec := newKey(t, "ecdsa")
	_, rsa := newKey(t, "rsa")
	_, other := newKey(t, "ed25519")
	_, ca := newKey(t, "ed25519")
	cert := hostCert(t, ca, ed, "192.0.2.1")
	all := []ssh.Signer{ec, rsa, ed}
	for name, c := range map[string]struct {
		shows []ssh.Signer
		known string // known_hosts, with KEY for the ed25519 key
		conf  string
		port  int
		want  string // type or part of the error
	}{
		"known by ed25519 among others": {shows: all, known: "192.0.2.1 ED"},
		"known by rsa among others":     {shows: all, known: "192.0.2.1 RSA"},
		"known by ecdsa among others":   {shows: all, known: "192.0.2.1 EC"},
		"several lines":                 {shows: all, known: "# mine\n\n192.0.2.1 OTHER\n192.0.2.1 ED # comment"},
		"hashed":                        {shows: all, known: "HASHED ED"},
		"port":                          {shows: all, known: "[192.0.2.1]:2222 ED", port: 2222},
		"another port":                  {shows: all, known: "192.0.2.1 ED", port: 2222, want: "unknown"},
		"pattern":                       {shows: all, known: "192.0.2.* ED"},
		"pattern on another port":       {shows: all, known: "192.0.2.* ED", port: 2222},
		"alias":                         {shows: all, known: "firewall ED", conf: "HostKeyAlias firewall", port: 2222},
		"two files":                     {shows: all, known: "x ED", conf: "UserKnownHostsFile none ~/.ssh/known_hosts %d/.ssh/more"},
		"no file":                       {shows: all, conf: "UserKnownHostsFile /dev/null", want: "unknown"},
		"StrictHostKeyChecking no":      {shows: all, conf: "StrictHostKeyChecking no", want: "unknown"},
		"unknown":                       {shows: all, known: "192.0.2.2 ED", want: "unknown"},
		"empty":                         {shows: all, want: "unknown"},
		"changed":                       {shows: []ssh.Signer{ed}, known: "192.0.2.1 OTHER", want: "changed"},
		"known by a type it lost":       {shows: []ssh.Signer{ed}, known: "192.0.2.1 RSA", want: "changed"},
		"revoked":                       {shows: []ssh.Signer{ed}, known: "192.0.2.1 ED\n@revoked * ED", want: "revoked"},
		"certificate":                   {shows: []ssh.Signer{ed, cert}, known: "@cert-authority 192.0.2.* CA"},
		"certificate of another CA":     {shows: []ssh.Signer{cert}, known: "@cert-authority 192.0.2.* OTHER", want: "192.0.2.1"},
		"certificate of another host":   {shows: []ssh.Signer{hostCert(t, ca, ed, "fw02")}, known: "@cert-authority * CA", want: "192.0.2.1"},
		"broken line":                   {shows: all, known: "192.0.2.1 ED\nwhat is this", want: "known_hosts:2"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				st.hostKeys = c.shows
				text := strings.NewReplacer("HASHED", knownhosts.HashHostname("192.0.2.1"), "ED", keyText(ed.PublicKey()), "EC", keyText(ec.PublicKey()), "RSA", keyText(rsa.PublicKey()),
					"OTHER", keyText(other.PublicKey()), "CA", keyText(ca.PublicKey())).Replace(c.known)
				write(t, st.home+"/.ssh/known_hosts", text+"\n")
				write(t, st.home+"/.ssh/more", "192.0.2.1 "+keyText(ed.PublicKey())+"\n")
				st.opts.ConfigFile = st.home + "/config"
				write(t, st.opts.ConfigFile, c.conf+"\n")
				if c.port != 0 {
					st.target.Port = c.port
					st.servers["192.0.2.1:2222"] = st.server
				}
				client, err := Dial(t.Context(), st.target, st.opts)
				if err == nil {
					client.Close()
				}
				var unknown *HostKeyUnknownError
				var changed *HostKeyChangedError
				switch {
				case c.want == "" && err != nil, c.want == "unknown" && !errors.As(err, &unknown), c.want == "changed" && !errors.As(err, &changed):
					t.Errorf("got %v, want %q", err, c.want)
				case c.want == "unknown":
					if unknown.Fingerprint != ssh.FingerprintSHA256(ed.PublicKey()) || !strings.Contains(unknown.Line, keyText(ed.PublicKey())) {
						t.Errorf("%+v does not show the ed25519 key", unknown)
					}
				case c.want == "changed":
					wantError(t, err, "node fw01: ", ssh.FingerprintSHA256(ed.PublicKey()), "ssh-keygen -R 192.0.2.1 -f "+st.home+"/.ssh/known_hosts")
				case c.want != "":
					wantError(t, err, c.want)
				}
			})
		})
	}
}

func hostCert(t *testing.T, ca, key ssh.Signer, host string) ssh.Signer {
	t.Helper()
	c := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{host}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The hook is asked about an unknown host, and never about one that has changed.
func TestOnUnknownHost(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		path := st.home + "/.ssh/known_hosts"
		known, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "")
		asked, answer := 0, error(nil)
		st.opts.OnUnknownHost = func(_ context.Context, e *HostKeyUnknownError) error {
			asked++
			if e.Host != "192.0.2.1" || e.KnownHosts != path || e.Line+"\n" != string(known) {
				t.Errorf("asked about %+v", e)
			}
			return answer
		}
		st.connect(t).Close()
		answer = errors.New("not mine")
		_, err = Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "node fw01: not mine")
		_, other := newKey(t, "ed25519")
		write(t, path, "192.0.2.1 "+keyText(other.PublicKey())+"\n")
		var changed *HostKeyChangedError
		if _, err = Dial(t.Context(), st.target, st.opts); !errors.As(err, &changed) || asked != 2 {
			t.Errorf("got %v, asked %d times", err, asked)
		}
	})
}

// An answer that takes too long does not make Dial hang.
func TestOnUnknownHostIsSlow(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		write(t, st.home+"/.ssh/known_hosts", "")
		st.opts.OnUnknownHost = func(ctx context.Context, _ *HostKeyUnknownError) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		begin := time.Now()
		_, err := Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "no answer within 15s")
		if d := time.Since(begin); d != 15*time.Second {
			t.Errorf("after %s", d)
		}
	})
}

// The inventory's file stands in for the user's, for the node and for jump hosts.
func TestKnownHostsOfTheInventory(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.jumpHost(t)
		path := st.home + "/.ssh/known_hosts"
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, st.home+"/project", string(text))
		st.target.KnownHosts = "~/project"
		write(t, path, "10.0.0.1 "+keyText(st.hostKeys[0].PublicKey())+"\n")
		st.connect(t).Close()
		write(t, st.home+"/project", string(bytes.ReplaceAll(text, []byte("10.0.0.1"), []byte("10.0.0.2"))))
		var unknown *HostKeyUnknownError
		if _, err = Dial(t.Context(), st.target, st.opts); !errors.As(err, &unknown) || unknown.KnownHosts != st.home+"/project" {
			t.Errorf("got %v", err)
		}
	})
}

// A host that was made known is known from then on, by the file that ssh uses,
// and what the file had before is left as it was.
func TestRemember(t *testing.T) {
	for name, c := range map[string]struct {
		conf, before string
		port         int
		hashed       bool
	}{
		"no file":             {},
		"hashed":              {conf: "HashKnownHosts yes", before: "other ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIBL/Z8YB7+cnj4gWg8pm5n6M3Q6zT4jKD3B4LGlpqsp\n", hashed: true},
		"not hashed":          {conf: "HashKnownHosts no"},
		"no newline at end":   {before: "# mine"},
		"another port":        {port: 2222},
		"hashed, with port":   {conf: "HashKnownHosts yes", port: 2222, hashed: true},
		"alias":               {conf: "HostKeyAlias firewall"},
		"folder is missing":   {conf: "UserKnownHostsFile ~/.ssh/hosts/known"},
		"second of two files": {conf: "UserKnownHostsFile ~/.ssh/mine ~/.ssh/known_hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *site) {
				path := st.home + "/.ssh/known_hosts"
				os.Remove(path)
				if c.before != "" {
					write(t, path, c.before)
				}
				st.opts.ConfigFile = st.home + "/config"
				write(t, st.opts.ConfigFile, c.conf+"\n")
				if st.target.Port = c.port; c.port != 0 {
					st.servers["192.0.2.1:2222"] = st.server
				}
				_, err := Dial(t.Context(), st.target, st.opts)
				var unknown *HostKeyUnknownError
				if !errors.As(err, &unknown) {
					t.Fatalf("got %v", err)
				}
				if err := unknown.Remember(); err != nil {
					t.Fatal(err)
				}
				st.connect(t).Close()
				text, err := os.ReadFile(unknown.KnownHosts)
				if err != nil || !strings.HasPrefix(string(text), c.before) || strings.HasPrefix(unknown.Line, "|1|") != c.hashed {
					t.Errorf("%s has %q, %v", unknown.KnownHosts, text, err)
				}
				if c.hashed && strings.Contains(string(text), "192.0.2.1") {
					t.Errorf("the name is not hashed: %q", text)
				}
				// Another key of the same host is refused now.
				_, other := newKey(t, "ed25519")
				st.hostKeys = []ssh.Signer{other}
				var changed *HostKeyChangedError
				if _, err := Dial(t.Context(), st.target, st.opts); !errors.As(err, &changed) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
	e := &HostKeyUnknownError{Host: "fw01"}
	wantError(t, e.Remember(), "names no known_hosts file")
	e.KnownHosts = "/proc/nowhere/known_hosts"
	wantError(t, e.Remember(), "keep the host key of fw01")
}

// What was read of known_hosts is kept as long as the files are as they were.
func TestKnownHostsAreKept(t *testing.T) {
	_, key := newKey(t, "ed25519")
	_, other := newKey(t, "ed25519")
	file, missing := t.TempDir()+"/known_hosts", t.TempDir()+"/more"
	write(t, file, "fw01 "+keyText(key.PublicKey())+"\n")
	h := hop{host: "fw01", port: 22, knownHosts: []string{file, missing}}
	var known KnownHosts
	read := func() *hostKeys {
		k, err := newHostKeys(h, &known)
		if err != nil {
			t.Error(err)
		}
		return k
	}
	first := read()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k := read()
			if err := k.check(key.PublicKey()); err != nil || k.db != first.db {
				t.Errorf("%v, read again: %v", err, k.db != first.db)
			}
		})
	}
	wg.Wait()
	for i, change := range []func(){
		func() { write(t, file, "fw01 "+keyText(other.PublicKey())+" # another key\n") },
		func() { write(t, missing, "fw02 "+keyText(key.PublicKey())+"\n") },
		func() { write(t, file, "broken") },
	} {
		before := known.kept
		change()
		k, err := newHostKeys(h, &known)
		if broken := i == 2; broken != (err != nil) || !broken && k.db == first.db {
			t.Errorf("change %d of %v: %v, not read again: %v", i, before, err, k != nil && k.db == first.db)
		}
		if i == 0 && k.check(key.PublicKey()) == nil {
			t.Error("the key that is no longer there was accepted")
		}
	}
}
