package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// sshConfig is the ssh_config files of a run, the first one first.
type sshConfig struct{ files []*configFile }

type configFile struct {
	path   string
	blocks []configBlock
}

// configBlock is what stands below one Host or Match line.
type configBlock struct {
	kind     blockKind
	host     *ssh_config.Host
	included map[int][]*configFile // by the line of the Include
}

type blockKind int

const (
	hostBlock    blockKind = iota // Host, Match all, Match originalhost: by the name that was given
	matchHost                     // Match host: by the HostName found so far
	skippedBlock                  // a Match with conditions that are not evaluated
)

// maxInclude is how deep files may include each other, as in OpenSSH.
const maxInclude = 16

// include stands in for the keyword Include: the library would read the files
// itself, from the home of the process, and fail for a Match it cannot evaluate.
// Distributions ship such a one (Match final) in /etc/ssh/ssh_config.d.
const include = "FwprovInclude"

// loadConfig reads the ssh_config files. file is a path, "none", or "" for
// ~/.ssh/config and /etc/ssh/ssh_config, each of which may be absent.
func loadConfig(file, home string) (*sshConfig, error) {
	paths, optional := []string{file}, false
	switch file {
	case "none":
		return &sshConfig{}, nil
	case "":
		paths, optional = []string{filepath.Join(home, ".ssh", "config"), "/etc/ssh/ssh_config"}, true
	}
	c := &sshConfig{}
	for _, p := range paths {
		f, err := parseConfig(expandHome(p, home), home, 0)
		if optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ssh_config: %w", err)
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

func parseConfig(path, home string, depth int) (*configFile, error) {
	if depth > maxInclude {
		return nil, fmt.Errorf("%s: files include each other more than %d deep", path, maxInclude)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, kinds, err := plainConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	cfg, err := decodeConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(cfg.Hosts) != len(kinds) {
		return nil, fmt.Errorf("%s: %d Host and Match blocks were understood as %d: is it plain text?", path, len(kinds)-1, len(cfg.Hosts)-1)
	}
	f := &configFile{path: path}
	for i, h := range cfg.Hosts {
		b := configBlock{kind: kinds[i], host: h, included: map[int][]*configFile{}}
		for _, n := range h.Nodes {
			kv, ok := n.(*ssh_config.KV)
			if !ok || !strings.EqualFold(kv.Key, include) || b.kind == skippedBlock {
				continue
			}
			if b.included[kv.Pos().Line], err = parseIncluded(kv.Value, path, home, depth); err != nil {
				return nil, fmt.Errorf("%s:%d: Include: %w", path, kv.Pos().Line, err)
			}
		}
		f.blocks = append(f.blocks, b)
	}
	return f, nil
}

func parseIncluded(patterns, from, home string, depth int) ([]*configFile, error) {
	var out []*configFile
	for _, p := range arguments(patterns) {
		base := filepath.Join(home, ".ssh")
		if strings.HasPrefix(from, "/etc/ssh/") {
			base = "/etc/ssh"
		}
		if p = expandHome(p, home); !filepath.IsAbs(p) {
			p = filepath.Join(base, p)
		}
		paths, err := filepath.Glob(p)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			f, err := parseConfig(path, home, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// decodeConfig parses with the library, which passes a bug of its own on as a
// panic.
func decodeConfig(text []byte) (cfg *ssh_config.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be parsed: %v", r)
		}
	}()
	return ssh_config.DecodeBytes(text)
}

var blockLine = regexp.MustCompile(`(?i)^\s*(host|match|include)(?:\s*=\s*|\s+|$)(.*)$`)

// plainConfig rewrites the lines the library does not read as OpenSSH does into
// such that it does, keeping the line numbers, and returns the kind of each block,
// beginning with the one above the first Host. The error begins with the line number.
func plainConfig(text []byte) ([]byte, []blockKind, error) {
	kinds := []blockKind{hostBlock}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		m := blockLine.FindStringSubmatch(strings.TrimRight(line, "\r"))
		if m == nil {
			continue
		}
		args := arguments(m[2])
		if len(args) == 0 {
			return nil, nil, fmt.Errorf("%d: %s has no argument", i+1, m[1])
		}
		switch strings.ToLower(m[1]) {
		case "include":
			lines[i] = include + " " + m[2]
		case "host":
			kinds = append(kinds, hostBlock)
			lines[i] = "Host " + strings.ToLower(strings.Join(args, " "))
		case "match":
			kind, patterns := matchBlock(args)
			kinds = append(kinds, kind)
			lines[i] = "Host " + patterns
		}
	}
	return []byte(strings.Join(lines, "\n")), kinds, nil
}

// matchBlock returns the Host patterns that mean the same as a Match line.
func matchBlock(args []string) (blockKind, string) {
	criterion := strings.ToLower(args[0])
	if criterion == "all" && len(args) == 1 {
		return hostBlock, "*"
	}
	if (criterion == "host" || criterion == "originalhost") && len(args) == 2 {
		kind := hostBlock
		if criterion == "host" {
			kind = matchHost
		}
		return kind, strings.ToLower(strings.ReplaceAll(args[1], ",", " "))
	}
	return skippedBlock, "!*"
}

// arguments splits a line at blanks outside of double quotes, up to a comment.
func arguments(s string) []string {
	var out []string
	var word strings.Builder
	quoted, open := false, false
	end := func() {
		if open {
			out = append(out, word.String())
		}
		word.Reset()
		open = false
	}
	for _, r := range s {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\r'):
			end()
		case !quoted && !open && r == '#':
			return out
		default:
			word.WriteRune(r)
			open = true
		}
	}
	end()
	return out
}

// settings is what ssh_config says about one host, for the keywords used here.
type settings struct {
	first      map[string]string // by keyword in lower case: the first value found
	identities []string          // IdentityFile adds up
	skipped    []string          // file:line of values in a Match that was not evaluated
}

// keywords are those that are read, in lower case. StrictHostKeyChecking is not:
// hosts are always checked.
var keywords = map[string]bool{
	"hostname": true, "user": true, "port": true, "identityfile": true, "identitiesonly": true, "identityagent": true,
	"userknownhostsfile": true, "globalknownhostsfile": true, "hostkeyalias": true, "hashknownhosts": true, "proxyjump": true, "proxycommand": true,
	"connecttimeout": true, "controlpath": true,
}

// lookup returns what the files say about a host by the name it was given.
func (c *sshConfig) lookup(alias string) settings {
	s := settings{first: map[string]string{}}
	for _, f := range c.files {
		f.lookup(strings.ToLower(alias), &s)
	}
	return s
}

func (f *configFile) lookup(alias string, s *settings) {
	for _, b := range f.blocks {
		name := alias
		if h := s.first["hostname"]; h != "" && b.kind == matchHost {
			name = strings.ToLower(strings.ReplaceAll(h, "%h", alias))
		}
		matches := b.host.Matches(name)
		if !matches && b.kind != skippedBlock {
			continue
		}
		for _, n := range b.host.Nodes {
			kv, ok := n.(*ssh_config.KV)
			if !ok {
				continue
			}
			for _, inc := range b.included[kv.Pos().Line] {
				inc.lookup(alias, s)
			}
			key := strings.ToLower(kv.Key)
			switch {
			case !keywords[key]:
			case b.kind == skippedBlock && key == "controlpath": // nobody misses it
			case b.kind == skippedBlock:
				s.skipped = append(s.skipped, f.path+":"+strconv.Itoa(kv.Pos().Line))
			case key == "identityfile":
				s.identities = append(s.identities, kv.Value)
			case s.first[key] == "":
				s.first[key] = kv.Value
			}
		}
	}
}

// expandHome replaces a leading ~/.
func expandHome(path, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(home, rest)
	}
	return path
}
