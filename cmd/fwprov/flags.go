package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
)

// options are the flags that several commands share. A command has those that
// make sense for it; the others are zero.
type options struct {
	json, quiet, verbose bool
	vars                 hcl.Values
	varFiles             []string
	ageIdentities        []string
	limit, only, skip    []string
	timeout              time.Duration
	sshConfig            string
	withoutSecrets       bool // only the nodes of the inventory matter, not what they have to be
	acceptNew            bool
	parallel             int // pairs at once; 0: what the machine can take
	maxFailures          int // pairs that may fail before no further one is begun; 0: no bound
	sudoFD               int // where the password of sudo is read from; -1: nowhere
}

func boolFlag(name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

func jsonFlag() cli.Flag { return boolFlag("json", "print JSON instead of text") }

// variableFlags set the variables of an inventory.
func variableFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", Usage: "set a variable: `NAME=VALUE`; goes before --var-file, and that before FWPROV_VAR_NAME"},
		&cli.StringSliceFlag{Name: "var-file", Usage: "set variables from a `FILE` of lines name = value"},
		&cli.StringSliceFlag{Name: "age-identity", Usage: "open encrypted files with the key in this `FILE`, of age or of SSH; without it ~/.config/fwprov/age.txt, ~/.ssh/id_ed25519 and id_rsa"},
	}
}

// nodeFlags are those of commands that connect to nodes.
func nodeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Usage: "touch this `NODE` only, or CLUSTER/NODE with several inventories"},
		&cli.DurationFlag{Name: "timeout", DefaultText: "none", Usage: "give up after this `DURATION`, as in 10m; every single wait has its own limit in any case"},
		&cli.StringFlag{Name: "ssh-config", Usage: "read this `FILE` instead of ~/.ssh/config; none reads no file"},
		boolFlag("accept-new", "trust the host key of a node that is not known yet, and keep it; one that has changed is refused all the same"),
		&cli.IntFlag{Name: "sudo-password-fd", Value: -1, DefaultText: "FWPROV_SUDO_PASSWORD, or ask", Usage: "read the password for sudo from file descriptor `N`"},
		boolFlag("quiet", "no progress: results and errors only"),
		boolFlag("verbose", "show what commands print, and log to standard error"),
	}
}

// parallelFlag is that of commands that work on several pairs side by side.
func parallelFlag() cli.Flag {
	return &cli.IntFlag{Name: "parallel", DefaultText: "what this machine can take", Usage: "with several inventories: work on `N` pairs at once, each in its own order"}
}

// maxFailuresFlag keeps a mistake from going through all pairs.
func maxFailuresFlag() cli.Flag {
	return &cli.IntFlag{Name: "max-failures", DefaultText: "no bound", Usage: "with several inventories: begin no further pair once `N` have failed"}
}

// stepFlags choose steps.
func stepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "only", Usage: "this `STEP` only"},
		&cli.StringSliceFlag{Name: "skip", Usage: "not this `STEP`"},
	}
}

func readOptions(c *cli.Context) (options, error) {
	o := options{
		json: c.Bool("json"), quiet: c.Bool("quiet"), verbose: c.Bool("verbose"),
		varFiles: c.StringSlice("var-file"), ageIdentities: c.StringSlice("age-identity"),
		limit: words(c.StringSlice("limit")), only: words(c.StringSlice("only")), skip: words(c.StringSlice("skip")),
		timeout: c.Duration("timeout"), sshConfig: c.String("ssh-config"),
		acceptNew: c.Bool("accept-new"), sudoFD: -1,
	}
	if c.IsSet("sudo-password-fd") {
		if o.sudoFD = c.Int("sudo-password-fd"); o.sudoFD < 0 || o.sudoFD == 1 || o.sudoFD == 2 {
			return o, fmt.Errorf("--sudo-password-fd %d: a file descriptor that can be read from, such as 3", o.sudoFD)
		}
	}
	for _, v := range c.StringSlice("var") {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			// The text may be a secret typed without its name.
			return o, errors.New("--var takes NAME=VALUE")
		}
		if o.vars == nil {
			o.vars = hcl.Values{}
		}
		o.vars[name] = value
	}
	if o.timeout < 0 {
		return o, fmt.Errorf("--timeout %s: a duration above zero, such as 10m", o.timeout)
	}
	for _, f := range []struct {
		name string
		to   *int
	}{{"parallel", &o.parallel}, {"max-failures", &o.maxFailures}} {
		if *f.to = c.Int(f.name); c.IsSet(f.name) && *f.to < 1 {
			return o, fmt.Errorf("--%s %d: a number above zero", f.name, *f.to)
		}
	}
	if o.quiet && o.verbose {
		return o, errors.New("--quiet and --verbose exclude each other")
	}
	return o, nil
}

// words splits flags that may be given several times or with commas.
func words(values []string) []string {
	var out []string
	for _, v := range values {
		for w := range strings.SplitSeq(v, ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

// files are the arguments of a command that takes inventories: at least one, and
// one at most unless several make sense.
func files(c *cli.Context, several bool) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) == 0:
		return nil, fmt.Errorf("which inventory? %s FILE", c.Command.HelpName)
	case len(args) > 1 && !several:
		return nil, fmt.Errorf("%s takes one inventory, not %d", c.Command.HelpName, len(args))
	}
	return args, nil
}
