package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"
)

// arrange moves the flags of a command in front of its arguments, since the CLI
// library stops at the first argument: an ignored --limit would hit both
// firewalls. What follows "--" is never a flag. Flags that the command does not
// have and values that are missing are errors here, in terms of what was typed.
func arrange(app *cli.App, args []string) ([]string, error) {
	out := slices.Clone(args[:1])
	rest := args[1:]
	commands, flags, path := app.Commands, app.Flags, app.Name
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && len(commands) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			return nil, unknown(path, "command", rest[0], commandNames(commands))
		}
		c := commands[i]
		out = append(out, rest[0])
		rest, commands, flags, path = rest[1:], c.Subcommands, c.Flags, path+" "+c.Name
	}
	front, back, err := separate(path, flags, rest)
	if err != nil {
		return nil, err
	}
	if len(back) > 0 {
		out = append(append(out, front...), "--")
		return append(out, back...), nil
	}
	return append(out, front...), nil
}

// separate divides args into flags with their values, and the rest.
func separate(path string, flags []cli.Flag, args []string) (front, back []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return front, append(back, args[i+1:]...), nil
		case a == "-" || !strings.HasPrefix(a, "-"):
			back = append(back, a)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		takes, known := takesValue(flags, name)
		if !known {
			return nil, nil, unknown(path, "flag", a, flagNames(flags))
		}
		front = append(front, a)
		if takes && !hasValue {
			if i+1 == len(args) || len(args[i+1]) > 1 && strings.HasPrefix(args[i+1], "-") {
				return nil, nil, fmt.Errorf("flag %s needs a value (one that starts with - is given as %s=VALUE)", a, a)
			}
			i++
			front = append(front, args[i])
		}
	}
	return front, back, nil
}

func takesValue(flags []cli.Flag, name string) (takes, known bool) {
	if name == "help" || name == "h" {
		return false, true
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return ok && d.TakesValue(), true
		}
	}
	return false, false
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

func flagNames(flags []cli.Flag) []string {
	names := []string{"--help"}
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				n = "-" + n
			}
			names = append(names, "-"+n)
		}
	}
	return names
}

// unknown is the error for a word that is not among names, with the nearest one.
func unknown(path, kind, word string, names []string) error {
	word, _, _ = strings.Cut(word, "=")
	best, dist := "", 3
	for _, n := range names {
		if d := levenshtein.Distance(word, n, nil); d < dist {
			best, dist = n, d
		}
	}
	if best != "" {
		return fmt.Errorf("%s has no %s %s; did you mean %s?", path, kind, word, best)
	}
	return fmt.Errorf("%s has no %s %s; %s --help lists them", path, kind, word, path)
}
