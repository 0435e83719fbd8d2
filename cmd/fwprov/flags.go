package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// options are the flags that several commands share. A command has those that
// make sense for it; the others are zero.
type options struct {
	json, quiet, verbose bool
	vars                 map[string]string
	varFiles             []string
	limit, only, skip    []string
	timeout              time.Duration
	sshConfig            string
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
	}
}

// nodeFlags are those of commands that connect to nodes.
func nodeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Usage: "touch this `NODE` only, or CLUSTER/NODE with several inventories"},
		&cli.DurationFlag{Name: "timeout", DefaultText: "none", Usage: "give up after this `DURATION`, as in 10m; every single wait has its own limit in any case"},
		&cli.StringFlag{Name: "ssh-config", Usage: "read this `FILE` instead of ~/.ssh/config; none reads no file"},
		boolFlag("quiet", "no progress: results and errors only"),
		boolFlag("verbose", "show what commands print, and log to standard error"),
	}
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
		varFiles: c.StringSlice("var-file"),
		limit:    words(c.StringSlice("limit")), only: words(c.StringSlice("only")), skip: words(c.StringSlice("skip")),
		timeout: c.Duration("timeout"), sshConfig: c.String("ssh-config"),
	}
	for _, v := range c.StringSlice("var") {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			// The text may be a secret typed without its name.
			return o, errors.New("--var takes NAME=VALUE")
		}
		if o.vars == nil {
			o.vars = map[string]string{}
		}
		o.vars[name] = value
	}
	if o.timeout < 0 {
		return o, fmt.Errorf("--timeout %s: a duration above zero, such as 10m", o.timeout)
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
