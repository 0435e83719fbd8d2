package hcl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"fwprov/inventories"
)

// AgeKeys are the keys that function age_file opens files with. Several readings
// may share one, so that a passphrase is asked for once.
type AgeKeys struct {
	Files []string // identity files of age, plain or encrypted with a passphrase, and private SSH keys (ed25519, RSA)
	Usual []string // tried where Files is empty; one that is not there or is of another kind is passed over
	// Passphrase is called for a file that takes one, with its name; nil where
	// there is none to be had.
	Passphrase func(file string) (string, error)

	mu    sync.Mutex
	asked map[string]inventories.Secret // by file
}

// errAsk says that a file opens only with a passphrase that may not be asked for.
var errAsk = errors.New("it takes a passphrase, and there is nobody to ask: put it into FWPROV_AGE_PASSPHRASE")

// open decrypts the age file src, armored or not, in memory. Errors name no
// content. One that wraps errAsk or *age.NoIdentityMatchError says that the right
// key is not there.
func (k *AgeKeys) open(name string, src []byte) ([]byte, error) {
	if k == nil {
		k = &AgeKeys{}
	}
	o := &opening{keys: k}
	ids, tried, err := o.identities()
	if err != nil {
		return nil, err
	}
	ids = append(ids, passphraseIdentity{o, name})
	var in io.Reader = bytes.NewReader(src)
	if bytes.HasPrefix(src, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, ids...)
	var none *age.NoIdentityMatchError
	switch {
	case o.err != nil:
		return nil, o.err // the library has flattened it
	case errors.As(err, &none):
		return nil, fmt.Errorf("no key here opens it (%s): name another with --age-identity: %w", tried, err)
	case err != nil:
		return nil, fmt.Errorf("it is no age file, or a damaged one: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(out, maxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is damaged: %w", err)
	case len(text) > maxSize:
		return nil, fmt.Errorf("it holds more than %d bytes", maxSize)
	}
	return text, nil
}

// opening is one attempt at a file.
type opening struct {
	keys *AgeKeys
	err  error // of the passphrase
}

// identities loads the keys, those that never ask first, and says which they are.
func (o *opening) identities() (ids []age.Identity, tried string, err error) {
	files, usual := o.keys.Files, len(o.keys.Files) == 0
	if usual {
		files = o.keys.Usual
	}
	var asking []age.Identity
	var names []string
	for _, path := range files {
		found, asks, err := o.identity(path)
		if usual && err != nil {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("key %s: %w", path, err)
		}
		names = append(names, path)
		if asks {
			asking = append(asking, found...)
		} else {
			ids = append(ids, found...)
		}
	}
	if tried = "there is none"; len(names) > 0 {
		tried = "tried " + strings.Join(names, ", ")
	}
	return append(ids, asking...), tried, nil
}

// identity reads one key file.
func (o *opening) identity(path string) (ids []age.Identity, asks bool, err error) {
	text, err := readFile(path)
	if err != nil {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(text, []byte("age-encryption.org/")), bytes.HasPrefix(text, []byte(armor.Header)):
		return []age.Identity{encryptedIdentities{o, path, text}}, true, nil
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		return o.sshIdentity(path, text)
	}
	ids, err = age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, false, errors.New("neither an identity file of age nor a private SSH key")
	}
	return ids, false, nil
}

func (o *opening) sshIdentity(path string, text []byte) (ids []age.Identity, asks bool, err error) {
	id, err := agessh.ParseIdentity(text)
	var missing *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return []age.Identity{id}, false, nil
	case !errors.As(err, &missing):
		return nil, false, errors.New("not a private SSH key of type ed25519 or RSA")
	}
	public := missing.PublicKey
	if public == nil { // the old format does not have it
		b, err := os.ReadFile(path + ".pub")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, fmt.Errorf("it is encrypted, and there is no %s.pub beside it", path)
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(b); err != nil {
			return nil, false, fmt.Errorf("%s.pub is no public key", path)
		}
	}
	id, err = agessh.NewEncryptedSSHIdentity(public, text, func() ([]byte, error) {
		s, err := o.passphrase(path)
		return []byte(s), err
	})
	if err != nil {
		return nil, false, errors.New("not a private SSH key of type ed25519 or RSA")
	}
	return []age.Identity{wrongPassphrase{o, path, id}}, true, nil
}

// passphrase asks for the passphrase of a file, once for all readings.
func (o *opening) passphrase(file string) (string, error) {
	k := o.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.asked[file]; ok {
		return s.Reveal(), nil
	}
	if k.Passphrase == nil {
		o.err = errAsk
		return "", o.err
	}
	text, err := k.Passphrase(file)
	if err == nil && text == "" {
		err = errors.New("an empty passphrase opens nothing")
	}
	if err != nil {
		o.err = fmt.Errorf("passphrase of %s: %w", file, err)
		return "", o.err
	}
	if k.asked == nil {
		k.asked = map[string]inventories.Secret{}
	}
	k.asked[file] = inventories.NewSecret(text)
	return text, nil
}

// wrong notes that a passphrase does not open what it is for.
func (o *opening) wrong(file string) error {
	if o.err == nil {
		o.err = fmt.Errorf("the passphrase of %s is not the one given", file)
	}
	return o.err
}

// passphraseIdentity opens a file that is encrypted with a passphrase.
type passphraseIdentity struct {
	o    *opening
	file string
}

// Unwrap asks only if the file takes a passphrase.
func (i passphraseIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, age.ErrIncorrectIdentity
	}
	text, err := i.o.passphrase(i.file)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(text)
	if err != nil {
		return nil, err
	}
	return wrongPassphrase{i.o, i.file, id}.Unwrap(stanzas)
}

// wrongPassphrase tells a wrong passphrase from a wrong key.
type wrongPassphrase struct {
	o    *opening
	file string
	age.Identity
}

func (i wrongPassphrase) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := i.Identity.Unwrap(stanzas)
	_, scrypt := i.Identity.(*age.ScryptIdentity)
	if err != nil && (scrypt || !errors.Is(err, age.ErrIncorrectIdentity)) {
		return nil, i.o.wrong(i.file)
	}
	return key, err
}

// encryptedIdentities is an identity file that is itself encrypted.
type encryptedIdentities struct {
	o    *opening
	file string
	text []byte
}

func (i encryptedIdentities) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	var in io.Reader = bytes.NewReader(i.text)
	if bytes.HasPrefix(i.text, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, passphraseIdentity{i.o, i.file})
	if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(out)
	if err != nil {
		i.o.err = fmt.Errorf("key %s: what is in it is no identity of age", i.file)
		return nil, i.o.err
	}
	for _, id := range ids {
		if key, err := id.Unwrap(stanzas); err == nil {
			return key, nil
		}
	}
	return nil, age.ErrIncorrectIdentity
}
