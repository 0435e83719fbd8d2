package remote

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func controlPaths(t *testing.T, conf, home string, target Target) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, conf)
	r, err := newResolver(Options{HomeDir: home, ConfigFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return r.controlPaths(target)
}

func TestControlPaths(t *testing.T) {
	t.Setenv("FW_DIR", "/run/fw")
	fw01 := Target{Host: "fw01"}
	for name, c := range map[string]struct {
		conf   string
		target Target
		want   []string
	}{
		"none there":              {"User x", fw01, nil},
		"none":                    {"ControlPath none", fw01, nil},
		"as ssh(1) has it":        {"ControlPath ~/.ssh/%r@%h:%p", fw01, []string{"/home/.ssh/root@fw01:22"}},
		"ssh_config":              {"Host fw*\nHostName %h.Example.com\nUser me\nPort 2222\nControlPath /s/%r@%h:%p-%n", Target{Host: "FW01"}, []string{"/s/me@fw01.example.com:2222-FW01"}},
		"the inventory wins":      {"User me\nPort 2222\nControlPath /s/%r@%h:%p", Target{Host: "fw01", User: "ops", Port: 23, IdentityFile: "~/k"}, []string{"/s/ops@fw01:23"}},
		"environment and percent": {"ControlPath ${FW_DIR}/%%h%n%p%r", fw01, []string{"/run/fw/%hfw0122root"}},
		"quoted":                  {"ControlPath \"/my s/%h%p%r\"", fw01, []string{"/my s/fw0122root"}},
		"jump host":               {"ProxyJump a,me@b:22\nControlPath /s/%j-%h%p%r", fw01, []string{"/s/b-fw0122root"}},
		"no jump host":            {"ProxyJump none\nControlPath /s/%j-%h%p%r", fw01, []string{"/s/-fw0122root"}},
		"key's name":              {"HostKeyAlias pair\nControlPath /s/%k%h%p%r", fw01, []string{"/s/pairfw0122root"}},
		"first one wins":          {"Host fw01\nControlPath none\nHost *\nControlPath /s/%C", fw01, nil},

		"all nodes alike":         {"ControlPath ~/.ssh/master", fw01, nil},
		"all ports alike":         {"ControlPath ~/.ssh/%r@%h", fw01, nil},
		"all users alike":         {"ControlPath ~/.ssh/%h:%p%%r", fw01, nil},
		"unknown token":           {"ControlPath /s/%C%K", fw01, nil},
		"no such variable":        {"ControlPath ${FW_NOT_SET}/%C", fw01, nil},
		"known_hosts elsewhere":   {"ControlPath /s/%C", Target{Host: "fw01", KnownHosts: "~/kh"}, nil},
		"jump host elsewhere":     {"ControlPath /s/%C", Target{Host: "fw01", ProxyJump: "a"}, nil},
		"no host":                 {"ControlPath /s/%C", Target{}, nil},
		"a Match we do not know":  {"Match exec true\nControlPath /s/%C", fw01, nil},
		"what we cannot use else": {"IdentityFile %C\nProxyCommand nc %h %p\nControlPath /s/%h%p%r", fw01, []string{"/s/fw0122root"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, controlPaths(t, c.conf, "/home", c.target)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := len(controlPaths(t, "ProxyJump a\nControlPath /s/%C", "/home", fw01)); n != 2 {
		t.Errorf("%d sockets behind a jump host, want that of old and of new ssh", n)
	}
}

// The socket is the one that ssh on this machine would use.
func TestControlPathsAreThoseOfSSH(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("there is no ssh to compare with: install openssh-client")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"%C", "~/%C", "%d/%h%p%r", "%L-%l-%n-%h-%p-%r-%i-%u-%k"} {
		for _, more := range []string{"", "HostName %h.Example.com\nPort 2222\n", "ProxyJump you@bastion:22\nHostKeyAlias pair\n"} {
			conf := more + "ControlPath " + path + "\n"
			file := filepath.Join(t.TempDir(), "config")
			write(t, file, conf)
			out, err := exec.Command(ssh, "-G", "-F", file, "root@Fw01").Output()
			if err != nil {
				t.Fatalf("%s: %v", conf, err)
			}
			_, want, _ := strings.Cut(string(out), "\ncontrolpath ")
			want, _, _ = strings.Cut(want, "\n")
			found := false
			for _, got := range controlPaths(t, conf, me.HomeDir, Target{Host: "Fw01"}) {
				found = found || got == want
			}
			if !found {
				t.Errorf("%q: got %q, want %s", conf, controlPaths(t, conf, me.HomeDir, Target{Host: "Fw01"}), want)
			}
		}
	}
}

// A socket that somebody else has made, or may write to, is nobody's.
func TestTrusted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	mode := func(m os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
	mode(0o600)
	if err := trusted(path); err != nil {
		t.Error(err)
	}
	for _, m := range []os.FileMode{0o620, 0o602, 0o777} {
		mode(m)
		wantError(t, trusted(path), "others may write")
	}
	mode(0o600)
	wantError(t, trusted(filepath.Dir(path)), "is not a socket")
	wantError(t, trusted(path+"x"), "no such file")
	if os.Getuid() != 0 {
		t.Skip("only root can make a socket of somebody else's")
	}
	if err := os.Chown(path, 65534, 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, trusted(path), "belongs to somebody else")

	// The file is ours, and yet somebody else listens.
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with this function
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		done <- syscall.Listen(fd, 1)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := trusted(path); err != nil {
		t.Error(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantError(t, trustedPeer(conn.(*net.UnixConn)), "somebody else listens")
	_, err = (&master{path: path}).connect(t.Context())
	wantError(t, err, "somebody else listens")
}
