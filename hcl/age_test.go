package hcl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"fwprov/inventories"
)

// vault is a folder with an inventory whose password comes from an encrypted
// file, and keys of every kind.
type vault struct {
	t    *testing.T
	dir  string
	key  *age.X25519Identity
	recs map[string]age.Recipient
}

const secretText = "# of the pair\nvrrp_password = \"Xq7mZr2k\"\n"

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{t: t, dir: t.TempDir(), recs: map[string]age.Recipient{}}
	var err error
	if v.key, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	v.recs["age"] = v.key.Recipient()
	v.write("age.txt", []byte("# created: today\n"+v.key.String()+"\n"))
	v.sshKey("id_ed25519", "")
	v.sshKey("locked", "open sesame")
	v.recs["pass"] = v.passphrase("open sesame")
	v.encrypt("locked.age", v.recs["pass"], []byte(v.key.String()+"\n"))
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	v.write("other.txt", []byte(other.String()+"\n"))
	_, ec := mustKey(t, "ecdsa")
	v.writeSSH("id_ecdsa", ec, "")
	return v
}

func (v *vault) path(name string) string { return filepath.Join(v.dir, name) }

func (v *vault) write(name string, text []byte) {
	v.t.Helper()
	if err := os.WriteFile(v.path(name), text, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

func mustKey(t *testing.T, kind string) (ssh.PublicKey, crypto.PrivateKey) {
	t.Helper()
	var private crypto.Signer
	var err error
	if kind == "ecdsa" {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func (v *vault) sshKey(name, passphrase string) {
	v.t.Helper()
	public, private := mustKey(v.t, "ed25519")
	v.writeSSH(name, private, passphrase)
	var err error
	if v.recs[name], err = agessh.NewEd25519Recipient(public); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vault) writeSSH(name string, private crypto.PrivateKey, passphrase string) {
	v.t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		v.t.Fatal(err)
	}
	v.write(name, pem.EncodeToMemory(block))
}

func (v *vault) passphrase(text string) age.Recipient {
	v.t.Helper()
	r, err := age.NewScryptRecipient(text)
	if err != nil {
		v.t.Fatal(err)
	}
	r.SetWorkFactor(10)
	return r
}

// encrypt writes an encrypted file; one whose name has "armored" in it as text.
func (v *vault) encrypt(name string, to age.Recipient, text []byte) {
	v.t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&b, io.NopCloser(&b)}
	if strings.Contains(name, "armored") {
		out = armor.NewWriter(&b)
	}
	w, err := age.Encrypt(out, to)
	if err == nil {
		_, err = w.Write(text)
	}
	if err := errors.Join(err, w.Close(), out.Close()); err != nil {
		v.t.Fatal(err)
	}
	v.write(name, b.Bytes())
}

// calling is the guide's inventory with the password that an expression gives.
func calling(expr string) []byte {
	src := string(inventories.Guide)
	from := strings.Index(src, "variable ")
	to := from + strings.Index(src[from:], "\n}\n")
	return []byte(src[:from] + strings.Replace(src[to+3:], "= var.vrrp_password", "= "+expr, 1))
}

// load reads it, and fails if a secret is in anything that is said.
func (v *vault) load(call string, opts Options) (*inventories.Pair, string) {
	v.t.Helper()
	pair, source, diags := Parse(calling(call), v.path("pair.hcl"), opts)
	out := say(v.t, source, diags)
	for _, text := range []string{out, fmt.Sprintf("%+v %+v %#v", pair, source, opts)} {
		if strings.Contains(text, "Xq7mZr2k") || strings.Contains(text, "sesame") {
			v.t.Errorf("said:\n%s", text)
		}
	}
	return pair, out
}

func TestAgeFile(t *testing.T) {
	v := newVault(t)
	for name, to := range map[string]string{
		"age.age": "age", "armored.age": "age", "ssh.age": "id_ed25519", "locked-ssh.age": "locked", "pass.age": "pass", "armored-pass.age": "pass",
	} {
		v.encrypt(name, v.recs[to], []byte(secretText))
	}
	v.encrypt("broken.age", v.recs["age"], []byte("a = 1\nXq7mZr2k\n"))
	v.encrypt("block.age", v.recs["age"], []byte("a = 1\nXq7mZr2k {\n}\n"))
	v.encrypt("other.age", v.recs["age"], []byte("a = 1\nb = var.Xq7mZr2k\n"))
	v.encrypt("list.age", v.recs["age"], []byte("vrrp_password = [\"Xq7mZr2k\"]\n"))
	v.write("plain.age", []byte(secretText))
	armored, _ := os.ReadFile(v.path("armored.age"))
	v.write("damaged-armored.age", bytes.Replace(armored, []byte("AGE ENCRYPTED FILE-----\n"), []byte("AGE ENCRYPTED FILE-----\nAAAA"), 1))
	sealed, _ := os.ReadFile(v.path("age.age"))
	v.write("cut.age", sealed[:len(sealed)-5])

	for _, tt := range []struct {
		name, file string
		keys       []string
		usual      []string
		pass       string // what is answered, "" for nobody to ask
		asked      string // about which file
		want       string // in the error, "" for none
		unknown    bool   // whether a key or passphrase is all that is missing
	}{
		{name: "key", file: "age.age", keys: []string{"age.txt"}},
		{name: "armored", file: "armored.age", keys: []string{"other.txt", "age.txt"}},
		{name: "the usual keys", file: "age.age", usual: []string{"none.txt", "id_ecdsa", "plain.age", "age.txt"}},
		{name: "SSH key", file: "ssh.age", keys: []string{"age.txt", "id_ed25519"}},
		{name: "SSH key with a passphrase", file: "locked-ssh.age", keys: []string{"locked"}, pass: "open sesame", asked: "locked"},
		{name: "key file with a passphrase", file: "age.age", keys: []string{"locked.age"}, pass: "open sesame", asked: "locked.age"},
		{name: "passphrase", file: "pass.age", keys: []string{"locked"}, pass: "open sesame", asked: "pass.age"},
		{name: "armored passphrase", file: "armored-pass.age", pass: "open sesame", asked: "armored-pass.age"},
		{name: "nothing is asked that does not help", file: "age.age", keys: []string{"locked.age", "locked", "age.txt"}, pass: "open sesame"},

		{name: "no key", file: "age.age", want: "no key here opens it (there is none): name another with --age-identity", unknown: true},
		{name: "wrong key", file: "age.age", keys: []string{"other.txt", "locked"}, want: "no key here opens it (tried DIR/other.txt, DIR/locked)", unknown: true},
		{name: "wrong passphrase", file: "pass.age", pass: "hello", asked: "pass.age", want: "the passphrase of DIR/pass.age is not the one given"},
		{name: "wrong passphrase of an SSH key", file: "locked-ssh.age", keys: []string{"locked"}, pass: "hello", asked: "locked", want: "the passphrase of DIR/locked is not the one given"},
		{name: "nobody to ask", file: "pass.age", want: "it takes a passphrase, and there is nobody to ask: put it into FWPROV_AGE_PASSPHRASE", unknown: true},
		{name: "nobody to ask about a key", file: "age.age", keys: []string{"locked.age"}, want: "nobody to ask", unknown: true},
		{name: "no such key", file: "age.age", keys: []string{"none.txt"}, want: "key DIR/none.txt: there is no file DIR/none.txt"},
		{name: "a key that is none", file: "age.age", keys: []string{"plain.age"}, want: "key DIR/plain.age: neither an identity file of age nor a private SSH key"},
		{name: "an SSH key of another type", file: "age.age", keys: []string{"id_ecdsa"}, want: "key DIR/id_ecdsa: not a private SSH key of type ed25519 or RSA"},
		{name: "no such file", file: "none.age", want: "there is no file DIR/none.age"},
		{name: "not encrypted", file: "plain.age", keys: []string{"age.txt"}, want: "DIR/plain.age: it is no age file, or a damaged one"},
		{name: "damaged", file: "damaged-armored.age", keys: []string{"age.txt"}, want: "it is no age file, or a damaged one"},
		{name: "cut off", file: "cut.age", keys: []string{"age.txt"}, want: "damaged"},
		{name: "not lines", file: "broken.age", keys: []string{"age.txt"}, want: "DIR/broken.age: its line 2 is not of the form name = \"value\""},
		{name: "a block", file: "block.age", keys: []string{"age.txt"}, want: "its line 2 is not"},
		{name: "a reference", file: "other.age", keys: []string{"age.txt"}, want: "its line 2 is not"},
		{name: "a list", file: "list.age", keys: []string{"age.txt"}, want: "its line 1 is not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := *v
			v.t = t
			in := func(names []string) (out []string) {
				for _, n := range names {
					out = append(out, v.path(n))
				}
				return out
			}
			var asked []string
			keys := &AgeKeys{Files: in(tt.keys), Usual: in(tt.usual)}
			if tt.pass != "" {
				keys.Passphrase = func(file string) (string, error) {
					asked = append(asked, strings.TrimPrefix(file, v.dir+"/"))
					return tt.pass, nil
				}
			}
			call := fmt.Sprintf("age_file(%q, \"vrrp_password\")", tt.file)
			for range 2 { // the second time nothing is asked
				pair, out := v.load(call, Options{Age: keys})
				want := strings.ReplaceAll(tt.want, "DIR", v.dir)
				switch {
				case want == "" && (pair == nil || pair.VRRP.Password.Reveal() != "Xq7mZr2k"):
					t.Errorf("not read:\n%s", out)
				case want != "" && (pair != nil || !strings.Contains(out, want)):
					t.Errorf("want %s in\n%s", want, out)
				}
			}
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("asked about %q, want %q", got, tt.asked)
			}
			pair, out := v.load(call, Options{Age: keys, AllowUnknown: true})
			if (pair != nil) != (tt.want == "" || tt.unknown) {
				t.Errorf("where a value may be unknown:\n%s", out)
			}
		})
	}
}

