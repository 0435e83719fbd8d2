package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// describe tells a route in one line a hop.
func describe(hops []hop) string {
	var b strings.Builder
	for _, h := range hops {
		fmt.Fprintf(&b, "%s@%s", h.user, h.addr())
		if h.explicit {
			fmt.Fprintf(&b, " ids=%s", strings.Join(h.identities, ","))
		}
		if h.agent != "" {
			fmt.Fprintf(&b, " agent=%s", h.agent)
		}
		if h.timeout != 0 {
			fmt.Fprintf(&b, " timeout=%s", h.timeout)
		}
		if len(h.skipped) > 0 {
			fmt.Fprintf(&b, " skipped=%s", strings.Join(h.skipped, ","))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestRoute(t *testing.T) {
	t.Setenv("FW_DIR", "/keys")
	t.Setenv("FW_AGENT", "/run/agent")
	for name, c := range map[string]struct {
		conf   string
		target Target
		want   string // with ~ for the home folder
	}{
		"defaults":              {"", Target{Host: "fw01"}, "root@fw01:22\n"},
		"ssh_config":            {"Host fw*\n  HostName %h.example.com\n  User admin\n  Port 2222\n", Target{Host: "fw01"}, "admin@fw01.example.com:2222\n"},
		"the inventory wins":    {"Host *\n User admin\n Port 2222\n", Target{Host: "fw01", User: "root", Port: 22}, "root@fw01:22\n"},
		"the first value wins":  {"Host fw01\n User one\nHost *\n User two\n Port 23\n", Target{Host: "fw01"}, "one@fw01:23\n"},
		"negated":               {"Host * !fw01\n User one\n", Target{Host: "fw01"}, "root@fw01:22\n"},
		"odd notation":          {"HOST\t\"fw01\"\tx # c\n\tuSeR = \"admin\"\n\tPort=23 # telnet\r\n", Target{Host: "FW01"}, "admin@FW01:23\n"},
		"IPv6":                  {"", Target{Host: "2001:db8::1"}, "root@[2001:db8::1]:22\n"},
		"identity files":        {"IdentityFile %d/.ssh/%r@%h:%p\nHost fw01\nIdentityFile ~/k%%\nIdentityFile ${FW_DIR}/k\n", Target{Host: "fw01", IdentityFile: "~/i"}, "root@fw01:22 ids=~/i,~/.ssh/root@fw01:22,~/k%,/keys/k\n"},
		"no identity file":      {"IdentityFile none", Target{Host: "fw01"}, "root@fw01:22 ids=\n"},
		"agent":                 {"Host a\nIdentityAgent $FW_AGENT\nHost b\nIdentityAgent ~/agent", Target{Host: "a", ProxyJump: "u@b"}, "u@b:22 agent=~/agent\nroot@a:22 agent=/run/agent\n"},
		"timeout":               {"Host a\nConnectTimeout 3\nHost *\nConnectTimeout none", Target{Host: "b", ProxyJump: "u@a"}, "u@a:22 timeout=3s\nroot@b:22\n"},
		"no newline at the end": {"Host fw01\nUser x", Target{Host: "fw01"}, "x@fw01:22\n"},

		"jumps":                  {"Host bastion\n User me\n Port 2200\n HostName b.example.com\n", Target{Host: "fw01", ProxyJump: "bastion,you@[2001:db8::2]:23"}, "me@b.example.com:2200\nyou@[2001:db8::2]:23\nroot@fw01:22\n"},
		"jump in ssh_config":     {"Host fw01\n ProxyJump u@bastion\n", Target{Host: "fw01"}, "u@bastion:22\nroot@fw01:22\n"},
		"no jump":                {"Host fw01\n ProxyJump bastion\n", Target{Host: "fw01", ProxyJump: "none"}, "root@fw01:22\n"},
		"a jump for all":         {"Host *\n User u\n ProxyJump bastion\n", Target{Host: "fw01"}, "u@bastion:22\nu@fw01:22\n"},
		"a jump that has a jump": {"User u\nHost a\n ProxyJump b\nHost b\n ProxyJump c\n", Target{Host: "fw01", ProxyJump: "a"}, "u@c:22\nu@b:22\nu@a:22\nu@fw01:22\n"},
		"only the first may":     {"User u\nHost a\n ProxyJump b\n", Target{Host: "fw01", ProxyJump: "c,a"}, "u@c:22\nu@a:22\nu@fw01:22\n"},

		"Match all":           {"Match all\n User x\n", Target{Host: "fw01"}, "x@fw01:22\n"},
		"Match originalhost":  {"Match originalhost fw01,fw02\n User x\n HostName y\n", Target{Host: "fw02"}, "x@y:22\n"},
		"Match host":          {"Host fw01\n HostName y\nMatch host y\n User x\nMatch host fw01\n Port 1\n", Target{Host: "fw01"}, "x@y:22\n"},
		"Match not evaluated": {"Match final all\n Ciphers aes128-ctr\nMatch exec \"reboot\" host *\n User x\nHost *\n Port 23\n", Target{Host: "fw01"}, "root@fw01:23 skipped=~/.ssh/config:4\n"},

		"Include":           {"Include conf.d/*\nPort 3\n", Target{Host: "fw01"}, "inc@fw01:2\n"},
		"Include in a Host": {"Host x\n Include conf.d/*\nHost *\n Port 3\n", Target{Host: "fw01"}, "root@fw01:3\n"},
		"Include of none":   {"Include nothing/*\nPort 3\n", Target{Host: "fw01"}, "root@fw01:3\n"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			write(t, home+"/.ssh/config", c.conf)
			write(t, home+"/.ssh/conf.d/a", "Host fw01\nPort 2\nHost *\nUser inc\n")
			hops, err := route(c.target, home)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(describe(hops), home, "~")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// route does not look at the machine's own /etc/ssh/ssh_config.
func route(t Target, home string) ([]hop, error) {
	r, err := newResolver(Options{HomeDir: home, ConfigFile: filepath.Join(home, ".ssh/config")})
	if err != nil {
		return nil, err
	}
	return r.route(t)
}

func TestRouteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		conf   string
		target Target
		want   []string
	}{
		"no host":          {"", Target{}, []string{"no host"}},
		"ProxyCommand":     {"ProxyCommand nc %h %p", Target{Host: "fw01"}, []string{"ProxyCommand", "use ProxyJump"}},
		"circle":           {"Host a\nProxyJump b\nHost b\nProxyJump a\n", Target{Host: "fw01", ProxyJump: "a"}, []string{"circle"}},
		"port":             {"Port 70000", Target{Host: "fw01"}, []string{`Port "70000" for fw01`}},
		"timeout":          {"ConnectTimeout 0", Target{Host: "fw01"}, []string{`ConnectTimeout "0" for fw01`, "1..3600"}},
		"token":            {"IdentityFile %C", Target{Host: "fw01"}, []string{"IdentityFile", "%C is not supported"}},
		"environment":      {"IdentityFile ${FW_NOT_SET}", Target{Host: "fw01"}, []string{"no FW_NOT_SET"}},
		"jump":             {"ProxyJump a:b", Target{Host: "fw01"}, []string{`proxy jump "a:b"`}},
		"no argument":      {"User x\nHost\n", Target{Host: "fw01"}, []string{"config:2: Host has no argument"}},
		"includes itself":  {"Include config", Target{Host: "fw01"}, []string{"include each other"}},
		"broken inclusion": {"Include broken", Target{Host: "fw01"}, []string{"config:1: Include", "broken:1: Match has no argument"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			write(t, home+"/.ssh/config", c.conf)
			write(t, home+"/.ssh/broken", "Match\n")
			_, err := route(c.target, home)
			wantError(t, err, c.want...)
		})
	}
	_, err := newResolver(Options{ConfigFile: filepath.Join(t.TempDir(), "gone")})
	wantError(t, err, "ssh_config", "no such file")
	if _, err := newResolver(Options{HomeDir: t.TempDir()}); err != nil {
		t.Errorf("a home without a file: %v", err)
	}
}

func TestSkippedMatchIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.opts.ConfigFile = st.home + "/config"
		write(t, st.opts.ConfigFile, "Match user root\n  IdentityFile ~/.ssh/special\n")
		st.users = nil
		_, err := Dial(t.Context(), st.target, st.opts)
		wantError(t, err, "does not evaluate that Match", "config:2")
	})
}

func TestParseJumps(t *testing.T) {
	for in, want := range map[string][]jump{
		"":                     nil,
		"none":                 nil,
		"a":                    {{"", "a", 0}},
		"u@a:22, b":            {{"u", "a", 22}, {"", "b", 0}},
		"u@x@a":                {{"u@x", "a", 0}},
		"2001:db8::1":          {{"", "2001:db8::1", 0}},
		"[2001:db8::1]":        {{"", "2001:db8::1", 0}},
		"u@[2001:db8::1]:2222": {{"u", "2001:db8::1", 2222}},
		"ssh://u@a:22/":        {{"u", "a", 22}},
	} {
		got, err := parseJumps(in)
		if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(jump{})) {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{",", "a,", "@a", "a:", "a:0", "a:65536", "a:x", "u@", "-oProxyCommand=x", "a b", "a/b", "[a", "a]:1", "http://a"} {
		if got, err := parseJumps(in); err == nil {
			t.Errorf("%q was taken as %v", in, got)
		}
	}
}

func FuzzParseJumps(f *testing.F) {
	for _, s := range []string{"", "none", "u@a:22,b", "[::1]:22", "ssh://u@a:22/", "::1", "a@b@c:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		jumps, err := parseJumps(spec)
		if err != nil {
			return
		}
		for _, j := range jumps {
			if j.host == "" || strings.ContainsAny(j.host, " \n\t/@,") || j.host[0] == '-' || j.port < 0 || j.port > 65535 || strings.Contains(j.user, "\n") {
				t.Errorf("%q became %+v", spec, j)
			}
			again, err := parseJump(jumpText(j))
			if err != nil || again != j {
				t.Errorf("%q became %+v, written as %q it is %+v, %v", spec, j, jumpText(j), again, err)
			}
		}
	})
}

func jumpText(j jump) string {
	s := "[" + j.host + "]"
	if j.user != "" {
		s = j.user + "@" + s
	}
	if j.port != 0 {
		s += fmt.Sprintf(":%d", j.port)
	}
	return s
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"Host *\nUser x", "Match all\n", "Host", "=", "a", "\"", "Include ~/x\n", "Match exec x\n\tPort 1", "\r\nHost a\rb", "# c", "Host a # b\nUser=\"x y\"#"} {
		f.Add(s)
	}
	home := f.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "include") {
			return // of files of the machine
		}
		path := filepath.Join(home, ".ssh", "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// It must not panic, whatever it makes of it.
		hops, err := route(Target{Host: "fw01"}, home)
		if err == nil && len(hops) == 0 {
			t.Error("no hop and no error")
		}
	})
}
