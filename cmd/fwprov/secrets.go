package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"fwprov/hcl"
)

// The variables of the environment that hold secrets, besides those of the
// inventory.
const (
	sudoPasswordEnv  = "FWPROV_SUDO_PASSWORD"
	agePassphraseEnv = "FWPROV_AGE_PASSPHRASE"
	ageIdentityEnv   = "FWPROV_AGE_IDENTITY" // files with : between them; no secret
)

// isSecretEnv reports whether a line of the environment is not for the programs
// that are started.
func isSecretEnv(line string) bool {
	name, _, _ := strings.Cut(line, "=")
	return name == sudoPasswordEnv || name == agePassphraseEnv || strings.HasPrefix(name, hcl.EnvPrefix)
}

// forgetSecrets takes the secrets out of the environment of this process once it
// has been read: out of what children inherit, and out of /proc/PID/environ. An
// error only means that they can still be seen there, by this user and root.
func forgetSecrets() error {
	for _, line := range os.Environ() {
		if isSecretEnv(line) {
			name, _, _ := strings.Cut(line, "=")
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	start, err := environStart()
	if err != nil {
		return err
	}
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	for line := range bytes.SplitSeq(environ, []byte{0}) {
		if name, value, _ := bytes.Cut(line, []byte("=")); isSecretEnv(string(line)) {
			if _, err := mem.WriteAt(bytes.Repeat([]byte("*"), len(value)), start+int64(len(name))+1); err != nil {
				return err
			}
		}
		start += int64(len(line)) + 1
	}
	return nil
}

// environStart is where the environment of this process lies in its memory: field
// env_start of proc_pid_stat(5).
func environStart() (int64, error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	const first, field = 3, 50 // what follows the name of the program
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= field-first {
		return 0, errors.New("/proc/self/stat has too few fields")
	}
	return strconv.ParseInt(string(fields[field-first]), 10, 64)
}

// sudoPassword is the password of sudo as it was given, nil if it was not.
func (w *world) sudoPassword(ctx context.Context, fd int) (*string, error) {
	if fd < 0 {
		if text := w.env(sudoPasswordEnv); text != "" {
			return &text, nil
		}
		return nil, nil
	}
	in := w.stdin
	if fd == 0 && w.inTerm {
		return nil, errors.New("--sudo-password-fd 0: what is typed there would be seen; without the flag it is asked for")
	}
	if fd > 0 {
		f := os.NewFile(uintptr(fd), "")
		if _, err := f.Stat(); err != nil {
			return nil, fmt.Errorf("--sudo-password-fd %d: no such file descriptor is open", fd)
		}
		defer f.Close() // what is started must not inherit it
		in = f
	}
	text, err := await(ctx, func() (string, error) { return firstLine(in) }, func() {})
	if err != nil {
		return nil, fmt.Errorf("--sudo-password-fd %d: %w", fd, err)
	}
	return &text, nil
}

// firstLine reads up to a newline and not a byte more.
func firstLine(in io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 4096 {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return string(line), nil
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF) && len(line) > 0:
			return string(line), nil
		case errors.Is(err, io.EOF):
			return "", errors.New("it is empty")
		case err != nil:
			return "", err
		}
	}
	return "", errors.New("its first line is too long for a password")
}

// ageKeys are the keys of function age_file. Somebody is asked only if may.
func (w *world) ageKeys(ctx context.Context, o options, may bool) *hcl.AgeKeys {
	home := w.env("HOME")
	k := &hcl.AgeKeys{Files: o.ageIdentities}
	if len(k.Files) == 0 {
		k.Files = strings.FieldsFunc(w.env(ageIdentityEnv), func(r rune) bool { return r == ':' })
	}
	for i, f := range k.Files {
		if rest, ok := strings.CutPrefix(f, "~/"); ok {
			k.Files[i] = filepath.Join(home, rest)
		}
	}
	config := w.env("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(home, ".config")
	}
	k.Usual = []string{filepath.Join(config, "fwprov", "age.txt"), filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(home, ".ssh", "id_rsa")}
	switch text := w.env(agePassphraseEnv); {
	case text != "":
		k.Passphrase = func(string) (string, error) { return text, nil }
	case may && w.canAsk():
		k.Passphrase = func(file string) (string, error) { return w.ask(ctx, "Passphrase of "+file+": ", true) }
	}
	return k
}

// What a run was given may be secret, whatever name it has. None of what holds it
// is ever printed; should somebody try, nothing is seen.

func (options) Format(f fmt.State, _ rune)  { _, _ = io.WriteString(f, "options") }
func (*world) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "world") }
func (*session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session") }
func (*trust) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "trust") }