// A value of an encrypted file is sensitive, also while it is not known.
func TestAgeFileIsSensitive(t *testing.T) {
	v := newVault(t)
	v.encrypt("s.age", v.recs["age"], []byte(secretText+"domain = \"example.com\"\n"))
	keys := &AgeKeys{Files: []string{v.path("age.txt")}}
	call := `age_file("s.age", "vrrp_password")`
	for _, opts := range []Options{{Age: keys}, {AllowUnknown: true}, {Age: keys, AllowUnknown: true}} {
		src := bytes.Replace(calling(call), []byte(`"example.com"`), []byte(`age_file("s.age", "domain")`), 1)
		pair, source, diags := Parse(src, v.path("pair.hcl"), opts)
		if out := say(t, source, diags); pair != nil || !strings.Contains(out, "A sensitive value in domain would be shown") {
			t.Errorf("%v", out)
		}
	}
	if pair, out := v.load(`age_file("s.age", "no_such")`, Options{Age: keys}); pair != nil || !strings.Contains(out, "s.age has no line `no_such = ...`") {
		t.Errorf("%v", out)
	}
	if pair, out := v.load(`upper(`+call+`)`, Options{Age: keys}); pair == nil || pair.VRRP.Password.Reveal() != "XQ7MZR2K" {
		t.Errorf("%v", out)
	}
	unknown := append(calling(`age_file(var.where, "x")`), "variable \"where\" {\n}\n"...)
	if pair, source, diags := Parse(unknown, v.path("pair.hcl"), Options{AllowUnknown: true}); pair == nil {
		t.Errorf("the name of the file is not known:\n%v", say(t, source, diags))
	}
	if pair, out := v.load(`"${`+call+`}toolong"`, Options{Age: keys}); pair != nil || !strings.Contains(out, "8") {
		t.Errorf("a password that is too long: %v", out)
	}
	// The value is censored wherever else it turns up.
	_, source, _ := Parse(calling(call), v.path("pair.hcl"), Options{Age: keys})
	if got := source.Censor("line 3: unknown word Xq7mZr2k!"); got != "line 3: unknown word (sensitive)!" {
		t.Error(got)
	}
}
